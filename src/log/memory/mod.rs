//! A log in memory that behaves as brokers do, for tests and simulation: a group with generations
//! and sessions, transactions whose markers land late, fencing by epoch and by generation, and
//! faults at every step of a commit. Time is what the simulation says it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{
    attempt::MemoryAttempt,
    group::Group,
    transactions::{Entry, Place, Transactions},
};
use super::{
    Committed, End, Fetched, InputId, Inputs, Log, LogError, Offset, Output, OutputTopic, Partition, Record, Restoring,
    Row, Table, TableReader, TakeRow, Transaction, protocol,
};
use crate::{
    drill::{self, Rule},
    model::Timestamp,
};

mod attempt;
mod group;
mod transactions;

pub use self::attempt::{DIED, Fault, Step, What};

/// Records of a table that one read delivers: a restore takes many.
const ROWS_AT_ONCE: usize = 64;

#[derive(Clone, Debug)]
struct Stored {
    time: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Contents {
    inputs: Inputs,
    /// Milliseconds since the cluster began.
    now: i64,
    records: BTreeMap<(InputId, Partition), Vec<Stored>>,
    /// Inputs that deliver nothing until then.
    stalled: BTreeMap<(InputId, Partition), i64>,
    /// Members that hear nothing from the group, nor it from them, until then.
    deaf: BTreeMap<u64, i64>,
    group: Group,
    transactions: Transactions,
    faults: Vec<Fault>,
}

/// The brokers: what all members share.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Mutex<Contents>>);

impl Cluster {
    /// Empty topics of so many partitions. The seed decides when markers land.
    pub fn new(inputs: Inputs, partitions: i32, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Contents {
            inputs,
            now: 0,
            records: BTreeMap::new(),
            stalled: BTreeMap::new(),
            deaf: BTreeMap::new(),
            group: Group::new(partitions),
            transactions: Transactions::new(seed),
            faults: Vec::new(),
        })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass at the brokers: sessions and transactions time out, markers and late requests
    /// arrive.
    pub fn pass(&self, millis: i64) {
        let mut contents = self.contents();
        contents.now += millis;
        let Contents { now, group, transactions, .. } = &mut *contents;
        group.pass(*now);
        transactions.pass(*now, group);
    }

    /// Appends a record to an input.
    pub fn append(&self, input: InputId, partition: Partition, time: Timestamp, key: &str, value: Option<&[u8]>) {
        let stored = Stored { time, key: Some(key.into()), value: value.map(<[u8]>::to_vec) };
        self.contents().records.entry((input, partition)).or_default().push(stored);
    }

    /// An input partition delivers nothing for so long, though it says where it ends.
    pub fn stall(&self, input: InputId, partition: Partition, millis: i64) {
        let mut contents = self.contents();
        let until = contents.now + millis;
        contents.stalled.insert((input, partition), until);
    }

    /// A member and the coordinator lose sight of each other for so long, while the member reads on; nor is
    /// it told where inputs end.
    pub fn deafen(&self, member: u64, millis: i64) {
        let mut contents = self.contents();
        let until = contents.now + millis;
        contents.deaf.insert(member, until);
    }

    /// What a reader of committed records finds in a topic, partition by partition.
    pub fn outputs(&self, topic: OutputTopic) -> Vec<Output> {
        let contents = self.contents();
        let partitions = (0..contents.group.partitions).map(Partition);
        let places = partitions.map(|partition| Place { topic, partition });
        places.flat_map(|place| contents.transactions.committed(place).cloned().collect::<Vec<_>>()).collect()
    }

    /// The last standing that an account ever had whose transaction is decided, landed or not.
    pub fn decided_standing(&self, account: &str) -> Option<Vec<u8>> {
        self.contents().transactions.standings.get(account.as_bytes()).cloned()
    }

    /// A committed offset that fell below an earlier one, if there ever was one.
    pub fn went_back(&self) -> Option<String> {
        self.contents().transactions.went_back.clone()
    }

    /// How far the group has committed an input partition, unless that is undecided.
    pub fn committed(&self, input: InputId, partition: Partition) -> Option<Committed> {
        self.contents().transactions.offset(input, partition).ok().flatten()
    }

    /// The next commit that gets to this step meets this fault.
    pub fn inject(&self, fault: Fault) {
        self.contents().faults.push(fault);
    }

    /// Nothing goes wrong from here on.
    pub fn heal(&self) {
        let mut contents = self.contents();
        contents.faults.clear();
        contents.stalled.clear();
        contents.deaf.clear();
    }

    /// A new member of the group, whose producer has this name; `watch` is called in the midst of
    /// each of its commits.
    pub fn join(&self, producer: &str, watch: Watch) -> MemoryLog {
        let mut contents = self.contents();
        let now = contents.now;
        MemoryLog {
            cluster: self.clone(),
            member: contents.group.join(now),
            generation: None,
            producer: producer.to_owned(),
            epoch: None,
            positions: BTreeMap::new(),
            paused: BTreeSet::new(),
            ended: BTreeSet::new(),
            ends: Vec::new(),
            watch,
        }
    }

    /// Removes a member as the coordinator does when its session has timed out.
    pub fn expel(&self, member: u64) {
        self.contents().group.remove(member);
    }
}

/// Looks at the world while a commit is under way.
pub type Watch = Box<dyn Fn(&Cluster) + Send>;

/// One member's view of the cluster.
pub struct MemoryLog {
    cluster: Cluster,
    member: u64,
    /// The generation that this member believes itself in.
    generation: Option<u64>,
    producer: String,
    /// Nothing once the producer is discarded; the next commit makes a new one.
    epoch: Option<u32>,
    positions: BTreeMap<(InputId, Partition), Offset>,
    paused: BTreeSet<(InputId, Partition)>,
    /// Inputs whose end was found since their last record.
    ended: BTreeSet<(InputId, Partition)>,
    /// Ends that are still to be reported: a client finds them out by itself, and may be asked for them
    /// long after.
    ends: Vec<End>,
    watch: Watch,
}

impl MemoryLog {
    /// The member's name in the group.
    pub fn member(&self) -> u64 {
        self.member
    }

    fn is_deaf(&self) -> bool {
        let contents = self.cluster.contents();
        contents.deaf.get(&self.member).is_some_and(|until| contents.now < *until)
    }

    fn is_stalled(&self, place: (InputId, Partition)) -> bool {
        let contents = self.cluster.contents();
        contents.stalled.get(&place).is_some_and(|until| contents.now < *until)
    }

    fn group_event(&mut self) -> Option<Fetched<'static>> {
        if self.is_deaf() {
            return None;
        }
        let mut contents = self.cluster.contents();
        let now = contents.now;
        let event = contents.group.event(self.member, now, self.generation.is_some());
        match &event {
            Some(Fetched::Assigned(_)) => self.generation = contents.group.generation_of(self.member),
            Some(Fetched::Revoked { lost: true }) => self.generation = None,
            _ => {}
        }
        event
    }

    /// What is there of an input from `position` on, at most `max` records; nothing while it stalls.
    fn fetch(&self, place: (InputId, Partition), position: Offset, max: usize) -> Option<Vec<Stored>> {
        if self.is_stalled(place) {
            return None;
        }
        let contents = self.cluster.contents();
        let records = contents.records.get(&place).map_or(&[][..], Vec::as_slice);
        Some(records.iter().skip(position.0 as usize).take(max).cloned().collect())
    }
}

impl Log for MemoryLog {
    type Reader = MemoryTables;

    fn poll(&mut self, _wait: Duration, max: usize, handle: &mut dyn FnMut(Fetched<'_>)) -> Result<(), LogError> {
        if let Some(event) = self.group_event() {
            handle(match event {
                Fetched::Revoked { lost } => {
                    Fetched::Revoked { lost: lost && !drill::breaks(Rule::HeedLostAssignment) }
                }
                other => other,
            });
            return Ok(());
        }
        // What stalls are the broker's answers, those that say where an input ends like all others.
        let ends = std::mem::take(&mut self.ends).into_iter();
        let (late, there): (_, Vec<End>) = ends.partition(|end| self.is_stalled((end.input, end.partition)));
        self.ends = late;
        let mut left = max.saturating_sub(there.len());
        there.into_iter().for_each(|end| handle(Fetched::AtEnd(end)));
        for (place, position) in self.positions.clone() {
            if self.paused.contains(&place) {
                continue;
            }
            let Some(batch) = self.fetch(place, position, left) else { continue };
            left -= batch.len();
            if !batch.is_empty() {
                let numbered = batch.iter().enumerate();
                let records: Vec<_> =
                    numbered.map(|(number, stored)| stored.at(place, Offset(position.0 + number as i64))).collect();
                handle(Fetched::Records(&records));
                self.positions.insert(place, Offset(position.0 + batch.len() as i64));
                self.ended.remove(&place);
            }
            if left > 0 && self.ended.insert(place) {
                let offset = self.positions[&place];
                self.ends.push(End { input: place.0, partition: place.1, offset, undecided: false });
            }
        }
        Ok(())
    }

    fn committed(&mut self, partitions: &[Partition]) -> Result<Vec<Vec<Option<Committed>>>, LogError> {
        let contents = self.cluster.contents();
        let of = |partition: &Partition| {
            contents.inputs.ids().map(|input| contents.transactions.offset(input, *partition)).collect()
        };
        partitions.iter().map(of).collect()
    }

    fn bounds(&mut self, input: InputId, partition: Partition) -> Result<Range<Offset>, LogError> {
        let end = self.cluster.contents().records.get(&(input, partition)).map_or(0, Vec::len);
        Ok(Offset(0)..Offset(end as i64))
    }

    fn hold_more(&mut self, inputs: &[(InputId, Partition)]) -> Vec<Option<bool>> {
        if self.is_deaf() {
            return vec![None; inputs.len()];
        }
        let contents = self.cluster.contents();
        let end = |place| Offset(contents.records.get(place).map_or(0, Vec::len) as i64);
        let more = |place| self.positions.get(place).is_none_or(|position| *position < end(place));
        inputs.iter().map(|place| Some(more(place))).collect()
    }

    fn start(&mut self, at: &[(InputId, Partition, Offset)]) -> Result<(), LogError> {
        self.positions = at.iter().map(|&(input, partition, offset)| ((input, partition), offset)).collect();
        self.paused = self.positions.keys().copied().collect();
        self.ended.clear();
        self.ends.clear();
        Ok(())
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.positions.clear();
        self.generation = None;
        self.cluster.contents().group.release(self.member);
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

    fn tables(&mut self, partition: Partition, state_from: Offset) -> Result<MemoryTables, LogError> {
        let contents = self.cluster.contents();
        let pending = [(Table::State, OutputTopic::State), (Table::Standings, OutputTopic::Standings)];
        let pending = pending.map(|(table, topic)| {
            let place = Place { topic, partition };
            let end = if drill::breaks(Rule::RestoreToTheEnd) {
                contents.transactions.last_stable(place)
            } else {
                contents.transactions.end(place)
            };
            let next = if table == Table::State { end.min(state_from.0 as usize) } else { 0 };
            Pending { table, place, next, end }
        });
        Ok(MemoryTables { cluster: self.cluster.clone(), pending: pending.into() })
    }

    fn state_end(&self, partition: Partition) -> Offset {
        let place = Place { topic: OutputTopic::State, partition };
        Offset(self.cluster.contents().transactions.end(place) as i64)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), LogError> {
        protocol::check_fenced(&transaction)?;
        (self.watch)(&self.cluster);
        let mut attempt = MemoryAttempt::new(self);
        let ended = protocol::carry_out(&mut attempt, &transaction);
        if !ended.producer_kept {
            self.epoch = None;
        }
        ended.outcome
    }

    fn lag(&self, input: InputId, partition: Partition) -> Option<u64> {
        let position = self.positions.get(&(input, partition))?;
        let end = self.cluster.contents().records.get(&(input, partition)).map_or(0, Vec::len);
        (end as u64).checked_sub(position.0 as u64)
    }

    fn close(self) {
        self.cluster.expel(self.member);
    }
}

impl Stored {
    fn at(&self, (input, partition): (InputId, Partition), offset: Offset) -> Record<'_> {
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        Record { input, partition, offset, time: Some(self.time), key, value }
    }
}

/// The tables of one partition, up to the ends that they had when they were opened.
#[derive(Debug)]
pub struct MemoryTables {
    cluster: Cluster,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    table: Table,
    place: Place,
    next: usize,
    end: usize,
}

impl TableReader for MemoryTables {
    fn read(&mut self, _wait: Duration, handle: &mut TakeRow<'_>) -> Result<Restoring, LogError> {
        let contents = self.cluster.contents();
        let mut left = ROWS_AT_ONCE;
        for Pending { table, place, next, end } in &mut self.pending {
            while left > 0 && *next < *end {
                match contents.transactions.read(*place, *next) {
                    Entry::Committed(output) => {
                        let (key, value) = (output.key.as_deref().unwrap_or_default(), output.value.as_deref());
                        handle(Row { table: *table, offset: Offset(*next as i64), key, value });
                        left -= 1;
                    }
                    Entry::Aborted => {}
                    // A reader of committed records sees nothing from here on.
                    Entry::Undecided => break,
                }
                *next += 1;
            }
        }
        let done = self.pending.iter().all(|pending| pending.next >= pending.end);
        Ok(if done { Restoring::Done } else { Restoring::More })
    }
}
