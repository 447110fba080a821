//! A log in memory, for tests and simulation: partitions, a group with generations, transactions
//! that are all or nothing, and faults on demand.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Committed, Fetched, InputId, Inputs, Log, LogError, Offset, Output, OutputTopic, Partition, Record, Restoring,
    Table, TableReader, TakeRow, Transaction,
};
use crate::model::Timestamp;

/// How a commit goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing of the transaction is written.
    Aborted,
    /// All of it is written, but the reply is lost.
    ReplyLost,
}

#[derive(Clone, Debug)]
struct Stored {
    time: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Contents {
    inputs: Inputs,
    partitions: i32,
    records: BTreeMap<(InputId, Partition), Vec<Stored>>,
    outputs: Vec<Output>,
    committed: BTreeMap<(InputId, Partition), Committed>,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    generation: u64,
    faults: VecDeque<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Member {
    /// The generation whose assignment the member holds; nothing after it gave everything back.
    holds: Option<u64>,
}

/// The brokers: what all members share.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Mutex<Contents>>);

impl Cluster {
    /// Empty topics of so many partitions.
    pub fn new(inputs: Inputs, partitions: i32) -> Self {
        Self(Arc::new(Mutex::new(Contents {
            inputs,
            partitions,
            records: BTreeMap::new(),
            outputs: Vec::new(),
            committed: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: 0,
            generation: 0,
            faults: VecDeque::new(),
        })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a record to an input.
    pub fn append(&self, input: InputId, partition: Partition, time: Timestamp, key: &str, value: Option<&[u8]>) {
        let stored = Stored { time, key: Some(key.into()), value: value.map(<[u8]>::to_vec) };
        self.contents().records.entry((input, partition)).or_default().push(stored);
    }

    /// All committed records of an output topic, in the order of their commits.
    pub fn outputs(&self, topic: OutputTopic) -> Vec<Output> {
        self.contents().outputs.iter().filter(|output| output.topic == topic).cloned().collect()
    }

    /// How far the group has committed an input partition.
    pub fn committed(&self, input: InputId, partition: Partition) -> Option<Committed> {
        self.contents().committed.get(&(input, partition)).cloned()
    }

    /// Makes the next commits go wrong, in this order; nothing lets one pass.
    pub fn inject(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.contents().faults.extend(faults);
    }

    /// No commit goes wrong from here on.
    pub fn heal(&self) {
        self.contents().faults.clear();
    }

    /// A new member of the group.
    pub fn join(&self) -> MemoryLog {
        let mut contents = self.contents();
        let id = contents.next_member;
        contents.next_member += 1;
        contents.members.insert(id, Member::default());
        contents.generation += 1;
        MemoryLog {
            cluster: self.clone(),
            id,
            positions: BTreeMap::new(),
            paused: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Removes a member as the coordinator does when its session has timed out.
    pub fn expel(&self, member: u64) {
        let mut contents = self.contents();
        contents.members.remove(&member);
        contents.generation += 1;
    }
}

impl Contents {
    fn assignment(&self, member: u64) -> Vec<Partition> {
        let rank = self.members.keys().position(|id| *id == member).unwrap_or(0) as i32;
        let count = self.members.len().max(1) as i32;
        (0..self.partitions).filter(|partition| partition % count == rank).map(Partition).collect()
    }

    /// Eager: a new generation begins when everybody has given back the old one.
    fn all_gave_back(&self) -> bool {
        self.members.values().all(|member| member.holds.is_none_or(|generation| generation == self.generation))
    }
}

/// One member's view of the cluster.
#[derive(Debug)]
pub struct MemoryLog {
    cluster: Cluster,
    id: u64,
    positions: BTreeMap<(InputId, Partition), Offset>,
    paused: BTreeSet<(InputId, Partition)>,
    /// Inputs whose end was reported since their last record.
    ended: BTreeSet<(InputId, Partition)>,
}

impl MemoryLog {
    /// The member's name in the group.
    pub fn member(&self) -> u64 {
        self.id
    }

    /// Whether the group has something to say: revoked first, assigned once all have given back.
    fn group_event(&self) -> Option<Fetched<'static>> {
        let mut contents = self.cluster.contents();
        let generation = contents.generation;
        let Some(member) = contents.members.get(&self.id) else {
            return (!self.positions.is_empty()).then_some(Fetched::Revoked { lost: true });
        };
        match member.holds {
            Some(held) if held == generation => None,
            Some(_) => Some(Fetched::Revoked { lost: false }),
            None if contents.all_gave_back() => {
                let assignment = contents.assignment(self.id);
                contents.members.insert(self.id, Member { holds: Some(generation) });
                Some(Fetched::Assigned(assignment))
            }
            None => None,
        }
    }
}

impl Log for MemoryLog {
    type Reader = MemoryTables;

    fn poll(&mut self, _wait: Duration, max: usize, handle: &mut dyn FnMut(Fetched<'_>)) -> Result<(), LogError> {
        if let Some(event) = self.group_event() {
            handle(event);
            return Ok(());
        }
        let mut left = max;
        for (&(input, partition), position) in &mut self.positions {
            if self.paused.contains(&(input, partition)) {
                continue;
            }
            let batch: Vec<Stored> = {
                let contents = self.cluster.contents();
                let records = contents.records.get(&(input, partition)).map_or(&[][..], Vec::as_slice);
                records.iter().skip(position.0 as usize).take(left).cloned().collect()
            };
            left -= batch.len();
            let finished = left > 0;
            for stored in &batch {
                let (key, value) = (stored.key.as_deref(), stored.value.as_deref());
                handle(Fetched::Record(Record {
                    input,
                    partition,
                    offset: *position,
                    time: Some(stored.time),
                    key,
                    value,
                }));
                *position = position.next();
                self.ended.remove(&(input, partition));
            }
            if finished && self.ended.insert((input, partition)) {
                handle(Fetched::AtEnd(input, partition));
            }
        }
        Ok(())
    }

    fn committed(&mut self, partitions: &[Partition]) -> Result<Vec<Vec<Option<Committed>>>, LogError> {
        let contents = self.cluster.contents();
        let of = |partition: &Partition| {
            contents.inputs.ids().map(|input| contents.committed.get(&(input, *partition)).cloned()).collect()
        };
        Ok(partitions.iter().map(of).collect())
    }

    fn bounds(&mut self, input: InputId, partition: Partition) -> Result<Range<Offset>, LogError> {
        let end = self.cluster.contents().records.get(&(input, partition)).map_or(0, Vec::len);
        Ok(Offset(0)..Offset(end as i64))
    }

    fn start(&mut self, at: &[(InputId, Partition, Offset)]) -> Result<(), LogError> {
        self.positions = at.iter().map(|&(input, partition, offset)| ((input, partition), offset)).collect();
        self.paused = self.positions.keys().copied().collect();
        self.ended.clear();
        Ok(())
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.positions.clear();
        if let Some(member) = self.cluster.contents().members.get_mut(&self.id) {
            member.holds = None;
        }
        Ok(())
    }

    fn pause(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        self.paused.extend(inputs);
        Ok(())
    }

    fn resume(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        self.paused.retain(|input| !inputs.contains(input));
        Ok(())
    }

    fn tables(&mut self, partition: Partition) -> Result<MemoryTables, LogError> {
        let contents = self.cluster.contents();
        let table = |output: &Output| match output.topic {
            OutputTopic::State => Some(Table::State),
            OutputTopic::Standings => Some(Table::Standings),
            _ => None,
        };
        let of_partition = contents.outputs.iter().filter(|output| output.partition == partition);
        Ok(MemoryTables(of_partition.filter_map(|output| Some((table(output)?, output.clone()))).collect()))
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), LogError> {
        let mut contents = self.cluster.contents();
        let generation = contents.generation;
        if contents.members.get(&self.id).is_none_or(|member| member.holds != Some(generation)) {
            return Err(LogError::Passing("the group has moved on to another generation".into()));
        }
        let fault = contents.faults.pop_front().flatten();
        if fault == Some(Fault::Aborted) {
            return Err(LogError::Passing("the transaction was aborted".into()));
        }
        contents.outputs.extend(transaction.outputs);
        for progress in transaction.progress {
            let committed = Committed { offset: progress.offset, metadata: progress.metadata };
            contents.committed.insert((progress.input, progress.partition), committed);
        }
        if fault == Some(Fault::ReplyLost) {
            return Err(LogError::Passing("the reply to the commit was lost".into()));
        }
        Ok(())
    }

    fn lag(&self, input: InputId, partition: Partition) -> Option<u64> {
        let position = self.positions.get(&(input, partition))?;
        let end = self.cluster.contents().records.get(&(input, partition)).map_or(0, Vec::len);
        (end as u64).checked_sub(position.0 as u64)
    }

    fn close(self) {
        self.cluster.expel(self.id);
    }
}

/// The tables of one partition, as they were when they were opened.
#[derive(Debug)]
pub struct MemoryTables(Vec<(Table, Output)>);

impl TableReader for MemoryTables {
    fn read(&mut self, _wait: Duration, handle: &mut TakeRow<'_>) -> Result<Restoring, LogError> {
        for (table, output) in self.0.drain(..) {
            handle(table, output.key.as_deref().unwrap_or_default(), output.value.as_deref());
        }
        Ok(Restoring::Done)
    }
}
