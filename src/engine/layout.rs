//! How the state of an account follows from the compiled model.
//!
//! State is a sorted run of *cells*, each made of one to three words and belonging to a *slot*; an
//! account has cells only for what happened to it. A new kind of state is a new kind of slot: the
//! code that stores, moves and writes accounts does not change.

use std::sync::Arc;

use super::worth::Worth;
use crate::model::{DistinctId, Leaf, Model, Scoring, SegmentId, SignalId, Span, TierId};

/// Index of a slot; the order of cells within an account.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Slot(pub u8);

/// What the cells of a slot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotKind {
    /// Facts known from attributes: `[tag, known, holds]`.
    Facts,
    /// What was last published: `[tag with since, sequence]`.
    Standing,
    /// Membership of a segment: `[tag with since]`.
    Member(SegmentId),
    /// A held tier with a minimum dwell: `[tag with the time of the gain]`.
    Gained(TierId),
    /// Forward-decayed number of events: `[tag with reference time, value]`.
    Sum(SignalId),
    /// Newest level: `[tag with its time, value]`.
    Level(SignalId),
    /// Newest event times, newest first, at most `keep`: `[tag with time]` each.
    Times { signal: SignalId, keep: u32 },
    /// Newest distinct values, newest first, at most `keep`: `[tag with time, hash]` each.
    Seen { set: DistinctId, keep: u32 },
}

impl SlotKind {
    /// Words per cell.
    const fn width(self) -> u8 {
        match self {
            Self::Member(_) | Self::Gained(_) | Self::Times { .. } => 1,
            Self::Standing | Self::Sum(_) | Self::Level(_) | Self::Seen { .. } => 2,
            Self::Facts => 3,
        }
    }
}

/// The slots of a model.
#[derive(Clone, Debug)]
pub struct Layout {
    kinds: Vec<SlotKind>,
    names: Vec<Arc<str>>,
    widths: Vec<u8>,
    memberships: (Slot, Slot),
    gained: Vec<Option<Slot>>,
    scores: Vec<Slot>,
    times: Vec<Option<Slot>>,
    seen: Vec<Slot>,
    worths: Vec<Worth>,
    /// The slots that score lie between the first and the second.
    scoring: (Slot, Slot),
    /// Per slot, one bit for each segment whose rule reads it.
    readers: Vec<u32>,
    /// The longest that a time in the slot can matter, for slots with windows.
    windows: Vec<Span>,
}

impl Layout {
    /// Where facts are kept.
    pub const FACTS: Slot = Slot(0);
    /// Where the standing is kept.
    pub const STANDING: Slot = Slot(1);

    /// The slots that a model needs. There are at most 2 + 32 + 16 + 64 + 64 + 32 of them.
    pub fn of(model: &Model) -> Self {
        let mut layout = Self {
            kinds: Vec::new(),
            names: Vec::new(),
            widths: Vec::new(),
            memberships: (Slot(0), Slot(0)),
            gained: Vec::new(),
            scores: Vec::new(),
            times: Vec::new(),
            seen: Vec::new(),
            worths: Vec::new(),
            scoring: (Slot(0), Slot(0)),
            readers: Vec::new(),
            windows: Vec::new(),
        };
        layout.add(SlotKind::Facts, "facts".into());
        layout.add(SlotKind::Standing, "standing".into());
        layout.add_standing_slots(model);
        layout.add_signal_slots(model);
        layout.worths = layout.kinds.iter().map(|kind| Worth::of(*kind, model)).collect();
        layout.readers = readers(model, &layout);
        layout.windows = windows(model, &layout);
        layout
    }

    fn add_standing_slots(&mut self, model: &Model) {
        let first = self.next_slot();
        for (id, segment) in model.segments().iter().enumerate() {
            self.add(SlotKind::Member(SegmentId(id as u8)), format!("member:{}", segment.name));
        }
        self.memberships = (first, self.next_slot());
        for (id, tier) in model.tiers().iter().enumerate() {
            let dwells = !tier.min_dwell.is_zero();
            let kind = SlotKind::Gained(TierId(id as u8));
            let slot = dwells.then(|| self.add(kind, format!("gained:{}", tier.name)));
            self.gained.push(slot);
        }
    }

    fn add_signal_slots(&mut self, model: &Model) {
        let first = self.next_slot();
        for (id, set) in model.distinct_sets().iter().enumerate() {
            let kind = SlotKind::Seen { set: DistinctId(id as u8), keep: u32::from(set.keep) };
            let name = format!("seen:{}/{}", model.signal(set.signal).name, set.field_name);
            let slot = self.add(kind, name);
            self.seen.push(slot);
        }
        for (id, signal) in model.signals().iter().enumerate() {
            let id = SignalId(id as u8);
            let score = match signal.scoring {
                Scoring::Additive { .. } => self.add(SlotKind::Sum(id), format!("sum:{}", signal.name)),
                Scoring::Level { .. } => self.add(SlotKind::Level(id), format!("level:{}", signal.name)),
                Scoring::Distinct { set } => self.seen[usize::from(set.0)],
            };
            self.scores.push(score);
        }
        self.scoring = (first, self.next_slot());
        for (id, signal) in model.signals().iter().enumerate() {
            let id = SignalId(id as u8);
            let keep = model.times_kept(id);
            let slot =
                (keep > 0).then(|| self.add(SlotKind::Times { signal: id, keep }, format!("times:{}", signal.name)));
            self.times.push(slot);
        }
    }

    fn add(&mut self, kind: SlotKind, name: String) -> Slot {
        let slot = self.next_slot();
        self.kinds.push(kind);
        self.names.push(name.into());
        self.widths.push(kind.width());
        slot
    }

    fn next_slot(&self) -> Slot {
        Slot(self.kinds.len() as u8)
    }

    /// What a slot holds.
    pub fn kind(&self, slot: Slot) -> SlotKind {
        self.kinds[usize::from(slot.0)]
    }
    /// Words per cell of a slot.
    pub fn width(&self, slot: Slot) -> usize {
        usize::from(self.widths[usize::from(slot.0)])
    }
    /// Names of all slots, in order; equal names mean equal meaning across models.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }
    /// Where the membership of a segment is kept.
    pub fn member(&self, segment: SegmentId) -> Slot {
        let (first, _) = self.memberships;
        Slot(first.0 + segment.0)
    }
    /// The first of the slots that keep memberships, one for each segment, and the one after the last.
    pub fn memberships(&self) -> (Slot, Slot) {
        self.memberships
    }
    /// Where the gain of a tier is kept, if it has a minimum dwell.
    pub fn gained(&self, tier: TierId) -> Option<Slot> {
        self.gained[usize::from(tier.0)]
    }
    /// Where the contribution of a signal comes from.
    pub fn score(&self, signal: SignalId) -> Slot {
        self.scores[usize::from(signal.0)]
    }
    /// Where the event times of a signal are kept, if a rule counts them.
    pub fn times(&self, signal: SignalId) -> Option<Slot> {
        self.times[usize::from(signal.0)]
    }
    /// Where a distinct set is kept.
    pub fn seen(&self, set: DistinctId) -> Slot {
        self.seen[usize::from(set.0)]
    }
    /// What the cells of a slot are worth.
    pub fn worth(&self, slot: Slot) -> &Worth {
        &self.worths[usize::from(slot.0)]
    }
    /// The first of the slots that may be worth something, and the one after the last: they are neighbours.
    pub fn scoring(&self) -> (Slot, Slot) {
        self.scoring
    }
    /// One bit for each segment whose rule reads the slot.
    pub fn readers(&self, slot: Slot) -> u32 {
        self.readers[usize::from(slot.0)]
    }
    /// How long a time kept in the slot can matter to a window.
    pub fn window(&self, slot: Slot) -> Span {
        self.windows[usize::from(slot.0)]
    }
}

fn windows(model: &Model, layout: &Layout) -> Vec<Span> {
    let mut windows = vec![Span::ZERO; layout.kinds.len()];
    let mut widen = |slot: Slot, within: Span| {
        let window = &mut windows[usize::from(slot.0)];
        *window = (*window).max(within);
    };
    for (id, set) in model.distinct_sets().iter().enumerate() {
        widen(layout.seen(DistinctId(id as u8)), set.within);
    }
    let tiers = model.tiers().iter().filter_map(|tier| tier.rule.as_ref());
    for rule in tiers.chain(model.segments().iter().map(|segment| &segment.rule)) {
        rule.for_each_leaf(&mut |leaf| match *leaf {
            Leaf::Count { signal, within, .. } => {
                if let Some(slot) = layout.times(signal) {
                    widen(slot, within);
                }
            }
            Leaf::Distinct { set, within, .. } => widen(layout.seen(set), within),
            _ => {}
        });
    }
    windows
}

fn readers(model: &Model, layout: &Layout) -> Vec<u32> {
    let mut readers = vec![0; layout.kinds.len()];
    for (id, segment) in model.segments().iter().enumerate() {
        let mut read = |slot: Slot| readers[usize::from(slot.0)] |= 1 << id;
        segment.rule.for_each_leaf(&mut |leaf| match *leaf {
            Leaf::Count { signal, .. } => layout.times(signal).into_iter().for_each(&mut read),
            Leaf::Distinct { set, .. } => read(layout.seen(set)),
            Leaf::Score { signal, .. } => read(layout.score(signal)),
            Leaf::Intent { .. } => layout.scores.iter().copied().for_each(&mut read),
            Leaf::Fit { .. } | Leaf::Attribute(_) => {}
        });
    }
    readers
}
