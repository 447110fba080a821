//! Decides: given events and the time, which accounts change tier or segment, when and why.
//!
//! Pure and synchronous: no clock, no I/O, no failure. Few verbs: apply an event or attributes,
//! advance to a time, ask for the next deadline, explain an account, and load or store a page.
//!
//! An account's history is decided up to its *settled* time. Whatever falls due is settled before
//! an event is applied, each change with its own effective time, so that what is published does not
//! depend on when somebody looked.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

mod account;
mod accounts;
mod ahead;
mod block;
mod crossing;
mod explain;
mod judge;
mod layout;
mod numbers;
mod publish;
mod score;
mod step;
mod store;
#[cfg(test)]
mod tests;
mod worth;

pub use accounts::{PAGES, PageId, account_hash, page_of};
pub use ahead::Sought;
pub use explain::Explanation;
pub use step::{Stats, Step};
pub use store::{AccountImage, Remap, Schema};

use account::{Account, NEVER, Tag};
use accounts::Page;
use judge::{Judge, Verdict};
use layout::{Layout, SlotKind};
use score::{Reading, faded_at};
use worth::Worth;

use crate::model::{Attributes, Cause, Event, Facts, Hit, Model, SegmentSince, SignalId, Span, Timestamp};

/// What an account was published to be in under a model that this one no longer has.
#[derive(Clone, Debug, Default, PartialEq)]
struct Retired {
    tier: Option<Arc<str>>,
    segments: Vec<SegmentSince>,
}

/// All accounts of one partition under one model.
pub struct Engine {
    model: Arc<Model>,
    layout: Layout,
    grace: Span,
    pages: Vec<Page>,
    dirty: Vec<bool>,
    /// When the page's first account may have faded, as of its last sweep.
    fades_at: Vec<Timestamp>,
    timers: BinaryHeap<Reverse<(Timestamp, u64)>>,
    retired: HashMap<Box<str>, Retired>,
}

/// What a record may have done to the account that it touched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    /// Scores and counts rose, or stayed; these segments (one bit each) read them.
    Rise { readers: u32 },
    /// Anything.
    Any,
}

impl Effect {
    const NONE: Self = Self::Rise { readers: 0 };

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Rise { readers }, Self::Rise { readers: others }) => Self::Rise { readers: readers | others },
            _ => Self::Any,
        }
    }
}

/// Whether an event moves scores, or also decides and publishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Sums and the settled time move on; the outcome was published before.
    Silent,
    /// Changes go out.
    Live,
}

impl Engine {
    /// An engine without accounts. Events up to `grace` late may still be judged at their own time.
    pub fn new(model: Arc<Model>, grace: Span) -> Self {
        Self {
            layout: Layout::of(&model),
            model,
            grace,
            pages: std::iter::repeat_with(Page::default).take(PAGES).collect(),
            dirty: vec![false; PAGES],
            fades_at: vec![Timestamp::MIN; PAGES],
            timers: BinaryHeap::new(),
            retired: HashMap::new(),
        }
    }

    /// The model that accounts are judged under.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Number of accounts in memory.
    pub fn len(&self) -> usize {
        self.pages.iter().map(Page::len).sum()
    }

    /// Whether no account is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the accounts take, index and timers included.
    pub fn footprint(&self) -> usize {
        let timers = self.timers.capacity() * size_of::<Reverse<(Timestamp, u64)>>();
        self.pages.iter().map(Page::footprint).sum::<usize>() + timers
    }

    /// Number of entries in the timer queue, the stale ones included.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Applies an event: settles what was due, adds the event with its own time, judges.
    pub fn apply(&mut self, event: &Event<'_>, mode: Mode, detected_at: Timestamp, step: &mut Step) {
        self.apply_sought(event, &Sought::default(), mode, detected_at, step);
    }

    /// [`Self::apply`] to an account that [`Self::look_ahead`] may have found.
    pub fn apply_sought(
        &mut self,
        event: &Event<'_>,
        sought: &Sought<'_>,
        mode: Mode,
        detected_at: Timestamp,
        step: &mut Step,
    ) {
        let (page, at) = self.find_or_add(event.account, sought);
        let account = self.account_mut(page, at);
        if !account.remember(event.id, event.time) {
            step.stats.duplicates += 1;
            return;
        }
        let (settled, armed) = (account.settled(), account.armed());
        self.mark(page, step);
        let earliest = event.recorded.back(self.grace);
        step.stats.applied += 1;
        step.stats.late += u64::from(event.time < earliest);
        let judged_at = event.time.max(earliest).max(settled);
        if mode == Mode::Live && armed <= judged_at {
            self.settle(page, at, judged_at, detected_at, step);
        }
        let account = self.pages[usize::from(page.0)].get_mut(at);
        let effects = event.hits.iter().map(|hit| add(&self.model, &self.layout, account, hit, event.time));
        let effect = effects.fold(Effect::NONE, Effect::and);
        self.conclude(page, at, judged_at, mode, Cause::Signal, effect, detected_at, step);
    }

    /// Applies what attributes make known of an account, replacing what was known.
    pub fn apply_attributes(
        &mut self,
        attributes: &Attributes<'_>,
        mode: Mode,
        detected_at: Timestamp,
        step: &mut Step,
    ) {
        step.stats.attributes += 1;
        let hash = account_hash(attributes.account);
        let unknown = self.pages[usize::from(page_of(hash).0)].find(hash, attributes.account.as_bytes()).is_none();
        if unknown && attributes.facts == Facts::default() {
            return;
        }
        let (page, at) = self.find_or_add(attributes.account, &Sought::default());
        self.mark(page, step);
        let account = self.account(page, at);
        let (judged_at, armed) = (attributes.recorded.max(account.settled()), account.armed());
        if mode == Mode::Live && armed <= judged_at {
            self.settle(page, at, judged_at, detected_at, step);
        }
        let suppressed = self.judge(page, at, judged_at).suppression();
        self.put_facts(page, at, attributes);
        let now_suppressed = self.judge(page, at, judged_at).suppression();
        let cause = if suppressed == now_suppressed { Cause::Fit } else { Cause::Suppression };
        let published = step.standings.len();
        self.conclude(page, at, judged_at, mode, cause, Effect::Any, detected_at, step);
        if mode == Mode::Live && cause == Cause::Suppression && step.standings.len() == published {
            self.stand_still(page, at, judged_at, step);
        }
    }

    /// Settles what is due up to `clock`, oldest first, each change with the moment it took effect;
    /// at most `limit` timers. Returns whether more are due.
    pub fn advance(&mut self, clock: Timestamp, limit: usize, detected_at: Timestamp, step: &mut Step) -> bool {
        for _ in 0..limit {
            let due = self.timers.peek().is_some_and(|Reverse((time, _))| *time <= clock);
            if !due {
                return false;
            }
            if let Some(Reverse((time, hash))) = self.timers.pop() {
                step.stats.timers_fired += 1;
                self.fire(time, hash, detected_at, step);
            }
        }
        self.timers.peek().is_some_and(|Reverse((time, _))| *time <= clock)
    }

    /// When the next timer falls due. It may turn out to be stale, never to be late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((time, _))| *time)
    }

    /// Publishes the change that is due at `time`, if the timer is not stale, and arms the next one:
    /// one change at a time, so that those of all accounts come in the order of their times.
    fn fire(&mut self, time: Timestamp, hash: u64, detected_at: Timestamp, step: &mut Step) {
        let page = page_of(hash);
        let accounts = &self.pages[usize::from(page.0)];
        let armed: Vec<usize> = accounts.with_hash(hash).filter(|&at| accounts.get(at).armed() == time).collect();
        for at in armed {
            let due = self.due(page, at);
            if due <= time {
                self.mark(page, step);
                self.settle_from(page, at, due, time, detected_at, step);
            } else {
                self.account_mut(page, at).set_armed(NEVER);
                self.arm(page, at, due);
            }
        }
    }

    /// Settles whatever is due up to `until`, included, to which the timer is armed.
    fn settle(&mut self, page: PageId, at: usize, until: Timestamp, detected_at: Timestamp, step: &mut Step) {
        let due = self.due(page, at);
        self.settle_from(page, at, due, until, detected_at, step);
    }

    fn settle_from(
        &mut self,
        page: PageId,
        at: usize,
        mut due: Timestamp,
        until: Timestamp,
        detected_at: Timestamp,
        step: &mut Step,
    ) {
        while due <= until {
            let account = self.account_mut(page, at);
            account.set_settled(due);
            account.set_judged(true);
            let (standing, verdict) = (self.verdict_of(page, at), self.judge(page, at, due).verdict());
            let next = self.publish(page, at, due, standing, verdict, None, detected_at, step);
            due = next.unwrap_or_else(|| self.next_change(page, at, due));
        }
        let account = self.account_mut(page, at);
        if account.armed() <= until {
            // Its moment has passed: the entry in the queue will be found stale.
            account.set_armed(NEVER);
        }
        self.arm(page, at, due);
    }

    /// Ends the application of a record: the account is judged at `judged_at` and settled to it.
    #[expect(clippy::too_many_arguments, reason = "one private place where an application ends")]
    fn conclude(
        &mut self,
        page: PageId,
        at: usize,
        judged_at: Timestamp,
        mode: Mode,
        cause: Cause,
        effect: Effect,
        detected_at: Timestamp,
        step: &mut Step,
    ) {
        let account = self.account_mut(page, at);
        account.set_settled(judged_at);
        // It stood where it belonged up to this moment: it was judged before, and what was due is settled.
        let was_judged = account.is_judged();
        account.set_judged(mode == Mode::Live);
        if mode == Mode::Silent {
            return;
        }
        let standing = self.verdict_of(page, at);
        let judge = self.judge(page, at, judged_at);
        let verdict = match effect {
            Effect::Rise { readers } if was_judged && self.model.is_monotone() => {
                judge.verdict_after_rise(standing, readers)
            }
            _ => judge.verdict(),
        };
        let next = self.publish(page, at, judged_at, standing, verdict, Some(cause), detected_at, step);
        // Within a tier an event only moves the next fall later: the armed timer finds out when it
        // fires. All else may move it closer.
        if next.is_some() || effect == Effect::Any || !self.model.is_monotone() {
            let due = next.unwrap_or_else(|| self.next_change(page, at, judged_at));
            self.arm(page, at, due);
        }
    }

    /// [`Self::next_change`] of an account with a timer, which is never armed for later than that.
    fn due(&self, page: PageId, at: usize) -> Timestamp {
        let account = self.account(page, at);
        let (settled, armed) = (account.settled(), account.armed());
        if armed <= settled || !account.is_judged() {
            return self.next_change(page, at, settled);
        }
        let judge = self.judge(page, at, armed);
        if judge.verdict() == self.verdict_of(page, at) { self.next_change_after(page, at, judge) } else { armed }
    }

    /// When the account will change next if it stays silent, after `from`, to which it is settled.
    fn next_change(&self, page: PageId, at: usize, from: Timestamp) -> Timestamp {
        let standing = self.verdict_of(page, at);
        if standing == Verdict::default() && self.model.is_monotone() {
            return NEVER;
        }
        self.next_change_after(page, at, self.judge(page, at, from))
    }

    fn next_change_after<'a>(&'a self, page: PageId, at: usize, mut judge: Judge<'a>) -> Timestamp {
        let standing = self.verdict_of(page, at);
        loop {
            let time = judge.turns_at();
            if time == NEVER {
                return NEVER;
            }
            judge = self.judge(page, at, time);
            if judge.verdict() != standing {
                return time;
            }
        }
    }

    fn verdict_of(&self, page: PageId, at: usize) -> Verdict {
        let account = self.account(page, at);
        Verdict { tier: account.tier(), members: account.members(&self.layout) }
    }

    fn arm(&mut self, page: PageId, at: usize, due: Timestamp) {
        let account = self.pages[usize::from(page.0)].get_mut(at);
        if due < account.armed() {
            account.set_armed(due);
            // One that is too far away for the account to hold never comes.
            if account.armed() != NEVER {
                self.timers.push(Reverse((due, accounts::hash_of(account))));
            }
        }
    }

    fn put_facts(&mut self, page: PageId, at: usize, attributes: &Attributes<'_>) {
        let account = self.pages[usize::from(page.0)].get_mut(at);
        if attributes.facts == Facts::default() {
            account.clear(&self.layout, Layout::FACTS);
        } else {
            let recorded = attributes.recorded.clamp(Timestamp::EARLIEST, Timestamp::LATEST);
            let tag = Tag::new(Layout::FACTS, 0, recorded).0;
            account.put(&self.layout, Layout::FACTS, [tag, attributes.facts.known, attributes.facts.holds]);
        }
    }

    fn mark(&mut self, page: PageId, step: &mut Step) {
        if !std::mem::replace(&mut self.dirty[usize::from(page.0)], true) {
            step.touched.push(page);
        }
    }

    /// The positions of all accounts of a page; they stay while none is added.
    fn positions(&self, page: PageId) -> Vec<usize> {
        self.pages[usize::from(page.0)].positions().collect()
    }

    fn account(&self, page: PageId, at: usize) -> &Account {
        self.pages[usize::from(page.0)].get(at)
    }

    fn account_mut(&mut self, page: PageId, at: usize) -> &mut Account {
        self.pages[usize::from(page.0)].get_mut(at)
    }

    fn reading(&self, page: PageId, at: usize) -> Reading<'_> {
        Reading { model: &self.model, layout: &self.layout, account: self.account(page, at) }
    }

    fn judge(&self, page: PageId, at: usize, time: Timestamp) -> Judge<'_> {
        Judge::new(self.reading(page, at), time)
    }
}

/// Adds what an event means to the account, at its own time.
fn add(model: &Model, layout: &Layout, account: &mut Account, hit: &Hit, time: Timestamp) -> Effect {
    match *hit {
        Hit::Count(signal) => {
            let mut readers = add_to_sum(layout, account, signal, time);
            if let Some(slot) = layout.times(signal) {
                account.add_time(layout, slot, time, model.times_kept(signal));
                readers |= layout.readers(slot);
            }
            Effect::Rise { readers }
        }
        Hit::Level(signal, value) => {
            replace_level(layout, account, signal, value, time);
            Effect::Any
        }
        Hit::Seen(set, person) => {
            let slot = layout.seen(set);
            if let SlotKind::Seen { keep, .. } = layout.kind(slot) {
                account.add_seen(layout, slot, time, person.0, keep);
            }
            Effect::Rise { readers: layout.readers(slot) }
        }
    }
}

/// Age first, then add: the newer of the two times becomes the reference, so that the order in
/// which events arrive does not matter. Returns the segments that read the sum.
fn add_to_sum(layout: &Layout, account: &mut Account, signal: SignalId, time: Timestamp) -> u32 {
    let slot = layout.score(signal);
    let (SlotKind::Sum(_), Worth::Fading { half_life, .. }) = (layout.kind(slot), *layout.worth(slot)) else {
        return 0;
    };
    account.update(layout, slot, |cell| {
        let (count, reference, sum) = match cell {
            Some([tag, bits]) => (Tag(tag).count(), Tag(tag).time(), f64::from_bits(bits)),
            None => (0, time, 0.0),
        };
        let (reference, sum) = if time >= reference {
            (time, sum * numbers::fade(time - reference, half_life) + 1.0)
        } else {
            (reference, sum + numbers::fade(reference - time, half_life))
        };
        [Tag::new(slot, count + 1, reference).0, sum.to_bits()]
    });
    layout.readers(slot)
}

/// The newest level by event time stands; of two at the same time the larger one.
fn replace_level(layout: &Layout, account: &mut Account, signal: SignalId, value: f64, time: Timestamp) {
    let slot = layout.score(signal);
    account.update(layout, slot, |cell| {
        let (count, newer) = match cell {
            Some([tag, bits]) => {
                let known = (Tag(tag).time(), f64::from_bits(bits));
                (Tag(tag).count(), if (time, value) > known { (time, value) } else { known })
            }
            None => (0, (time, value)),
        };
        [Tag::new(slot, count + 1, newer.0).0, newer.1.to_bits()]
    });
}
