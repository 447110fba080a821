//! What reaches the engine: events and attributes, already matched against the model.

use super::{DistinctId, SignalId, Timestamp};

/// The largest account id, in bytes; the smallest has one.
pub const MAX_ACCOUNT_BYTES: usize = 256;

/// A stable 64-bit hash of an event's id; duplicates are recognised by it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventId(pub u64);

/// A keyed hash of whatever is counted distinctly: a person, a topic, a campaign. The raw value
/// never gets further than the decoder.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PersonId(pub u64);

/// One thing that an event means to the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hit {
    /// An event of this signal happened.
    Count(SignalId),
    /// A level signal reports this value (never negative).
    Level(SignalId, f64),
    /// A value of a distinct set was seen.
    Seen(DistinctId, PersonId),
}

/// An event that matches at least one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    pub account: &'a str,
    pub id: EventId,
    /// When it happened (`t`): decay and windows count from it. Representable.
    pub time: Timestamp,
    /// When the log got it (`r`).
    pub recorded: Timestamp,
    pub hits: &'a [Hit],
}

/// What an attribute record makes known: one bit per fact of the model. A bit in `holds` implies
/// the bit in `known`. Nothing known is what a tombstone says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    pub known: u64,
    pub holds: u64,
}

/// An account's attributes, reduced to facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes<'a> {
    pub account: &'a str,
    /// When the log got them; attributes have no event time of their own.
    pub recorded: Timestamp,
    pub facts: Facts,
}
