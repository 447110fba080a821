//! Telemetry: the metrics and the log lines. Logic counts into a [`Tally`]; [`Metrics`] is the one
//! place that knows Prometheus. No label ever holds an account, a person or a domain.

pub mod catalogue;
mod logs;
mod metrics;
mod tally;

pub use logs::{LogFilter, LogFilterError, LogFormat, init};
pub use metrics::{Metrics, MetricsError, Vocabulary};
pub use tally::Tally;
