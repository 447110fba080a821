//! What the runtime needs of a log, as a trait: partitioned inputs that a group shares, tables to
//! restore from, and one transaction that makes outputs and progress atomic.
//!
//! `kafka` is the real one. The trait is synchronous: one worker thread owns one log.

use std::{ops::Range, sync::Arc, time::Duration};

use crate::model::Timestamp;

pub mod file;
pub mod kafka;
pub mod memory;
pub mod protocol;

/// A partition number; every topic has the same number of partitions, and a worker owns the same
/// partition of all of them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition(pub i32);

/// An input topic, as an index into [`Inputs`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InputId(pub u8);

/// Where a record stands in its partition of its topic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one: where reading goes on.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What an input topic carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InputKind {
    Events,
    /// Compacted attributes of accounts.
    Accounts,
}

/// The input topics, in the order of their [`InputId`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inputs(pub Vec<(Arc<str>, InputKind)>);

impl Inputs {
    /// Name of an input topic.
    pub fn name(&self, input: InputId) -> &Arc<str> {
        &self.0[usize::from(input.0)].0
    }
    /// What an input topic carries.
    pub fn kind(&self, input: InputId) -> InputKind {
        self.0[usize::from(input.0)].1
    }
    /// All input ids.
    pub fn ids(&self) -> impl Iterator<Item = InputId> + use<> {
        (0..self.0.len() as u8).map(InputId)
    }
}

/// What to do about a transaction that stays open.
pub const END_HANGING: &str = "find its producer with `kafka-transactions.sh find-hanging` and end it";

/// A record of an input topic.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub input: InputId,
    pub partition: Partition,
    pub offset: Offset,
    /// The record time; the broker always has one, old message formats do not.
    pub time: Option<Timestamp>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// What a poll of the log brings.
#[derive(Debug)]
pub enum Fetched<'a> {
    /// Records that follow one another in one input partition; at least one.
    Records(&'a [Record<'a>]),
    /// Everything that the log held of an input partition has been delivered. That was found some time after
    /// the records before it, or the start, were asked for: it may hold more by now.
    AtEnd(End),
    /// The group gave these partitions to this member; the worker answers with [`Log::start`].
    Assigned(Vec<Partition>),
    /// The group takes all partitions back; the worker answers with [`Log::release`]. When they are
    /// `lost`, others may own them already: nothing may be committed.
    Revoked { lost: bool },
}

/// Where an input partition was found to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    pub input: InputId,
    pub partition: Partition,
    /// All below it has been delivered, or is nothing that is delivered, such as a marker of a transaction.
    pub offset: Offset,
    /// Whether more lies beyond it, held back until a transaction of its producer is decided.
    pub undecided: bool,
}

/// What the group last committed for one input partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Committed {
    pub offset: Offset,
    pub metadata: String,
}

/// A compacted topic that state is restored from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Table {
    State,
    Standings,
}

/// An output topic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OutputTopic {
    TierChanges,
    SegmentChanges,
    Standings,
    DeadLetters,
    State,
}

/// A record to write, always to an explicit partition: that of the input it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub topic: OutputTopic,
    pub partition: Partition,
    pub key: Option<Vec<u8>>,
    /// Nothing is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// What a record takes beside its key, its value and its headers, alone in a batch.
const RECORD_OVERHEAD: usize = 128;
/// What a header takes beside its name and its value.
const HEADER_OVERHEAD: usize = 10;

impl Output {
    /// The most bytes that the record takes in the log, alone in a batch that is not compressed.
    pub fn bytes_at_most(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| HEADER_OVERHEAD + name.len() + value.len());
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        RECORD_OVERHEAD + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// Progress of one input partition, committed with the outputs that it led to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    pub input: InputId,
    pub partition: Partition,
    /// The next offset to process.
    pub offset: Offset,
    pub metadata: String,
}

/// What must happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    pub outputs: Vec<Output>,
    /// Progress of every partition that the transaction touches; never empty: without offsets a
    /// transaction of a member that the group has dropped would not be fenced.
    pub progress: Vec<Progress>,
}

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Passing: the worker drops its partitions, restores, and goes on.
    #[error("{0}")]
    Passing(String),
    /// The log contradicts itself or the configuration; a person must act. Ends the process.
    #[error("{0}")]
    Refused(String),
}

/// Whether a restore has more to deliver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Restoring {
    More,
    Done,
}

/// A record of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub table: Table,
    pub offset: Offset,
    pub key: &'a [u8],
    /// Nothing is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Takes a record of a table.
pub type TakeRow<'a> = dyn FnMut(Row<'_>) + 'a;

/// Reads one partition's tables to the end that they had when it was opened.
/// The end is the read-uncommitted one, and reading waits until every transaction below it is
/// decided: a commit is acknowledged before its markers land.
pub trait TableReader {
    /// Delivers what is there, waiting at most `wait`.
    fn read(&mut self, wait: Duration, handle: &mut TakeRow<'_>) -> Result<Restoring, LogError>;
}

/// A log that a group of workers shares.
pub trait Log {
    type Reader: TableReader;

    /// Serves the group and delivers at most `max` records and ends, waiting at most `wait` for the
    /// first; if there are fewer, nothing else was there. Returns at once after an assignment or
    /// revocation was delivered.
    fn poll(&mut self, wait: Duration, max: usize, handle: &mut dyn FnMut(Fetched<'_>)) -> Result<(), LogError>;

    /// What the group has committed for every input of these partitions, in the given order and in
    /// that of the inputs. Waits for open transactions of a previous owner to end.
    fn committed(&mut self, partitions: &[Partition]) -> Result<Vec<Vec<Option<Committed>>>, LogError>;

    /// Offsets of the first record and after the last one that an input partition has now.
    fn bounds(&mut self, input: InputId, partition: Partition) -> Result<Range<Offset>, LogError>;

    /// Which of these input partitions, all of them taken up, hold more than what was delivered of them, in
    /// their order; nothing where nobody says so soon. Markers of transactions count as well, until the end
    /// was delivered.
    fn hold_more(&mut self, inputs: &[(InputId, Partition)]) -> Vec<Option<bool>>;

    /// Takes up the assigned partitions (these and no others), all paused, each input at its offset.
    /// Also moves partitions that are already taken up to another offset.
    fn start(&mut self, at: &[(InputId, Partition, Offset)]) -> Result<(), LogError>;

    /// Gives all partitions back to the group.
    fn release(&mut self) -> Result<(), LogError>;

    /// Stops delivery.
    fn pause(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError>;

    /// Lets delivery go on after [`Self::pause`] or [`Self::start`].
    fn resume(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError>;

    /// Opens the tables of one partition for restore: the state from this offset on, or from its start if
    /// that is later; the standings from their start.
    fn tables(&mut self, partition: Partition, state_from: Offset) -> Result<Self::Reader, LogError>;

    /// An offset that no page of the partition lies below which is written from now on, as far as is
    /// known: from what was written last, or since the tables were opened.
    fn state_end(&self, partition: Partition) -> Offset;

    /// Writes and commits; on success all of it is in the log, on failure the caller does not know
    /// and restores. A producer whose transaction had an indefinite outcome is replaced before the
    /// next commit.
    fn commit(&mut self, transaction: Transaction) -> Result<(), LogError>;

    /// Records by which delivery lags behind the end of an input partition, if known.
    fn lag(&self, input: InputId, partition: Partition) -> Option<u64>;

    /// Leaves the group. Called once, last.
    fn close(self);
}
