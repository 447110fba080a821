//! What goes out: changes, and the standing that they lead to.

use std::sync::Arc;

use super::Timestamp;

/// Why a change happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// An event raised (or, for a level, replaced) a score.
    Signal,
    /// A score faded below a mark.
    Decay,
    /// An event or a person left a window.
    Window,
    /// Attributes changed what is known of the account's fit.
    Fit,
    /// A suppression set in or was lifted.
    Suppression,
    /// The model changed.
    Model,
    /// The account was erased.
    Erasure,
}

impl Cause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Signal, Self::Decay, Self::Window, Self::Fit, Self::Suppression, Self::Model, Self::Erasure];

    /// Its name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Decay => "decay",
            Self::Window => "window",
            Self::Fit => "fit",
            Self::Suppression => "suppression",
            Self::Model => "model",
            Self::Erasure => "erasure",
        }
    }
}

/// Whether an account came into a segment or left it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Op {
    Enter,
    Exit,
}

/// What changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transition {
    /// From one tier (or none) to another (or none).
    Tier {
        from: Option<Arc<str>>,
        to: Option<Arc<str>>,
        up: bool,
    },
    Segment {
        name: Arc<str>,
        op: Op,
    },
}

/// Fit of an account whose attributes are known at least in part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitScore {
    /// Points of the criteria that are met, 0 to 100.
    pub points: f64,
    /// Points of the criteria that could be decided, 0 to 100.
    pub coverage: f64,
    /// `A`, `B` or `C`, if the model grades.
    pub grade: Option<char>,
}

/// One signal's share in an account's intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub signal: Arc<str>,
    /// Contribution in points at the moment of the change.
    pub points: f64,
    /// Events counted since the signal first appeared (saturates at 4095); for a distinct signal,
    /// the distinct values within its window.
    pub count: u32,
    pub last_seen: Timestamp,
}

/// One published transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub account: Arc<str>,
    pub transition: Transition,
    pub cause: Cause,
    /// Intent in points at `effective_at`.
    pub intent: f64,
    /// Fit, or nothing while it is unknown.
    pub fit: Option<FitScore>,
    /// The threshold of intent that was crossed, where one was.
    pub mark: Option<f64>,
    pub effective_at: Timestamp,
    pub detected_at: Timestamp,
    /// The signals that count most, highest first.
    pub reasons: Arc<[Reason]>,
    /// When the account will change next if it stays silent.
    pub next_change_at: Option<Timestamp>,
    /// Per account, over tier and segment changes; only rises.
    pub sequence: i64,
    /// The sequence of the change before, if the account's state remembers one.
    pub previous_sequence: Option<i64>,
}

/// Membership of a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SegmentSince {
    pub name: Arc<str>,
    pub since: Timestamp,
}

/// When a held tier was gained; kept for tiers with a minimum dwell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TierGained {
    pub name: Arc<str>,
    pub at: Timestamp,
}

/// What was last published of an account: its full current membership.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub account: Arc<str>,
    pub tier: Option<Arc<str>>,
    /// When the account came to its tier (or lost its last one); nothing if it never had any.
    pub since: Option<Timestamp>,
    pub segments: Vec<SegmentSince>,
    pub suppressed_by: Option<Arc<str>>,
    pub intent: f64,
    pub fit: Option<FitScore>,
    /// The effective time of the last change; scores are as of then.
    pub as_of: Timestamp,
    pub next_change_at: Option<Timestamp>,
    pub sequence: i64,
    /// Held tiers whose minimum dwell is counted.
    pub gained: Vec<TierGained>,
}
