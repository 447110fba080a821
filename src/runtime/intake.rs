//! From a record's bytes to what it means to the model.

use std::sync::Arc;

use super::WorkerSettings;
use crate::{
    log::{InputKind, Record},
    model::{Attributes, Event, Model, Timestamp},
    wire::{
        attributes::AttributeDecoder,
        dead_letter::Rejected,
        event::{Decoded, Decoder, RawRecord},
        record_time,
    },
};

/// What a record means.
pub enum Meaning<'a> {
    Event(Event<'a>),
    Attributes(Attributes<'a>),
    /// Touches nothing, and why.
    Ignored(&'static str),
}

/// Reads the records of all inputs.
pub struct Intake {
    events: Decoder,
    attributes: AttributeDecoder,
    /// Larger dead letters go without the value that they are about.
    pub letter_bytes_max: usize,
}

impl Intake {
    /// An intake for one model.
    pub fn new(model: Arc<Model>, settings: &WorkerSettings) -> Self {
        Self {
            events: Decoder::new(model.clone(), settings.person_key.clone(), settings.max_future_skew),
            attributes: AttributeDecoder::new(model),
            letter_bytes_max: settings.letter_bytes_max,
        }
    }

    /// What a record means; an error is for the dead letters.
    pub fn read<'r>(
        &'r mut self,
        kind: InputKind,
        record: &Record<'r>,
        wall: Timestamp,
    ) -> Result<Meaning<'r>, Rejected> {
        record_time::check(record.time, wall)?;
        let raw = RawRecord { key: record.key, value: record.value, recorded: record.time };
        match kind {
            InputKind::Events => match self.events.decode(raw)? {
                Decoded::Event(event) => Ok(Meaning::Event(event)),
                Decoded::Ignored { why, .. } => Ok(Meaning::Ignored(why.name())),
            },
            InputKind::Accounts => self.attributes.decode(raw).map(Meaning::Attributes),
        }
    }
}
