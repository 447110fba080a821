//! Sets what was published against what the inputs imply, account by account.
//!
//! Both come in nearly the same order, and what meets cancels out: in memory are the accounts that
//! the engine has as well, and what is out of step.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    changes::{Comparison, Expected, Published, compare, compare_standing},
    findings::{Difference, Findings, Kind},
};
use crate::{
    engine::Step,
    log::OutputTopic,
    model::{Change, ModelId, Standing, Timestamp},
};

/// Sequences that an account remembers to tell a doubled change from one that nothing implies.
const RECENT: usize = 8;

/// The books of one partition.
pub struct Ledger {
    model: ModelId,
    partition: i32,
    /// What takes effect later is not looked at.
    until: Timestamp,
    /// Once all that is published was taken in: falls up to here must be there.
    due: Option<Timestamp>,
    accounts: HashMap<Arc<str>, Entry>,
    /// Standings of accounts that have no entry.
    strays: HashMap<Box<str>, i64>,
    /// What was found.
    pub findings: Findings,
    /// Published changes that nothing expected has met yet.
    waiting: usize,
    /// Expected changes that nothing published has met yet.
    awaited: usize,
    /// The most changes of both sorts that were in memory at a time.
    pub out_of_step_max: usize,
    /// The latest fall that was published.
    pub latest_fall: Option<Timestamp>,
    /// Pairs that have met.
    pub compared: u64,
    /// Expected changes that need not be published yet.
    pub pending: u64,
}

#[derive(Debug, Default)]
struct Entry {
    expected: VecDeque<Expected>,
    published: Vec<Published>,
    /// The newest sequences that have met.
    recent: VecDeque<i64>,
    /// The highest sequence that has met, and its offset, per topic.
    furthest: [Option<(i64, i64)>; 2],
    /// The standing that the inputs imply.
    standing: Option<Standing>,
    /// From this sequence on the service and the audit have forgotten the account at different times.
    forgotten: Option<i64>,
    /// Changes that differ in the counts of events alone. That is let pass once a change before them
    /// shows that the account was forgotten: topics are not quite in step.
    counted_otherwise: Vec<Difference>,
    /// The standing may not have been published yet, or lies beyond what is looked at.
    in_flux: bool,
    stated: Stated,
}

/// What the topic of standings says last.
#[derive(Debug, Default)]
enum Stated {
    #[default]
    Nothing,
    AsExpected,
    Otherwise {
        offset: i64,
        how: String,
    },
}

impl Ledger {
    /// Empty books. Nothing that takes effect after `until` is looked at.
    pub fn new(model: ModelId, partition: i32, until: Timestamp, findings: Findings) -> Self {
        Self {
            model,
            partition,
            until,
            due: None,
            accounts: HashMap::new(),
            strays: HashMap::new(),
            findings,
            waiting: 0,
            awaited: 0,
            out_of_step_max: 0,
            latest_fall: None,
            compared: 0,
            pending: 0,
        }
    }

    /// Published changes that wait for their like.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// When the latest of the published changes that wait takes effect.
    pub fn latest_waiting(&self) -> Option<Timestamp> {
        self.accounts.values().flat_map(|entry| &entry.published).map(|published| published.effective_at).max()
    }

    /// All that is published was taken in: from now on, what takes effect after `due` and does not
    /// meet its like at once need not be there.
    pub fn published_all(&mut self, due: Timestamp) {
        self.due = Some(due);
    }

    /// Takes out what a step of the recomputation has caused, before accounts are evicted, which would
    /// take their standings with them, and after. `committed`: a record below the committed offsets did.
    pub fn expect(&mut self, step: &mut Step, committed: bool) {
        let mut changes = step.changes.drain(..).peekable();
        // Each standing comes after the changes that led to it.
        for standing in step.standings.drain(..) {
            let led_here = |change: &Change| change.account == standing.account && change.sequence <= standing.sequence;
            let beyond = standing.as_of > self.until;
            let may_lack = !committed && self.due.is_some_and(|due| standing.as_of > due);
            let entry = self.accounts.entry(standing.account.clone()).or_default();
            let held_nothing = entry.standing.as_ref().is_none_or(holds_nothing);
            let mut all_met = true;
            while let Some(change) = changes.next_if(led_here) {
                if beyond {
                    continue;
                }
                let expected = Expected { change, committed, held_nothing };
                match entry.take_like(&expected) {
                    Some(published) => {
                        self.compared += 1;
                        entry.meet(&expected, &published, &self.model, self.partition, &mut self.findings);
                        self.waiting -= 1 + entry.drop_doubles(&published, self.partition, &mut self.findings);
                    }
                    None if may_lack => all_met = false,
                    None => {
                        entry.expected.push_back(expected);
                        self.awaited += 1;
                    }
                }
            }
            entry.in_flux |= beyond || (may_lack && !all_met);
            if !beyond {
                entry.standing = Some(standing);
            }
        }
        self.out_of_step_max = self.out_of_step_max.max(self.waiting + self.awaited);
        for account in step.evicted.drain(..) {
            self.forget(&account);
        }
    }

    fn forget(&mut self, account: &str) {
        let Some(entry) = self.accounts.get_mut(account) else { return };
        if entry.expected.is_empty() && entry.published.is_empty() && entry.counted_otherwise.is_empty() {
            self.accounts.remove(account);
        } else {
            (entry.standing, entry.forgotten) = (None, entry.forgotten.or(Some(i64::MAX)));
        }
    }

    /// Takes a published change in the order of its topic.
    pub fn publish(&mut self, published: Published) {
        if published.effective_at > self.until {
            self.accounts.entry(published.account.clone()).or_default().in_flux = true;
            return;
        }
        if published.is_fall {
            self.latest_fall = self.latest_fall.max(Some(published.effective_at));
        }
        let entry = self.accounts.entry(published.account.clone()).or_default();
        entry.in_flux |= !published.standing_follows;
        let like =
            |expected: &Expected| expected.change.sequence == published.sequence && expected.topic() == published.topic;
        if let Some(at) = entry.expected.iter().position(like) {
            if let Some(expected) = entry.expected.remove(at) {
                (self.compared, self.awaited) = (self.compared + 1, self.awaited - 1);
                entry.meet(&expected, &published, &self.model, self.partition, &mut self.findings);
            }
        } else if entry.recent.contains(&published.sequence) {
            let difference = of_published(Kind::Doubled, &published, self.partition, published.tell());
            self.findings.add(&published.account, difference);
        } else {
            self.waiting += 1;
            self.out_of_step_max = self.out_of_step_max.max(self.waiting + self.awaited);
            entry.published.push(published);
        }
    }

    /// Takes a published change that cannot be read.
    pub fn unreadable(&mut self, topic: OutputTopic, offset: i64, key: Option<Vec<u8>>, why: String) {
        let key = key.unwrap_or_default();
        let account = String::from_utf8_lossy(&key);
        let difference = Difference {
            kind: Kind::Unexpected,
            topic,
            partition: self.partition,
            offset: Some(offset),
            sequence: None,
            effective_at: None,
            detail: why,
        };
        self.findings.add(&account, difference);
    }

    /// All is read: what has not met its like is missing, if it is due or must be
    /// there anyway, or nothing implies it.
    pub fn close(&mut self) {
        let due = self.due.unwrap_or(Timestamp::MIN);
        let Self { accounts, findings, model, partition, .. } = self;
        for (account, entry) in accounts {
            self.compared += entry.meet_by_time(model, *partition, findings);
            for difference in entry.counted_otherwise.drain(..) {
                findings.add(account, difference);
            }
            for published in entry.published.drain(..) {
                let detail = format!("{}, which nothing implies", published.tell());
                findings.add(account, of_published(Kind::Unexpected, &published, *partition, detail));
            }
            for expected in std::mem::take(&mut entry.expected) {
                let change = &expected.change;
                let passed = entry.furthest.iter().flatten().any(|(sequence, _)| *sequence > change.sequence);
                if expected.committed || passed || change.effective_at <= due {
                    findings.add(account, of_expected(Kind::Missing, &expected, *partition));
                } else {
                    self.pending += 1;
                    entry.in_flux = true;
                }
            }
        }
        (self.waiting, self.awaited) = (0, 0);
    }

    /// Takes a record of the topic of standings, after [`Self::close`].
    pub fn state(&mut self, account: &str, offset: i64, value: Option<&[u8]>) {
        let Some(entry) = self.accounts.get_mut(account) else {
            match value.filter(|value| is_held(value)) {
                Some(_) => drop(self.strays.insert(account.into(), offset)),
                None => drop(self.strays.remove(account)),
            }
            return;
        };
        entry.stated = match (value, &entry.standing) {
            (None, _) => Stated::Nothing,
            (Some(value), None) if is_held(value) => {
                Stated::Otherwise { offset, how: "the account must hold nothing".to_owned() }
            }
            (Some(_), None) => Stated::AsExpected,
            (Some(value), Some(standing)) => {
                match compare_standing(standing, value, &self.model, entry.forgotten.is_some()) {
                    Some(how) => Stated::Otherwise { offset, how },
                    None => Stated::AsExpected,
                }
            }
        };
    }

    /// All standings are read. Gives what was found.
    pub fn finish(mut self) -> (Findings, u64) {
        let mut checked = 0;
        for (account, entry) in &self.accounts {
            let held = entry.standing.as_ref().filter(|standing| !holds_nothing(standing));
            let (kind, offset, detail) = match (&entry.stated, held) {
                _ if entry.in_flux => continue,
                (Stated::Nothing, Some(standing)) => (Kind::Missing, None, tell_standing(standing)),
                (Stated::Otherwise { offset, how }, _) => (Kind::Different, Some(*offset), how.clone()),
                (Stated::AsExpected, _) | (Stated::Nothing, None) => {
                    checked += 1;
                    continue;
                }
            };
            let sequence = entry.standing.as_ref().map(|standing| standing.sequence);
            self.findings.add(account, standing_difference(kind, self.partition, offset, sequence, detail));
        }
        for (account, offset) in &self.strays {
            let detail = "the account must hold nothing".to_owned();
            let difference = standing_difference(Kind::Unexpected, self.partition, Some(*offset), None, detail);
            self.findings.add(account, difference);
        }
        (self.findings, checked)
    }
}

impl Entry {
    /// Takes out the published change that waits for this one.
    fn take_like(&mut self, expected: &Expected) -> Option<Published> {
        let (sequence, topic) = (expected.change.sequence, expected.topic());
        let like = |published: &Published| published.sequence == sequence && published.topic == topic;
        self.published.iter().position(like).map(|at| self.published.remove(at))
    }

    fn meet(
        &mut self,
        expected: &Expected,
        published: &Published,
        model: &ModelId,
        partition: i32,
        findings: &mut Findings,
    ) {
        let Comparison { differs, counts, forgotten } = compare(expected, published, model);
        if forgotten {
            self.forget_from(published.sequence);
        }
        let of_published = |kind, detail| of_published(kind, published, partition, detail);
        if let Some(detail) = differs {
            findings.add(&published.account, of_published(Kind::Different, detail));
        } else if let Some(detail) = counts
            && self.forgotten.is_none_or(|from| published.sequence < from)
        {
            self.counted_otherwise.push(of_published(Kind::Different, detail));
        }
        let (sequence, offset) = (published.sequence, published.offset);
        let furthest = &mut self.furthest[usize::from(published.topic == OutputTopic::SegmentChanges)];
        match *furthest {
            Some((other, at)) if (sequence > other) != (offset > at) => {
                let detail = format!("{}; sequence {other} stands at offset {at}", published.tell());
                findings.add(&published.account, of_published(Kind::OutOfOrder, detail));
            }
            _ => {}
        }
        *furthest = (*furthest).max(Some((sequence, offset)));
        self.recent.push_back(sequence);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Counts of events may differ from this sequence on.
    fn forget_from(&mut self, sequence: i64) {
        self.forgotten = Some(self.forgotten.map_or(sequence, |from| from.min(sequence)));
        self.counted_otherwise.retain(|difference| difference.sequence < Some(sequence));
    }

    /// Takes out further copies of a published change that has met its like, and gives their number.
    fn drop_doubles(&mut self, met: &Published, partition: i32, findings: &mut Findings) -> usize {
        let before = self.published.len();
        self.published.retain(|published| {
            let doubled = published.sequence == met.sequence && published.topic == met.topic;
            if doubled {
                let difference = of_published(Kind::Doubled, published, partition, published.tell());
                findings.add(&published.account, difference);
            }
            !doubled
        });
        before - self.published.len()
    }

    /// Joins what is left over on both sides with the same time: its sequence differs.
    fn meet_by_time(&mut self, model: &ModelId, partition: i32, findings: &mut Findings) -> u64 {
        let mut met = 0;
        for published in std::mem::take(&mut self.published) {
            let like = |expected: &Expected| {
                expected.change.effective_at == published.effective_at && expected.topic() == published.topic
            };
            match self.expected.iter().position(like).and_then(|at| self.expected.remove(at)) {
                Some(expected) => {
                    let Comparison { differs, .. } = compare(&expected, &published, model);
                    let detail = differs.unwrap_or_default();
                    findings.add(&published.account, of_published(Kind::Different, &published, partition, detail));
                    met += 1;
                }
                None => self.published.push(published),
            }
        }
        met
    }
}

fn holds_nothing(standing: &Standing) -> bool {
    standing.tier.is_none() && standing.segments.is_empty()
}

/// Whether a published standing says that the account holds something; one that cannot be read does.
fn is_held(value: &[u8]) -> bool {
    crate::wire::standing::decode_standing(value).map_or(true, |standing| !holds_nothing(&standing))
}

fn tell_standing(standing: &Standing) -> String {
    let segments: Vec<&str> = standing.segments.iter().map(|segment| &*segment.name).collect();
    format!("tier {}, segments [{}]", standing.tier.as_deref().unwrap_or("none"), segments.join(", "))
}

/// A difference that a published change shows.
pub fn of_published(kind: Kind, published: &Published, partition: i32, detail: String) -> Difference {
    Difference {
        kind,
        topic: published.topic,
        partition,
        offset: Some(published.offset),
        sequence: Some(published.sequence),
        effective_at: Some(published.effective_at),
        detail,
    }
}

fn of_expected(kind: Kind, expected: &Expected, partition: i32) -> Difference {
    Difference {
        kind,
        topic: expected.topic(),
        partition,
        offset: None,
        sequence: Some(expected.change.sequence),
        effective_at: Some(expected.change.effective_at),
        detail: expected.tell(),
    }
}

fn standing_difference(
    kind: Kind,
    partition: i32,
    offset: Option<i64>,
    sequence: Option<i64>,
    detail: String,
) -> Difference {
    Difference { kind, topic: OutputTopic::Standings, partition, offset, sequence, effective_at: None, detail }
}
