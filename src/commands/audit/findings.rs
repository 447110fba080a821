//! What an audit finds: differences, by account.

use std::{collections::BTreeMap, fmt};

use crate::{log::OutputTopic, model::Timestamp, wire::time::Rfc3339};

/// Differences of one account that are told; the others are counted.
const TOLD_OF_ONE_ACCOUNT: usize = 20;

/// In what way something published is not what it must be.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The inputs imply it, and it is not there.
    Missing,
    /// It is there more than once.
    Doubled,
    /// It stands before something that it must follow.
    OutOfOrder,
    /// It is there, but says something else.
    Different,
    /// It is there, and nothing implies it.
    Unexpected,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Missing, Self::Doubled, Self::OutOfOrder, Self::Different, Self::Unexpected];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out_of_order",
            Self::Different => "different",
            Self::Unexpected => "unexpected",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    pub kind: Kind,
    /// The topic of what is concerned.
    pub topic: OutputTopic,
    pub partition: i32,
    /// Where it is, if it is there.
    pub offset: Option<i64>,
    pub sequence: Option<i64>,
    pub effective_at: Option<Timestamp>,
    /// What it is about, for a person.
    pub detail: String,
}

/// What is concerned, in the singular.
pub fn subject(topic: OutputTopic) -> &'static str {
    match topic {
        OutputTopic::TierChanges => "tier change",
        OutputTopic::SegmentChanges => "segment change",
        OutputTopic::Standings => "standing",
        OutputTopic::DeadLetters => "dead letter",
        OutputTopic::State => "state page",
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12}  {}", self.kind.name(), subject(self.topic))?;
        if let Some(sequence) = self.sequence {
            write!(f, " {sequence}")?;
        }
        if let Some(time) = self.effective_at {
            write!(f, " of {}", Rfc3339(time))?;
        }
        write!(f, " (partition {}", self.partition)?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, "): {}", self.detail)
    }
}

/// All that was found; of what is told no more than a limit.
#[derive(Clone, Debug)]
pub struct Findings {
    accounts_told: usize,
    /// Only what takes effect from here on is reported.
    from: Timestamp,
    /// By account, in the order in which they were found.
    pub accounts: BTreeMap<String, Vec<Difference>>,
    /// How many of each [`Kind`], those that are not told included.
    pub counts: [u64; Kind::ALL.len()],
    /// Differences that are counted but not told.
    pub untold: u64,
}

impl Findings {
    /// Nothing yet. Tells of `accounts_told` accounts, and of what takes effect at `from` or later.
    pub fn new(accounts_told: usize, from: Timestamp) -> Self {
        Self { accounts_told, from, accounts: BTreeMap::new(), counts: [0; Kind::ALL.len()], untold: 0 }
    }

    /// Reports only what takes effect at `from` or later, if that narrows the range.
    pub fn narrow(&mut self, from: Timestamp) {
        self.from = self.from.max(from);
    }

    /// Takes a difference of an account.
    pub fn add(&mut self, account: &str, difference: Difference) {
        if difference.effective_at.is_some_and(|time| time < self.from) {
            return;
        }
        self.counts[difference.kind as usize] += 1;
        self.tell(account, difference);
    }

    fn tell(&mut self, account: &str, difference: Difference) {
        let room = self.accounts.len() < self.accounts_told || self.accounts.contains_key(account);
        let told = room.then(|| self.accounts.entry(account.to_owned()).or_default());
        match told.filter(|differences| differences.len() < TOLD_OF_ONE_ACCOUNT) {
            Some(differences) => differences.push(difference),
            None => self.untold += 1,
        }
    }

    /// Joins what was found of another partition.
    pub fn merge(&mut self, other: Self) {
        self.untold += other.untold;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        for (account, differences) in other.accounts {
            differences.into_iter().for_each(|difference| self.tell(&account, difference));
        }
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}
