//! One partition that a worker owns: its accounts, how far it has got, and what is not committed yet.

use std::{sync::Arc, time::Duration};

use super::{
    clock::PartitionClock,
    copies::{Copies, PageCopy},
    intake::{Intake, Meaning},
    progress::Checkpoint,
};
use crate::{
    drill::{self, Rule},
    engine::{Engine, Mode, PageId, Sought, Step, account_hash, page_of},
    log::{End, InputId, InputKind, Inputs, Offset, Output, Partition, Progress, Record},
    model::{Model, Span, Timestamp},
    telemetry::Tally,
    view::Phase,
    wire::{
        self,
        dead_letter::{Rejected, dead_letter},
    },
};

mod afresh;

/// Due timers that one record or one turn may fire; the rest follow in the next.
const TIMERS_AT_ONCE: usize = 1024;
/// Records whose accounts are fetched from memory together.
const LOOKED_UP_AT_ONCE: usize = 64;
/// How long before a timer is due an input is asked for its end.
const ASKED_AHEAD: Span = Span::seconds(1);
/// How long the clock may stand still, with no timer waiting for it: accounts fade on it.
const ASKED_AFTER: Span = Span::seconds(30);
/// Changes that may wait for a commit before due timers are held back.
const CHANGES_WAITING: usize = 8192;

/// Next offset per input, in the order of the inputs.
pub type Positions = Box<[Offset]>;

/// A partition and all that belongs to it.
pub struct Owned {
    pub partition: Partition,
    pub engine: Engine,
    pub clock: PartitionClock,
    pub phase: Phase,
    /// What the uncommitted records and timers have caused.
    pub step: Step,
    pub dead_letters: Vec<Output>,
    /// Records since the last commit.
    pub records: u64,
    pub tally: Tally,
    inputs: Inputs,
    positions: Positions,
    /// Offsets committed when the partition was taken up: below them the outcome is published.
    committed: Positions,
    /// Inputs that have reached what was committed.
    caught_up: Vec<bool>,
    /// The wall clock no later than when each input was last asked for more.
    asked: Vec<Timestamp>,
    /// The ends of inputs that came after their last records, and the wall clock no later than when they were
    /// found.
    ended: Vec<Option<(End, Timestamp)>>,
    /// When inputs were found to hold more than they deliver, on the monotonic clock.
    doubted: Vec<Option<Duration>>,
    /// Records from beyond the committed offsets of an input that got there before the others.
    held: Vec<HeldRecord>,
    copies: Copies,
    /// Attributes are read again from the start, whatever the pages reflect.
    rereads_attributes: bool,
    /// Pages to judge afresh because the model changed.
    stale: Vec<PageId>,
    judged_under: String,
    /// The metadata texts last committed, by which cached state is recognised.
    signature: Vec<String>,
    /// Positions last committed.
    last_committed: Positions,
    moved: bool,
}

struct HeldRecord {
    input: InputId,
    offset: Offset,
    time: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// Where a partition is taken up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Start {
    /// Where reading starts, per input.
    pub from: Positions,
    /// Where records stop being silent, per input.
    pub committed: Positions,
    /// What was promised with the committed offsets; nothing on the first start.
    pub checkpoint: Option<Checkpoint>,
    /// The metadata of the committed offsets, as they are.
    pub metadata: Vec<String>,
}

impl Start {
    /// Where reading the state topic starts.
    pub fn state_from(&self) -> Offset {
        self.checkpoint.as_ref().map_or(Offset(0), Checkpoint::state_from)
    }
}

impl Owned {
    /// A partition whose tables are still to be read.
    pub fn new(partition: Partition, model: Arc<Model>, grace: Span, inputs: Inputs, start: Start) -> Self {
        let count = inputs.0.len();
        let judged_under =
            start.checkpoint.map_or_else(|| model.id().digest.to_string(), |checkpoint| checkpoint.model);
        Self {
            partition,
            engine: Engine::new(model, grace),
            clock: PartitionClock::new(count, grace),
            phase: Phase::Restoring,
            step: Step::default(),
            dead_letters: Vec::new(),
            records: 0,
            tally: Tally::default(),
            inputs,
            positions: start.from,
            last_committed: start.committed.clone(),
            committed: start.committed,
            caught_up: vec![false; count],
            asked: vec![Timestamp::MIN; count],
            ended: vec![None; count],
            doubted: vec![None; count],
            held: Vec::new(),
            copies: Copies::new(),
            rereads_attributes: false,
            stale: Vec::new(),
            judged_under,
            signature: Vec::new(),
            moved: false,
        }
    }

    /// Whether a partition that was given back fully committed is what is to be taken up again:
    /// nobody has committed since.
    pub fn is_still(&self, start: &Start) -> bool {
        start.metadata == self.signature && start.committed == self.positions
    }

    /// The next offset of every input.
    pub fn positions(&self) -> impl Iterator<Item = (InputId, Partition, Offset)> + '_ {
        self.inputs.ids().map(|input| (input, self.partition, self.positions[usize::from(input.0)]))
    }

    /// Inputs that deliver nothing more until the others have caught up as well.
    pub fn waiting_inputs(&self) -> impl Iterator<Item = InputId> + '_ {
        let waits = self.phase != Phase::Live;
        self.inputs.ids().filter(move |input| waits && self.caught_up[usize::from(input.0)])
    }

    /// The inputs are read from their positions on, when the wall clock shows `wall`.
    pub fn sought(&mut self, wall: Timestamp) {
        self.asked.fill(wall);
    }

    /// Takes records that follow one another in an input. They had not come yet when the wall clock showed
    /// `emptied`, so what comes after them was asked for later.
    pub fn take(&mut self, records: &[Record<'_>], intake: &mut Intake, wall: Timestamp, emptied: Timestamp) {
        if let Some(first) = records.first() {
            let at = usize::from(first.input.0);
            (self.doubted[at], self.asked[at]) = (None, emptied);
        }
        for records in records.chunks(LOOKED_UP_AT_ONCE) {
            peek_values(records);
            // The key names the account, as a rule; else this was for nothing.
            let sought = self.engine.look_ahead(records.iter().map(|record| record.key.unwrap_or_default()));
            for (record, sought) in records.iter().zip(&sought) {
                self.take_one(record, sought, intake, wall);
            }
        }
    }

    fn take_one(&mut self, record: &Record<'_>, sought: &Sought<'_>, intake: &mut Intake, wall: Timestamp) {
        let input = usize::from(record.input.0);
        if record.offset < self.positions[input] {
            return;
        }
        self.ended[input] = None;
        if self.phase == Phase::Live {
            self.apply(record, sought, intake, wall, Mode::Live);
        } else if record.offset < self.committed[input] {
            let mode = if drill::breaks(Rule::SilentCatchUp) { Mode::Live } else { Mode::Silent };
            self.apply(record, sought, intake, wall, mode);
            self.caught_up[input] = self.positions[input] >= self.committed[input];
        } else {
            self.caught_up[input] = true;
            self.held.push(HeldRecord::new(record));
        }
    }

    /// Nothing was left to read of an input.
    pub fn reach_end(&mut self, end: End, wall: Timestamp) {
        let at = usize::from(end.input.0);
        if end.offset < self.committed[at] {
            // Says a replica that is behind: what was committed was read.
            return;
        }
        let found = self.asked[at];
        (self.caught_up[at], self.ended[at], self.doubted[at]) = (true, Some((end, found)), None);
        if self.phase == Phase::Live {
            self.pass_end(end, found, wall);
        }
    }

    fn pass_end(&mut self, end: End, found: Timestamp, wall: Timestamp) {
        let position = &mut self.positions[usize::from(end.input.0)];
        if *position < end.offset {
            // Past what is nothing to read: when retention has removed it, no more is missing than is.
            *position = end.offset;
            self.moved = true;
        }
        if end.undecided {
            self.clock.await_decision(end.input, wall);
        } else {
            self.clock.reach_end(end.input, found);
        }
    }

    /// An input that was at its end still was when the wall clock showed `wall`.
    pub fn still_ends(&mut self, input: InputId, wall: Timestamp) {
        self.doubted[usize::from(input.0)] = None;
        self.clock.reach_end(input, wall);
    }

    /// Inputs that must be asked for their end: they are known to hold more, or their end is out of sight,
    /// and a timer that is due waits for that, or it is long ago.
    pub fn unsure(&self, now: Duration, wall: Timestamp) -> impl Iterator<Item = (InputId, Partition)> + '_ {
        let outlook = self.clock.outlook(wall + ASKED_AHEAD);
        let due = self.engine.next_deadline().is_some_and(|deadline| deadline <= outlook);
        let lasts = Duration::from_millis(self.clock.sight_lasts().millis() as u64);
        let unsure = move |input: &InputId| match self.doubted[usize::from(input.0)] {
            Some(since) => now.saturating_sub(since) > lasts,
            None if due && self.clock.is_held_by(*input, wall) => true,
            None => self.clock.end_seen(*input).is_some_and(|seen| seen + ASKED_AFTER < wall),
        };
        self.inputs.ids().filter(unsure).map(|input| (input, self.partition))
    }

    /// An input holds more than it has delivered. Returns whether that was known before.
    pub fn doubt(&mut self, input: InputId, now: Duration) -> bool {
        self.clock.lose_sight(input);
        self.doubted[usize::from(input.0)].replace(now).is_some()
    }

    fn apply(&mut self, record: &Record<'_>, sought: &Sought<'_>, intake: &mut Intake, wall: Timestamp, mode: Mode) {
        if mode == Mode::Live {
            self.records += 1;
            self.moved = true;
        }
        if let Some(recorded) = record.time {
            // Nothing is recorded in the future: a producer whose clock is wrong must not move ours.
            self.clock.observe(record.input, recorded.min(wall));
        }
        if mode == Mode::Live {
            self.pass_time(wall);
        }
        let letter_bytes_max = intake.letter_bytes_max;
        match intake.read(self.inputs.kind(record.input), record, wall) {
            Ok(Meaning::Event(event)) if self.is_new(record, event.account) => {
                self.judge_first(event.account, event.recorded, wall);
                self.engine.apply_sought(&event, sought, mode, wall, &mut self.step);
                self.tally.applied(event.time);
            }
            Ok(Meaning::Attributes(attributes)) if self.is_new(record, attributes.account) => {
                self.judge_first(attributes.account, attributes.recorded, wall);
                self.engine.apply_attributes(&attributes, mode, wall, &mut self.step);
            }
            Ok(Meaning::Event(_) | Meaning::Attributes(_)) => {}
            Ok(Meaning::Ignored(reason)) => self.tally.ignore(reason),
            Err(rejected) if mode == Mode::Live => self.reject(record, &rejected, letter_bytes_max),
            // It was buried when it was read for the first time.
            Err(_) => {}
        }
        self.note_touched();
        self.positions[usize::from(record.input.0)] = record.offset.next();
    }

    fn reject(&mut self, record: &Record<'_>, rejected: &Rejected, letter_bytes_max: usize) {
        match self.inputs.kind(record.input) {
            InputKind::Events => self.tally.dead_letter_event(rejected.fault.name()),
            InputKind::Accounts => self.tally.dead_letter_attributes(rejected.fault.name()),
        }
        let topic = self.inputs.name(record.input);
        self.dead_letters.push(dead_letter(record, topic, rejected, letter_bytes_max));
    }

    /// Whether the account's stored page does not reflect the record yet.
    fn is_new(&self, record: &Record<'_>, account: &str) -> bool {
        if self.phase == Phase::Live || drill::breaks(Rule::SkipReflected) {
            return true;
        }
        if self.rereads_attributes && self.inputs.kind(record.input) == InputKind::Accounts {
            return true;
        }
        let page = page_of(account_hash(account));
        let reflects = self.copies.reflects(page);
        reflects.is_none_or(|positions| record.offset >= positions[usize::from(record.input.0)])
    }

    /// Lets time pass as far as the partition's clock allows; fires what is due.
    pub fn pass_time(&mut self, wall: Timestamp) {
        if self.phase != Phase::Live {
            return;
        }
        let now = self.clock.advance(wall);
        // What falls due in accounts that are yet to be judged afresh is no fall: the model's falls begin then.
        if self.stale.is_empty() && self.step.changes.len() < CHANGES_WAITING {
            self.engine.advance(now, TIMERS_AT_ONCE, wall, &mut self.step);
            self.note_touched();
        }
    }

    fn note_touched(&mut self) {
        for page in self.step.touched.drain(..) {
            self.copies.touch(page, &self.positions);
        }
    }

    /// What follows is the newest copy of a page so far; `stale` if it was judged under another model.
    pub fn begin_page(&mut self, page: PageId, copy: PageCopy, stale: bool) {
        self.engine.clear_page(page);
        self.copies.found(page, copy);
        // An older copy of it may have been of another model.
        self.stale.retain(|known| *known != page);
        if stale {
            self.stale.push(page);
        }
    }

    /// The stored copies of its pages.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The input topics.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Offsets committed when the partition was taken up.
    pub fn committed(&self) -> &[Offset] {
        &self.committed
    }

    /// Reads the attributes again from `start`, since what the pages know answers another model.
    pub fn reread_attributes(&mut self, input: InputId, start: Offset) {
        self.rereads_attributes = true;
        self.positions[usize::from(input.0)] = start;
    }

    /// The tables are read: what is left is to re-read the input, if anything.
    pub fn catch_up(&mut self) {
        self.phase = Phase::CatchingUp;
        for (at, caught_up) in self.caught_up.iter_mut().enumerate() {
            *caught_up = self.positions[at] >= self.committed[at];
        }
    }

    /// Whether everything below the committed offsets has been re-read.
    pub fn is_caught_up(&self) -> bool {
        self.phase == Phase::CatchingUp && self.caught_up.iter().all(|caught_up| *caught_up)
    }

    /// From here on records are judged. Until [`Self::take_held`] its state is what is committed.
    pub fn go_live(&mut self) {
        self.phase = Phase::Live;
        self.copies.go_live();
        // What was read silently was counted and published before.
        if !drill::breaks(Rule::SilentCatchUp) {
            self.take_committed();
        }
        self.engine.arm_all();
        if self.model_changed() {
            self.stale = PageId::all().collect();
        }
        for (at, committed) in self.committed.iter().enumerate() {
            // Compaction can leave nothing to read right below what was committed.
            self.positions[at] = self.positions[at].max(*committed);
        }
    }

    /// Takes the records that were held back while others were read again.
    pub fn take_held(&mut self, intake: &mut Intake, wall: Timestamp) {
        for held in std::mem::take(&mut self.held) {
            self.apply(&held.record(self.partition), &Sought::default(), intake, wall, Mode::Live);
        }
        for (end, found) in self.ended.clone().into_iter().flatten() {
            self.pass_end(end, found, wall);
        }
    }

    /// Stores a page if something in it changed; returns the records for the state topic, which ends at
    /// `state_end` or further on.
    pub fn sweep(&mut self, page: PageId, limit: usize, state_end: Offset) -> Vec<Output> {
        // A page that is stored says under which model its accounts were judged.
        if self.stale.contains(&page) || !self.engine.sweep(page, self.clock.now(), &mut self.step) {
            return Vec::new();
        }
        let positions: Vec<_> =
            self.inputs.ids().map(|id| (self.inputs.name(id).clone(), self.position(id).0)).collect();
        let (schema, images) = (self.engine.schema(), self.engine.images(page));
        let parts = wire::page::encode(page, self.partition.0, &positions, &schema, images, limit);
        let after = parts.len() as u16;
        let before = self.copies.store(page, after, state_end);
        let gone = (after..before).map(|part| self.state_record(page, part, None)).collect::<Vec<_>>();
        let parts =
            parts.into_iter().enumerate().map(|(part, bytes)| self.state_record(page, part as u16, Some(bytes)));
        let records = parts.chain(gone).collect();
        self.engine.stored(page);
        self.moved = true;
        records
    }

    fn position(&self, input: InputId) -> Offset {
        self.positions[usize::from(input.0)]
    }

    fn state_record(&self, page: PageId, part: u16, value: Option<Vec<u8>>) -> Output {
        Output {
            topic: crate::log::OutputTopic::State,
            partition: self.partition,
            key: Some(wire::page::key(page, part)),
            value,
            headers: Vec::new(),
        }
    }

    /// Whether there is anything to commit.
    pub fn has_work(&self) -> bool {
        self.phase == Phase::Live && (self.moved || !self.step.changes.is_empty())
    }

    /// Progress of all inputs, to be committed under the name `commit`, with topics of so many
    /// partitions.
    pub fn progress(&mut self, commit: &str, partitions: i32) -> Vec<Progress> {
        let (pages, state_from) = (self.copies.count(), self.copies.state_from());
        let progress: Vec<Progress> = self
            .inputs
            .ids()
            .map(|input| {
                let from = self.replay_from(input);
                let checkpoint =
                    Checkpoint::new(from, state_from, pages, partitions, self.judged_under.clone(), commit.to_owned());
                let offset = self.position(input);
                Progress { input, partition: self.partition, offset, metadata: checkpoint.encode() }
            })
            .collect();
        self.signature = progress.iter().map(|progress| progress.metadata.clone()).collect();
        progress
    }

    /// The oldest position at which a page that was not stored since was first touched.
    fn replay_from(&self, input: InputId) -> Offset {
        let at = usize::from(input.0);
        self.copies.replay_from(input).unwrap_or(self.positions[at]).min(self.positions[at])
    }

    /// Positions last committed, in the order of the inputs.
    pub fn last_committed(&self) -> &Positions {
        &self.last_committed
    }

    /// Hands over what is committed now: it is out.
    pub fn take_committed(&mut self) -> (Step, Tally) {
        (self.moved, self.records) = (false, 0);
        self.last_committed.clone_from(&self.positions);
        self.dead_letters.clear();
        (std::mem::take(&mut self.step), std::mem::take(&mut self.tally))
    }
}

/// Reads something of each cache line of the values: another thread has written them, so they are not in this core's
/// caches, and line by line is waited for longer than for all at once.
fn peek_values(records: &[Record<'_>]) {
    let bytes = records.iter().filter_map(|record| record.value).flat_map(|value| value.iter().step_by(64));
    std::hint::black_box(bytes.fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte))));
}

impl HeldRecord {
    fn new(record: &Record<'_>) -> Self {
        Self {
            input: record.input,
            offset: record.offset,
            time: record.time,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        }
    }

    fn record(&self, partition: Partition) -> Record<'_> {
        Record {
            input: self.input,
            partition,
            offset: self.offset,
            time: self.time,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
