//! The compiled scoring model and the vocabulary of the whole crate: plain data behind checked
//! constructors. Uses nothing else of the crate, and knows no clock, no Kafka and no file format.

mod change;
mod dispatch;
mod event;
mod matching;
mod rule;
mod scoring;
mod time;
pub(crate) mod words;

pub use change::{Cause, Change, FitScore, Op, Reason, SegmentSince, Standing, TierGained, Transition};
pub use dispatch::{Candidates, Dispatch};
pub use event::{Attributes, Event, EventId, Facts, Hit, MAX_ACCOUNT_BYTES, PersonId};
pub use matching::{Field, Glob, KeyId, Matcher, Test, Truth};
pub use rule::{Leaf, Rule};
pub use scoring::{
    Band, Criterion, DistinctId, DistinctSet, Fact, FactId, Fit, Grades, Keys, LEAST_MARK, Model, ModelError, ModelId,
    ModelParts, Scoring, Segment, SegmentId, Signal, SignalId, Suppression, Tier, TierId,
};
pub use time::{HalfLife, Span, Timestamp};
