//! The inputs of one partition, decided again from nothing.

use std::sync::Arc;

use indicatif::HumanCount;

use crate::{
    engine::{Engine, Mode, PageId, Step},
    log::{InputKind, kafka::Scanned},
    model::{Event, Model, Span, Timestamp},
    runtime::in_time_within,
    wire::{
        attributes::AttributeDecoder,
        dead_letter::Rejected,
        event::{Decoded, Decoder, PersonKey, RawRecord},
        record_time,
        time::format_span,
    },
};

/// Records after which the next page is looked through for accounts that have faded to nothing.
const RECORDS_PER_PAGE: u64 = 64;

/// What decoding and deciding depend on beside the model.
#[derive(Clone, Debug)]
pub struct Rules {
    pub grace: Span,
    pub max_future_skew: Span,
    pub person_key: PersonKey,
}

/// Events that reached the log so late that what was published depends on when the service read them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Late {
    events: u64,
    /// How much later than their own time the latest of them came.
    most: Span,
}

impl Late {
    fn note(&mut self, event: &Event<'_>, in_time: Span) {
        let Some(late) = Span::from_millis(event.recorded - event.time).filter(|late| *late > in_time) else { return };
        self.events += 1;
        self.most = self.most.max(late);
    }

    /// What a person should know of them who looks at differences.
    pub fn explanation(&self, grace: Span) -> Option<String> {
        let [in_time, most] = [in_time_within(grace), self.most].map(format_span);
        (self.events > 0).then(|| {
            format!(
                "{} of the events reached the log more than {in_time} after their own time, one of them {most}: what is \
                 published then depends on when the service read them, so differences may be due to that",
                HumanCount(self.events)
            )
        })
    }
}

/// Decides as the service does, with the record times as its clock.
pub struct Recompute {
    engine: Engine,
    events: Decoder,
    attributes: AttributeDecoder,
    grace: Span,
    /// What was caused since it was last taken out.
    pub step: Step,
    pub late: Late,
    clock: Timestamp,
    wall: Timestamp,
    records: u64,
    pages: std::iter::Cycle<std::ops::Range<u16>>,
}

impl Recompute {
    /// Nothing was read yet. `wall` is the time by the wall clock.
    pub fn new(model: Arc<Model>, rules: &Rules, wall: Timestamp) -> Self {
        let pages = PageId::all().count() as u16;
        Self {
            engine: Engine::new(model.clone(), rules.grace),
            events: Decoder::new(model.clone(), rules.person_key.clone(), rules.max_future_skew),
            attributes: AttributeDecoder::new(model),
            grace: rules.grace,
            step: Step::default(),
            late: Late::default(),
            clock: Timestamp::MIN,
            wall,
            records: 0,
            pages: (0..pages).cycle(),
        }
    }

    /// The records have got to this record time: fires what is due, as far behind as the service does.
    pub fn pass(&mut self, recorded: Timestamp) {
        self.settle(recorded.min(self.wall).back(self.grace));
    }

    /// Fires what is due up to `clock`.
    pub fn settle(&mut self, clock: Timestamp) {
        self.clock = self.clock.max(clock);
        self.engine.advance(self.clock, usize::MAX, self.clock, &mut self.step);
    }

    /// Forgets accounts that have faded to nothing, some at a time.
    pub fn sweep(&mut self) {
        self.records += 1;
        if self.records.is_multiple_of(RECORDS_PER_PAGE)
            && let Some(page) = self.pages.next().map(PageId)
        {
            self.engine.sweep(page, self.clock, &mut self.step);
            self.engine.stored(page);
        }
        // What the runtime makes of it has no place here.
        self.step.touched.clear();
    }

    /// Applies a record; an error is for the dead letters. `buried_as_ahead`: the service has found its
    /// record time to be ahead of the clock, which must have been so then.
    pub fn apply(&mut self, kind: InputKind, record: &Scanned, buried_as_ahead: bool) -> Result<(), Rejected> {
        let wall = if buried_as_ahead { Timestamp::MIN } else { self.wall };
        record_time::check(record.time, wall)?;
        let raw = RawRecord { key: record.key.as_deref(), value: record.value.as_deref(), recorded: record.time };
        match kind {
            InputKind::Events => {
                if let Decoded::Event(event) = self.events.decode(raw)? {
                    self.late.note(&event, in_time_within(self.grace));
                    self.engine.apply(&event, Mode::Live, event.recorded, &mut self.step);
                }
            }
            InputKind::Accounts => {
                let attributes = self.attributes.decode(raw)?;
                self.engine.apply_attributes(&attributes, Mode::Live, attributes.recorded, &mut self.step);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventId;

    #[test]
    fn events_that_come_too_late_for_the_promise_are_told_of_with_differences() {
        let (grace, mut late) = (Span::seconds(5), Late::default());
        let mut note = |time, recorded| {
            let [time, recorded] = [time, recorded].map(Timestamp::from_millis);
            let event = Event { account: "a", id: EventId(1), time, recorded, hits: &[] };
            late.note(&event, in_time_within(grace));
            late.explanation(grace)
        };
        assert_eq!(note(60_000, 64_000), None, "in time");
        assert_eq!(note(70_000, 60_000), None, "ahead");
        let told = note(60_000, 64_001).unwrap();
        assert!(
            told.starts_with("1 of the events reached the log more than 4s after their own time, one of them 4s1ms"),
            "{told}"
        );
        assert!(note(0, 3_600_000).unwrap().starts_with("2 of the events"));
    }
}
