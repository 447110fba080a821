//! From a record's bytes to what it means to the model.

use std::sync::Arc;

use super::WorkerSettings;
use crate::{
    log::{InputKind, Record},
    model::{Attributes, Event, Model, Span, Timestamp},
    wire::{
        attributes::AttributeDecoder,
        dead_letter::{Fault, Rejected},
        event::{Decoded, Decoder, RawRecord},
        time::format_rfc3339,
    },
};

/// How far ahead of the wall clock a record time may lie before the record is refused: what brokers
/// since 4.0 allow.
const RECORD_TIME_AHEAD: Span = Span::seconds(3600);

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
        check_record_time(record.time, wall)?;
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

/// A record time sets the moment at which its account is judged; one from the future would freeze
/// the account until then.
fn check_record_time(time: Option<Timestamp>, wall: Timestamp) -> Result<(), Rejected> {
    let Some(time) = time else { return Ok(()) };
    if !time.is_representable() {
        let message = format!("the record time {} ms is before 1970 or after 2527", time.millis());
        return Err(Rejected::new(Fault::BadTime, "timestamp", message));
    }
    if time > wall + RECORD_TIME_AHEAD {
        let message = format!(
            "the record time {} is more than an hour ahead of the clock: the producer's clock is wrong",
            format_rfc3339(time)
        );
        return Err(Rejected::new(Fault::FarFuture, "timestamp", message));
    }
    Ok(())
}
