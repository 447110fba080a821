//! The world that workers live in: time, traffic, trouble, and what is checked in the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::{
    checks::watch,
    model::{EVENTS, PARTITIONS, inputs, model, settings},
    random::Seeded,
    told::Told,
};
use crate::{
    log::{
        InputId, LogError, Partition,
        memory::{Cluster, DIED, Fault, MemoryLog, Step, What},
    },
    model::Timestamp,
    runtime::{Clock, Publisher, Worker, WorkerSettings},
    telemetry::{Metrics, Vocabulary},
    view::{QueryRouter, Status, View},
    wire::time::format_rfc3339,
};

const START: i64 = 1_795_000_000_000;
const ROUNDS: u64 = 200;
/// Rounds in which a healed world must have done all its work.
const ROUNDS_TO_HEAL: u64 = 600;
const WORKERS_MAX: usize = 3;
/// What a trace keeps.
const TRACE_LINES: usize = 1000;

/// The true time, and how wrong a worker's wall clock is.
#[derive(Clone)]
pub struct TestClock {
    time: Arc<Mutex<Time>>,
    behind: Arc<Mutex<i64>>,
}

struct Time {
    wall: i64,
    monotonic: i64,
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.time.lock().unwrap().wall - *self.behind.lock().unwrap())
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.time.lock().unwrap().monotonic as u64)
    }
}

pub struct Running {
    name: String,
    pub member: u64,
    pub worker: Worker<MemoryLog, TestClock>,
    behind: Arc<Mutex<i64>>,
    /// Stands still until this round.
    stopped_until: u64,
}

pub struct World {
    random: Seeded,
    pub cluster: Cluster,
    time: Arc<Mutex<Time>>,
    pub workers: Vec<Running>,
    /// After how many records its workers commit at once.
    pub commit_records_max: u64,
    started: u64,
    events: u64,
    round: u64,
    /// No traffic before this round.
    silent_until: u64,
    /// What the partitions of the input hold.
    pub records: Vec<Vec<(Timestamp, String)>>,
    trace: Vec<String>,
    /// Something that a reader could see and that was not committed.
    leak: Arc<Mutex<Option<String>>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Seeded(seed),
            cluster: Cluster::new(inputs(), PARTITIONS, seed),
            time: Arc::new(Mutex::new(Time { wall: START, monotonic: 0 })),
            workers: Vec::new(),
            commit_records_max: settings(0).commit_records_max,
            started: 0,
            events: 0,
            round: 0,
            silent_until: 0,
            records: vec![Vec::new(); PARTITIONS as usize],
            trace: Vec::new(),
            leak: Arc::default(),
        }
    }

    /// What happened last, line by line.
    pub fn trace(&self) -> String {
        self.trace[self.trace.len().saturating_sub(TRACE_LINES)..].join("\n")
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        let time = format_rfc3339(self.wall());
        self.trace.push(format!("{:>4} {time} {what}", self.round));
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.time.lock().unwrap().wall)
    }

    /// Time passes for everybody; `quiet` of it in a blink, in which nobody so much as polls.
    pub fn pass(&mut self, millis: i64, quiet: i64) {
        {
            let mut time = self.time.lock().unwrap();
            time.wall += millis + quiet;
            time.monotonic += millis;
        }
        self.cluster.pass(millis);
    }

    /// Traffic and trouble.
    pub fn live(&mut self) -> Result<(), String> {
        self.start_worker(None);
        for _ in 0..ROUNDS {
            self.round += 1;
            self.traffic();
            self.disturb();
            self.turn_all()?;
            let millis = self.random.below(2_000) as i64;
            let quiet = if self.random.chance(3) { self.random.below(30_000_000) as i64 } else { 0 };
            self.pass(millis, quiet);
            if quiet > 0 && self.random.chance(50) {
                // What falls now is decided by nothing but time.
                self.silent_until = self.round + self.random.below(60);
            }
        }
        Ok(())
    }

    fn traffic(&mut self) {
        if self.round < self.silent_until {
            return;
        }
        for _ in 0..self.random.below(4) {
            let account = self.random.below(6);
            self.append_some(account);
        }
        if self.random.chance(2) {
            // More than an account remembers the ids of.
            (0..20 + self.random.below(20)).for_each(|_| self.append_some(0));
        }
    }

    fn append_some(&mut self, account: u64) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let kind = if self.random.chance(15) { "demo" } else { "visit" };
        self.append(Partition(partition), &format!("account-{partition}-{account}"), kind);
    }

    /// A commit of nothing but falls stands still in the midst of its way, and goes on when others
    /// have taken over and published the same falls.
    pub fn fall_twice(&mut self) -> Result<(), String> {
        self.end_trouble();
        self.append_to_all("falls", "demo");
        self.work_off("the input is worked off", |world| Ok(world.is_worked_off()))?;
        self.cluster.inject(Fault { at: Step::Drain, what: What::Stop { millis: 90_000 } });
        self.pass(0, 8 * 3_600_000);
        for _ in 0..100 {
            self.round += 1;
            self.turn_all()?;
            self.pass(1_000, 0);
        }
        Ok(())
    }

    /// A worker has just got to the end of its input, and sleeps over an event that puts off a fall, and
    /// over the time of that fall.
    pub fn oversleep(&mut self) -> Result<(), String> {
        self.work_until_a_fall_is_near()?;
        self.pass(0, 10_000);
        self.append_to_all("falls", "visit");
        self.pass(0, 25_000);
        self.rest()
    }

    /// The broker has found the end of an input, and its answer is on its way over an event that puts off a
    /// fall, and over the time of that fall. The worker goes on looking.
    pub fn answer_late(&mut self) -> Result<(), String> {
        self.work_until_a_fall_is_near()?;
        self.stall_all(5_000);
        self.pass(0, 10_000);
        self.append_to_all("falls", "visit");
        self.pass(0, 25_000);
        self.turn_all()?;
        self.rest()
    }

    /// Accounts are about to fall, and workers have just read what was there: the end of the input is found,
    /// and they are yet to hear of it.
    fn work_until_a_fall_is_near(&mut self) -> Result<(), String> {
        self.end_trouble();
        self.fade()?;
        self.append_to_all("falls", "demo");
        self.work_off("the input is worked off", |world| Ok(world.is_worked_off()))?;
        let owned = self.workers.iter().flat_map(|running| running.worker.partitions());
        let fall = owned.filter_map(|owned| owned.engine.next_deadline()).min().ok_or("nothing falls")?;
        self.pass(0, fall.millis() - 20_000 - self.wall().millis());
        self.append_to_all("other", "visit");
        self.turn_all()
    }

    /// Nothing is delivered while an event makes a fall possible and another one puts it off, until after
    /// the time of that fall.
    pub fn stall_over_a_fall(&mut self) -> Result<(), String> {
        self.end_trouble();
        self.fade()?;
        self.stall_all(10_000);
        self.append_to_all("falls", "demo");
        self.pass(0, 8 * 3_600_000);
        self.append_to_all("falls", "visit");
        self.pass(0, 2 * 3_600_000);
        self.rest()
    }

    fn stall_all(&self, millis: i64) {
        (0..PARTITIONS).for_each(|partition| self.cluster.stall(EVENTS, Partition(partition), millis));
    }

    fn append_to_all(&mut self, account: &str, kind: &str) {
        (0..PARTITIONS).for_each(|at| self.append(Partition(at), &format!("{account}-{at}"), kind));
    }

    /// What is left to do is done, and everything fades below every mark.
    fn fade(&mut self) -> Result<(), String> {
        self.work_off("the input is worked off", |world| Ok(world.is_worked_off()))?;
        for _ in 0..3 {
            self.pass(0, 30 * 86_400_000);
            self.rest()?;
        }
        Ok(())
    }

    /// Trouble ends; what is left to do is done, everything fades below every mark, and a fresh event
    /// gets through.
    pub fn heal(&mut self) -> Result<(), String> {
        self.end_trouble();
        self.fade()?;
        // A forgotten account does not know the ids that it has had.
        self.events += 1;
        for partition in 0..PARTITIONS {
            // One that is new, and one that is long forgotten.
            self.append(Partition(partition), &format!("fresh-{partition}"), "demo");
            self.append(Partition(partition), &format!("fresh-{partition}"), "demo");
            self.append(Partition(partition), &format!("account-{partition}-0"), "demo");
        }
        self.work_off("a fresh event gets through", |world| {
            let fresh = |told: BTreeMap<String, Vec<Told>>| {
                (0..PARTITIONS).all(|partition| told.contains_key(&format!("fresh-{partition}")))
            };
            Ok(world.is_worked_off() && fresh(world.published()?))
        })
    }

    fn end_trouble(&mut self) {
        self.note("healed");
        self.cluster.heal();
        for running in &mut self.workers {
            (running.stopped_until, *running.behind.lock().unwrap()) = (0, 0);
        }
        if self.workers.is_empty() {
            self.start_worker(None);
        }
    }

    /// Long enough for every page to be stored and every marker to land.
    pub fn rest(&mut self) -> Result<(), String> {
        for _ in 0..14 {
            self.round += 1;
            self.turn_all()?;
            self.pass(2_000, 0);
        }
        Ok(())
    }

    pub fn work_off(&mut self, what: &str, done: impl Fn(&Self) -> Result<bool, String>) -> Result<(), String> {
        for _ in 0..ROUNDS_TO_HEAL {
            self.round += 1;
            self.turn_all()?;
            self.pass(200, 0);
            if done(self)? {
                return self.rest();
            }
        }
        Err(format!("not within {ROUNDS_TO_HEAL} rounds: {what}"))
    }

    fn is_worked_off(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let end = self.records[partition as usize].len() as i64;
            end == 0 || self.cluster.committed(EVENTS, Partition(partition)).is_some_and(|at| at.offset.0 == end)
        })
    }

    pub fn start_worker(&mut self, name: Option<String>) {
        self.started += 1;
        let name = name.unwrap_or_else(|| format!("w{}", self.started));
        self.note(format!("{name} starts"));
        let model = model();
        let metrics = Metrics::new(Vocabulary { model: &model, ignored: &[], dead_letters: &[] }).unwrap();
        let status = Arc::new(Status::new(1, Duration::from_secs(60), Instant::now()));
        let (_, mut questions) = QueryRouter::new(1);
        let view = Arc::new(View::new());
        let log = self.cluster.join(&name, watch(view.clone(), self.leak.clone()));
        let member = log.member();
        let publisher = Publisher::new(view, Arc::new(metrics), status, 0, questions.remove(0));
        let behind = Arc::new(Mutex::new(0));
        let clock = TestClock { time: self.time.clone(), behind: behind.clone() };
        let stop = Arc::new(AtomicBool::new(false));
        let settings = WorkerSettings { commit_records_max: self.commit_records_max, ..settings(self.started) };
        let worker = Worker::new(log, clock, Arc::new(settings), model, publisher, stop);
        self.workers.push(Running { name, member, worker, behind, stopped_until: 0 });
    }

    pub fn append(&mut self, partition: Partition, account: &str, kind: &str) {
        // In time: within the grace of the moment at which the log gets it.
        let late = self.random.below(4000) as i64;
        let recorded = self.wall();
        let time = format_rfc3339(Timestamp::from_millis(recorded.millis() - late));
        // One in ten is sent twice.
        self.events += u64::from(!self.random.chance(10));
        let id = format!("e{}", self.events);
        let json = format!(r#"{{"id":"{id}","type":"{kind}","account":"{account}","time":"{time}"}}"#);
        self.note(format!("partition {} gets {json}", partition.0));
        self.cluster.append(EVENTS, partition, recorded, account, Some(json.as_bytes()));
        self.records[partition.0 as usize].push((recorded, json));
    }

    pub fn turn_all(&mut self) -> Result<(), String> {
        let mut at = 0;
        while at < self.workers.len() {
            if self.workers[at].stopped_until > self.round {
                at += 1;
                continue;
            }
            match self.workers[at].worker.turn() {
                Ok(()) => at += 1,
                Err(LogError::Refused(why)) if why == DIED => {
                    let died = self.workers.remove(at);
                    self.note(format!("{} dies", died.name));
                    let name = self.random.chance(50).then_some(died.name);
                    self.start_worker(name);
                }
                Err(error) => return Err(format!("{} gave up: {error}", self.workers[at].name)),
            }
        }
        match self.leak.lock().unwrap().take() {
            Some(leak) => Err(leak),
            None => Ok(()),
        }
    }

    fn disturb(&mut self) {
        let workers = self.workers.len() as u64;
        match self.random.below(100) {
            0..3 if workers > 0 => {
                let at = self.random.below(workers) as usize;
                let killed = self.workers.remove(at);
                self.note(format!("{} is killed", killed.name));
                if self.random.chance(50) {
                    self.cluster.expel(killed.member);
                }
                if self.random.chance(50) {
                    self.start_worker(Some(killed.name));
                }
            }
            3..8 if self.workers.len() < WORKERS_MAX => self.start_worker(None),
            // A zombie: others take over, and it finds out when it goes on.
            8..12 if workers > 0 => {
                let (at, rounds) = (self.random.below(workers) as usize, self.random.below(40));
                self.workers[at].stopped_until = self.round + rounds;
                self.note(format!("{} stands still for {rounds} rounds", self.workers[at].name));
            }
            12..14 if workers > 0 => {
                let at = self.random.below(workers) as usize;
                self.note(format!("{} is expelled", self.workers[at].name));
                self.cluster.expel(self.workers[at].member);
            }
            14..32 => {
                let fault = self.fault();
                self.note(format!("{fault:?} for the next commit"));
                self.cluster.inject(fault);
            }
            32..36 => {
                let millis = self.random.below(20_000) as i64;
                let input = InputId(self.random.below(2) as u8);
                let partition = Partition(self.random.below(PARTITIONS as u64) as i32);
                self.note(format!("input {} partition {} stalls for {millis} ms", input.0, partition.0));
                self.cluster.stall(input, partition, millis);
            }
            // Others take over, and it finds out late, though it reads on.
            36..39 if workers > 0 => {
                let at = self.random.below(workers) as usize;
                let millis = self.random.below(30_000) as i64;
                self.note(format!("{} hears nothing from the group for {millis} ms", self.workers[at].name));
                self.cluster.deafen(self.workers[at].member, millis);
            }
            39..41 if workers > 0 => {
                // A clock ahead lets time fall before its time, by what it is ahead beyond the grace.
                let at = self.random.below(workers) as usize;
                let behind = self.random.below(600_000) as i64 - 300;
                self.note(format!("the clock of {} is now {behind} ms behind", self.workers[at].name));
                *self.workers[at].behind.lock().unwrap() = behind;
            }
            _ => {}
        }
    }

    fn fault(&mut self) -> Fault {
        let millis = self.random.one_of(&[0, 100, 2_000, 12_000, 90_000]);
        let whats = [
            What::Crash,
            What::Stop { millis },
            What::Expel,
            What::Expire,
            What::Refuse,
            What::Lost { done: true },
            What::Lost { done: false },
            What::Delay { millis },
            What::Repeat { millis },
        ];
        Fault { at: self.random.one_of(&Step::ALL), what: self.random.one_of(&whats) }
    }
}
