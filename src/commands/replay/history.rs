//! What a model makes of a history of events, in the order of their own times.

use std::{collections::VecDeque, mem, sync::Arc};

use crate::{
    engine::{Engine, Mode, Sought, Step},
    model::{Attributes, Change, Event, EventId, Facts, Hit, Model, Span, Timestamp},
};

/// An event that was kept for later.
pub struct KeptEvent {
    pub time: Timestamp,
    account: Box<str>,
    id: EventId,
    recorded: Timestamp,
    hits: Box<[Hit]>,
}

impl KeptEvent {
    pub fn keep(event: &Event<'_>) -> Self {
        let Event { account, id, time, recorded, hits } = *event;
        Self { time, account: account.into(), id, recorded, hits: hits.into() }
    }

    pub fn event(&self) -> Event<'_> {
        let Self { time, account, id, recorded, hits } = self;
        Event { account, id: *id, time: *time, recorded: *recorded, hits }
    }
}

/// Attributes that wait until the history gets to their time.
pub struct KeptAttributes {
    recorded: Timestamp,
    account: Box<str>,
    facts: Facts,
}

impl KeptAttributes {
    pub fn keep(attributes: &Attributes<'_>) -> Self {
        let Attributes { account, recorded, facts } = *attributes;
        Self { account: account.into(), recorded, facts }
    }
}

/// Drives the engine through files: the record time is the event time, and the clock follows the
/// latest event.
pub struct History {
    engine: Engine,
    step: Step,
    attributes: VecDeque<KeptAttributes>,
    /// How far timers stay behind the latest event, so that earlier events may still come.
    slack: Span,
    latest: Timestamp,
}

impl History {
    /// A history that starts with nothing. When the events come in the order of their times,
    /// `sorted`, changes are final as soon as the events have passed them.
    pub fn new(model: Arc<Model>, mut attributes: Vec<KeptAttributes>, grace: Span, sorted: bool) -> Self {
        attributes.sort_by_key(|attributes| attributes.recorded);
        Self {
            engine: Engine::new(model, grace),
            step: Step::default(),
            attributes: attributes.into(),
            slack: if sorted { Span::ZERO } else { grace },
            latest: Timestamp::EARLIEST,
        }
    }

    /// The state at the end.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// All that was caused.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// The time of the latest event.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Notes that an event which means nothing to the model happened.
    pub fn note(&mut self, time: Timestamp) {
        self.latest = self.latest.max(time);
    }

    /// Applies events in turn, their accounts on their way from memory all at once.
    pub fn apply_all(&mut self, events: &[KeptEvent]) {
        let sought = self.engine.look_ahead(events.iter().map(|event| event.account.as_bytes()));
        events.iter().zip(&sought).for_each(|(event, sought)| self.apply(&event.event(), sought));
    }

    /// Settles what falls due before the event, then applies it.
    fn apply(&mut self, event: &Event<'_>, sought: &Sought<'_>) {
        self.note(event.time);
        self.pass(self.latest, self.slack);
        self.engine.apply_sought(event, sought, Mode::Live, event.recorded, &mut self.step);
        self.forget_standings();
    }

    /// Settles all accounts up to `until`: no event before that will come any more.
    pub fn settle(&mut self, until: Timestamp) {
        self.pass(until, Span::ZERO);
    }

    /// Takes out the changes whose place in the order of effect no later event can alter, if the
    /// events come sorted: those before the latest one.
    pub fn take_final(&mut self) -> Vec<Change> {
        let latest = self.latest;
        let (settled, open) =
            mem::take(&mut self.step.changes).into_iter().partition(|change: &Change| change.effective_at < latest);
        self.step.changes = open;
        in_order_of_effect(settled)
    }

    /// Takes out all changes.
    pub fn take_all(&mut self) -> Vec<Change> {
        in_order_of_effect(mem::take(&mut self.step.changes))
    }

    /// Applies the attributes that hold by `time`, each at its own time, and lets timers follow.
    fn pass(&mut self, time: Timestamp, slack: Span) {
        let due = self.attributes.partition_point(|attributes| attributes.recorded <= time);
        for KeptAttributes { recorded, account, facts } in self.attributes.drain(..due).collect::<Vec<_>>() {
            self.advance(recorded.back(slack));
            let attributes = Attributes { account: &account, recorded, facts };
            self.engine.apply_attributes(&attributes, Mode::Live, recorded, &mut self.step);
        }
        self.advance(time.back(slack));
    }

    fn advance(&mut self, clock: Timestamp) {
        self.engine.advance(clock, usize::MAX, clock, &mut self.step);
        self.forget_standings();
    }

    /// A replay shows changes; where they led to is asked of the engine at the end.
    fn forget_standings(&mut self) {
        self.step.standings.clear();
    }
}

fn in_order_of_effect(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by(|a, b| (a.effective_at, &a.account, a.sequence).cmp(&(b.effective_at, &b.account, b.sequence)));
    for change in &mut changes {
        // Nobody waited for it: it is known as soon as it takes effect.
        change.detected_at = change.effective_at;
    }
    changes
}
