//! What readers may see while the workers own everything else: committed standings, the workers'
//! status, and a way to put a question to the worker that owns an account. Workers write here
//! after a commit; HTTP and the metrics read.

mod packed;
mod query;
mod standings;
mod status;

pub use query::{AccountQuery, AskError, QueryRouter};
pub use standings::{Counts, Page, Tenure, View};
pub use status::{Phase, Status, WorkerStatus, WorkerSummary};
