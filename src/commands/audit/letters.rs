//! Sets dead letters against the records that cannot be used: one for each, and none else.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use super::findings::{Difference, Findings, Kind};
use crate::{
    log::{InputId, Inputs, OutputTopic, kafka::Scanned},
    wire::dead_letter::{Fault, KEY_OMITTED, Rejected, VALUE_OMITTED},
};

/// Places that are remembered to tell a second letter from one that nothing calls for.
const RECENT: usize = 4096;

/// Where a record stands: its input and offset.
pub type Place = (InputId, i64);

/// What a letter must say, or says.
#[derive(Clone, Debug)]
struct Content {
    reason: String,
    path: String,
    key: Bytes,
    value: Bytes,
}

/// A key or a value, as far as comparing needs it.
#[derive(Clone, Copy, Debug)]
enum Bytes {
    None,
    Hash(u64),
    /// Left out of a letter that would have been too large.
    Omitted,
}

impl Bytes {
    fn of(bytes: &Option<Vec<u8>>) -> Self {
        bytes.as_deref().map_or(Self::None, |bytes| Self::Hash(xxh3_64(bytes)))
    }

    /// Of a letter, whose header `omitted` says that it lacks what its record has.
    fn in_letter(bytes: &Option<Vec<u8>>, letter: &Scanned, omitted: &str) -> Self {
        if letter.header(omitted).is_some() { Self::Omitted } else { Self::of(bytes) }
    }

    fn matches(self, letter: Self) -> bool {
        match (self, letter) {
            (Self::None, Self::None) | (Self::Hash(_), Self::Omitted) => true,
            (Self::Hash(source), Self::Hash(copy)) => source == copy,
            _ => false,
        }
    }
}

impl Content {
    /// Whether a letter says what is due.
    fn matches(&self, letter: &Self) -> bool {
        (&self.reason, &self.path) == (&letter.reason, &letter.path)
            && self.key.matches(letter.key)
            && self.value.matches(letter.value)
    }
}

/// A dead letter, and the record that it is of.
#[derive(Clone, Debug)]
pub struct Letter {
    pub place: Place,
    offset: i64,
    account: String,
    content: Content,
}

impl Letter {
    /// Reads a record of the topic of dead letters; the error says why it is none.
    pub fn read(record: &Scanned, partition: i32, inputs: &Inputs) -> Result<Self, String> {
        let text = |name: &str| record.header(name).ok_or_else(|| format!("it has no header `{name}`"));
        let number =
            |name: &str| text(name)?.parse::<i64>().map_err(|_| format!("its header `{name}` is no whole number"));
        let topic = text("tidemark.source.topic")?;
        let input = inputs.ids().find(|id| **inputs.name(*id) == *topic);
        let input = input.ok_or_else(|| format!("it is of a record of `{topic}`, which is no input"))?;
        let source = number("tidemark.source.partition")?;
        if source != i64::from(partition) {
            return Err(format!("it is of a record of partition {source}"));
        }
        let (reason, path) = (text("tidemark.error.reason")?.to_owned(), text("tidemark.error.path")?.to_owned());
        let key = Bytes::in_letter(&record.key, record, KEY_OMITTED);
        let value = Bytes::in_letter(&record.value, record, VALUE_OMITTED);
        let content = Content { reason, path, key, value };
        let place = (input, number("tidemark.source.offset")?);
        Ok(Self { place, offset: record.offset, account: account(record), content })
    }

    /// Whether it buries a record whose record time was ahead of the clock: only the moment at which
    /// it was read could tell.
    pub fn is_ahead_of_clock(&self) -> bool {
        self.content.reason == Fault::FarFuture.name() && self.content.path == "timestamp"
    }
}

/// What the key says, for a person.
fn account(record: &Scanned) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}

struct Due {
    account: String,
    content: Content,
    committed: bool,
    why: String,
}

/// The books of the dead letters of one partition.
#[derive(Default)]
pub struct Letters {
    due: HashMap<Place, Due>,
    early: HashMap<Place, Vec<Letter>>,
    recent: VecDeque<Place>,
    /// Letters that are as they must be.
    pub compared: u64,
}

impl Letters {
    /// A record cannot be used. `committed`: it lies below the committed offsets.
    pub fn expect(
        &mut self,
        place: Place,
        record: &Scanned,
        rejected: &Rejected,
        committed: bool,
        partition: i32,
        findings: &mut Findings,
    ) {
        let content = Content {
            reason: rejected.fault.name().to_owned(),
            path: rejected.path.clone(),
            key: Bytes::of(&record.key),
            value: Bytes::of(&record.value),
        };
        let why = rejected.to_string();
        self.due.insert(place, Due { account: account(record), content, committed, why });
        // Letters may have been read before their record.
        for letter in self.early.remove(&place).unwrap_or_default() {
            self.take(letter, partition, findings);
        }
    }

    /// A letter was found.
    pub fn take(&mut self, letter: Letter, partition: i32, findings: &mut Findings) {
        match self.due.remove(&letter.place) {
            Some(due) => {
                self.compared += 1;
                if !due.content.matches(&letter.content) {
                    let detail =
                        format!("`{}` at {}, expected {}", letter.content.reason, letter.content.path, due.why);
                    findings.add(&letter.account, difference(Kind::Different, partition, Some(letter.offset), detail));
                }
                self.recent.push_back(letter.place);
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
            }
            None if self.recent.contains(&letter.place) => {
                let detail = format!("of the record at offset {}", letter.place.1);
                findings.add(&letter.account, difference(Kind::Doubled, partition, Some(letter.offset), detail));
            }
            None => self.early.entry(letter.place).or_default().push(letter),
        }
    }

    /// All is read: what has not met its like is missing, or nothing calls for it.
    /// `retained`: no letters were removed, so that a missing one was never there.
    pub fn close(self, retained: bool, partition: i32, inputs: &Inputs, findings: &mut Findings) {
        for ((input, offset), due) in self.due.into_iter().filter(|(_, due)| due.committed && retained) {
            let detail = format!("of `{}` offset {offset}: {}", inputs.name(input), due.why);
            findings.add(&due.account, difference(Kind::Missing, partition, None, detail));
        }
        for ((input, offset), letters) in self.early {
            for letter in letters {
                let detail = format!("of `{}` offset {offset}, which can be used", inputs.name(input));
                findings.add(&letter.account, difference(Kind::Unexpected, partition, Some(letter.offset), detail));
            }
        }
    }
}

fn difference(kind: Kind, partition: i32, offset: Option<i64>, detail: String) -> Difference {
    let topic = OutputTopic::DeadLetters;
    Difference { kind, topic, partition, offset, sequence: None, effective_at: None, detail }
}
