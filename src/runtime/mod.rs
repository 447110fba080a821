//! The only loop: workers take records, decide, commit, publish; and restore when they must.

use std::{sync::Arc, time::Duration};

use crate::{log::Inputs, model::Span, settings::StartFrom, wire::event::PersonKey};

mod clock;
mod commit;
mod copies;
mod intake;
mod invariants;
mod pacing;
mod partition;
mod progress;
mod publish;
mod restore;
mod service;
#[cfg(test)]
mod simulation;
mod sweep;
mod worker;

pub use clock::{Clock, SystemClock, in_time_within};
pub use publish::Publisher;
pub use service::{Ended, Service, Shared};
pub use worker::Worker;

/// What all workers of a process share in settings.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub inputs: Inputs,
    /// How many partitions every topic has.
    pub partitions: i32,
    /// How late an event may be and still be judged at its own time.
    pub grace: Span,
    /// Events further ahead of their record time than this are refused.
    pub max_future_skew: Span,
    pub person_key: PersonKey,
    /// Where reading begins when the group has no offsets yet.
    pub start_from: StartFrom,
    /// Every dirty page is stored once in this time.
    pub checkpoint_interval: Duration,
    /// Between commits, when no change waits.
    pub commit_interval: Duration,
    /// Between the beginnings of commits, when changes wait.
    pub commit_interval_min: Duration,
    /// Records after which a commit does not wait any longer.
    pub commit_records_max: u64,
    /// Larger pages are stored in parts.
    pub page_bytes_max: usize,
    /// Larger dead letters go without the value that they are about.
    pub letter_bytes_max: usize,
    /// Names this service in the headers of changes.
    pub source: Arc<str>,
    /// Distinguishes this run of the process from all others; names its commits.
    pub run: Arc<str>,
}
