//! The transaction coordinator and the logs that transactions write to.

use std::collections::BTreeMap;

use super::group::Group;
use crate::log::{Committed, InputId, LogError, Output, OutputTopic, Partition, Progress};

/// The coordinator gives up on a transaction that is open for longer.
const TIMEOUT_MILLIS: i64 = 10_000;
/// Markers land at once, a little later, or much later.
const MARKERS_LAND_IN: [i64; 6] = [0, 0, 0, 40, 300, 5_000];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub topic: OutputTopic,
    pub partition: Partition,
}

/// What a producer asks of the brokers.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Append(Output),
    AddOffsets { progress: Vec<Progress>, member: u64, generation: Option<u64> },
    End { commit: bool },
}

/// A producer of this name and epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Producer {
    pub name: String,
    pub epoch: u32,
}

/// Why the brokers refuse a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// Another producer of the name has been started, or the transaction timed out.
    Fenced,
    /// The group has dropped the member.
    Generation,
}

/// What a reader finds at an offset.
pub(super) enum Entry<'a> {
    Committed(&'a Output),
    Aborted,
    Undecided,
}

/// Requests that arrive later, in their order; after a refusal nothing more of them is asked but
/// that the transaction be aborted.
#[derive(Debug)]
struct UnderWay {
    arrives: i64,
    producer: Producer,
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Written {
    producer: String,
    began: i64,
    offsets: Vec<Progress>,
    standings: Vec<(Vec<u8>, Vec<u8>)>,
    decided: Option<Decision>,
}

#[derive(Clone, Copy, Debug)]
struct Decision {
    commit: bool,
    /// When the markers land in the logs of outputs, and in that of the offsets.
    outputs_land: i64,
    offsets_land: i64,
    offsets_applied: bool,
}

#[derive(Debug)]
pub(super) struct Transactions {
    random: u64,
    now: i64,
    logs: Vec<(Place, Vec<(usize, Output)>)>,
    all: Vec<Written>,
    epochs: BTreeMap<String, u32>,
    /// The open transaction of a producer.
    open: BTreeMap<String, usize>,
    committed: BTreeMap<(InputId, Partition), Committed>,
    under_way: Vec<UnderWay>,
    /// A committed offset that fell below an earlier one.
    pub went_back: Option<String>,
    /// The last decided standing that every account ever had, landed or not.
    pub standings: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Transactions {
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed,
            now: 0,
            logs: Vec::new(),
            all: Vec::new(),
            epochs: BTreeMap::new(),
            open: BTreeMap::new(),
            committed: BTreeMap::new(),
            under_way: Vec::new(),
            went_back: None,
            standings: BTreeMap::new(),
        }
    }

    pub fn pass(&mut self, now: i64, group: &Group) {
        self.now = now;
        let overdue = |written: &Written| written.decided.is_none() && now - written.began > TIMEOUT_MILLIS;
        let overdue: Vec<_> = self.all.iter().filter(|written| overdue(written)).map(|w| w.producer.clone()).collect();
        overdue.iter().for_each(|producer| self.expire(producer));
        let (arrived, under_way) =
            std::mem::take(&mut self.under_way).into_iter().partition(|request| request.arrives <= now);
        self.under_way = under_way;
        for UnderWay { producer, requests, .. } in Vec::from_iter::<Vec<UnderWay>>(arrived) {
            self.serve_all(&producer, requests, group);
        }
        self.apply_offsets();
    }

    fn serve_all(&mut self, producer: &Producer, requests: Vec<Request>, group: &Group) {
        let refused = requests.into_iter().any(|request| self.serve(producer, request, group).is_err());
        if refused {
            let _ = self.serve(producer, Request::End { commit: false }, group);
        }
    }

    /// A new producer of this name: whatever its predecessors left is ended.
    pub fn start(&mut self, name: &str) -> u32 {
        self.expire(name);
        self.epochs[name]
    }

    /// Aborts what the producer has open; it is fenced from here on.
    pub fn expire(&mut self, name: &str) {
        *self.epochs.entry(name.to_owned()).or_default() += 1;
        self.decide(name, false);
        self.land(name);
    }

    /// Requests that arrive in so many milliseconds.
    pub fn send_late(&mut self, millis: i64, producer: Producer, requests: Vec<Request>) {
        self.under_way.push(UnderWay { arrives: self.now + millis, producer, requests });
    }

    pub fn serve(&mut self, producer: &Producer, request: Request, group: &Group) -> Result<(), Refusal> {
        if self.epochs.get(&producer.name) != Some(&producer.epoch) {
            return Err(Refusal::Fenced);
        }
        match request {
            Request::Append(output) => {
                let written = self.opened(&producer.name);
                if let (OutputTopic::Standings, Some(key), Some(value)) = (output.topic, &output.key, &output.value) {
                    self.all[written].standings.push((key.clone(), value.clone()));
                }
                let place = Place { topic: output.topic, partition: output.partition };
                match self.logs.iter_mut().find(|(found, _)| *found == place) {
                    Some((_, log)) => log.push((written, output)),
                    None => self.logs.push((place, vec![(written, output)])),
                }
            }
            Request::AddOffsets { progress, member, generation } => {
                if !group.accepts(member, generation) {
                    return Err(Refusal::Generation);
                }
                let written = self.opened(&producer.name);
                self.all[written].offsets.extend(progress);
            }
            Request::End { commit } => self.decide(&producer.name, commit),
        }
        Ok(())
    }

    /// The open transaction; one before it has landed by the time that a new one can begin.
    fn opened(&mut self, name: &str) -> usize {
        if let Some(open) = self.open.get(name) {
            return *open;
        }
        self.land(name);
        let producer = name.to_owned();
        let (offsets, standings) = (Vec::new(), Vec::new());
        self.all.push(Written { producer, began: self.now, offsets, standings, decided: None });
        self.open.insert(name.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }

    fn decide(&mut self, name: &str, commit: bool) {
        let Some(open) = self.open.remove(name) else { return };
        let (outputs_land, offsets_land) = (self.now + self.delay(), self.now + self.delay());
        self.all[open].decided = Some(Decision { commit, outputs_land, offsets_land, offsets_applied: false });
        if commit {
            self.standings.extend(std::mem::take(&mut self.all[open].standings));
        }
        self.apply_offsets();
    }

    fn delay(&mut self) -> i64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        MARKERS_LAND_IN[(self.random >> 33) as usize % MARKERS_LAND_IN.len()]
    }

    fn land(&mut self, name: &str) {
        let now = self.now;
        for decision in self.all.iter_mut().filter(|w| w.producer == name).filter_map(|w| w.decided.as_mut()) {
            decision.outputs_land = decision.outputs_land.min(now);
            decision.offsets_land = decision.offsets_land.min(now);
        }
        self.apply_offsets();
    }

    fn apply_offsets(&mut self) {
        for written in &mut self.all {
            let Some(decision) = &mut written.decided else { continue };
            if decision.offsets_applied || decision.offsets_land > self.now {
                continue;
            }
            decision.offsets_applied = true;
            for Progress { input, partition, offset, metadata } in written.offsets.iter().filter(|_| decision.commit) {
                let committed = Committed { offset: *offset, metadata: metadata.clone() };
                let before = self.committed.insert((*input, *partition), committed);
                if let Some(before) = before.filter(|before| before.offset > *offset) {
                    let (from, to) = (before.offset.0, offset.0);
                    let text = format!("input {} partition {} went back from {from} to {to}", input.0, partition.0);
                    self.went_back.get_or_insert(text);
                }
            }
        }
    }

    /// What the group has committed; an error while a transaction has not decided that.
    pub fn offset(&self, input: InputId, partition: Partition) -> Result<Option<Committed>, LogError> {
        let touches = |written: &&Written| {
            written.offsets.iter().any(|progress| (progress.input, progress.partition) == (input, partition))
        };
        let undecided = |written: &Written| written.decided.is_none_or(|decision| !decision.offsets_applied);
        if self.all.iter().filter(touches).any(undecided) {
            return Err(LogError::Passing("the committed offset is part of an undecided transaction".into()));
        }
        Ok(self.committed.get(&(input, partition)).cloned())
    }

    fn log(&self, place: Place) -> &[(usize, Output)] {
        self.logs.iter().find(|(found, _)| *found == place).map_or(&[], |(_, log)| log)
    }

    pub fn read(&self, place: Place, at: usize) -> Entry<'_> {
        let (written, output) = &self.log(place)[at];
        match self.all[*written].decided {
            Some(decision) if decision.outputs_land > self.now => Entry::Undecided,
            Some(decision) if decision.commit => Entry::Committed(output),
            Some(_) => Entry::Aborted,
            None => Entry::Undecided,
        }
    }

    /// The end of a log, undecided records included.
    pub fn end(&self, place: Place) -> usize {
        self.log(place).len()
    }

    /// The first undecided record of a log, or its end.
    pub fn last_stable(&self, place: Place) -> usize {
        let undecided = |at: &usize| matches!(self.read(place, *at), Entry::Undecided);
        (0..self.end(place)).find(undecided).unwrap_or(self.end(place))
    }

    /// What a reader of committed records sees.
    pub fn committed(&self, place: Place) -> impl Iterator<Item = &Output> {
        (0..self.last_stable(place)).filter_map(move |at| match self.read(place, at) {
            Entry::Committed(output) => Some(output),
            _ => None,
        })
    }
}
