//! What the workers are doing: for probes and gauges.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::log::Partition;

/// How far a worker has got with a partition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Reading back state and standings.
    Restoring,
    /// Applying again, in silence, what was applied before.
    CatchingUp,
    /// Judging and publishing.
    Live,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 3] = [Self::Restoring, Self::CatchingUp, Self::Live];

    /// Its name in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
        }
    }
}

/// The status of all workers of the process.
#[derive(Debug)]
pub struct Status {
    started: Instant,
    stall_limit: Duration,
    workers: Box<[WorkerStatus]>,
}

/// One worker's status; the worker writes, everybody reads.
#[derive(Debug)]
pub struct WorkerStatus {
    started: Instant,
    /// Milliseconds from `started` to the last turn of the worker's loop.
    ticked_ms: AtomicU64,
    joined: AtomicBool,
    stopped: AtomicBool,
    accounts: AtomicU64,
    timers: AtomicU64,
    partitions: Mutex<Partitions>,
}

#[derive(Clone, Debug, Default)]
struct Partitions {
    phases: BTreeMap<Partition, Phase>,
    lag: BTreeMap<(Arc<str>, Partition), u64>,
}

/// What a worker's status was at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerSummary {
    /// Whether the group has given the worker an assignment, be it an empty one.
    pub joined: bool,
    pub stopped: bool,
    /// Time since the last turn of the worker's loop.
    pub silent_for: Duration,
    pub phases: BTreeMap<Partition, Phase>,
    /// Records yet to be delivered, by input topic and partition.
    pub lag: BTreeMap<(Arc<str>, Partition), u64>,
    /// Accounts in memory.
    pub accounts: u64,
    /// Timers armed.
    pub timers: u64,
}

impl WorkerSummary {
    /// Whether every assigned partition is live. A spare worker without partitions is.
    pub fn is_live(&self) -> bool {
        self.joined && !self.stopped && self.phases.values().all(|&phase| phase == Phase::Live)
    }
}

impl Status {
    /// The status of `workers` workers that are about to start. One that is silent for longer than
    /// `stall_limit` counts as stuck; choose it above the longest commit.
    pub fn new(workers: usize, stall_limit: Duration, now: Instant) -> Self {
        let workers = (0..workers).map(|_| WorkerStatus::new(now)).collect();
        Self { started: now, stall_limit, workers }
    }

    /// The status that worker number `index` writes.
    ///
    /// # Panics
    /// If there are not that many workers.
    pub fn worker(&self, index: usize) -> &WorkerStatus {
        &self.workers[index]
    }

    /// What every worker's status is now.
    pub fn summaries(&self, now: Instant) -> Vec<WorkerSummary> {
        self.workers.iter().map(|worker| worker.summary(now)).collect()
    }

    /// Indexes of the workers whose loop has not turned for too long. Those that ended are none.
    pub fn stalled(&self, now: Instant) -> Vec<usize> {
        let stalled = |(index, worker): (usize, &WorkerStatus)| {
            let summary = worker.summary(now);
            (!summary.stopped && summary.silent_for > self.stall_limit).then_some(index)
        };
        self.workers.iter().enumerate().filter_map(stalled).collect()
    }

    /// How long a worker may be silent.
    pub fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// Time since the process began its work.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

impl WorkerStatus {
    fn new(started: Instant) -> Self {
        Self {
            started,
            ticked_ms: AtomicU64::new(0),
            joined: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            accounts: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            partitions: Mutex::default(),
        }
    }

    /// The worker's loop has come round.
    pub fn tick(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.started).as_millis();
        self.ticked_ms.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The group has given the worker these partitions (and no others), or none.
    pub fn assigned(&self, partitions: &[Partition]) {
        let phases = partitions.iter().map(|&partition| (partition, Phase::Restoring)).collect();
        *self.partitions() = Partitions { phases, lag: BTreeMap::new() };
        self.joined.store(true, Ordering::Relaxed);
    }

    /// The worker has got this far with an assigned partition; others are not taken up.
    pub fn reached(&self, partition: Partition, phase: Phase) {
        if let Some(known) = self.partitions().phases.get_mut(&partition) {
            *known = phase;
        }
    }

    /// Records of an assigned input partition that are yet to be delivered.
    pub fn lags(&self, topic: &Arc<str>, partition: Partition, records: u64) {
        let mut partitions = self.partitions();
        if partitions.phases.contains_key(&partition) {
            partitions.lag.insert((topic.clone(), partition), records);
        }
    }

    /// The group has taken all partitions back: the worker is without an assignment.
    pub fn revoked(&self) {
        *self.partitions() = Partitions::default();
        self.joined.store(false, Ordering::Relaxed);
    }

    /// How many accounts and timers the worker holds.
    pub fn holds(&self, accounts: usize, timers: usize) {
        self.accounts.store(accounts as u64, Ordering::Relaxed);
        self.timers.store(timers as u64, Ordering::Relaxed);
    }

    /// The worker has ended.
    pub fn stopped(&self) {
        self.revoked();
        self.holds(0, 0);
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn summary(&self, now: Instant) -> WorkerSummary {
        let ticked = self.started + Duration::from_millis(self.ticked_ms.load(Ordering::Relaxed));
        let Partitions { phases, lag } = self.partitions().clone();
        WorkerSummary {
            joined: self.joined.load(Ordering::Relaxed),
            stopped: self.stopped.load(Ordering::Relaxed),
            silent_for: now.saturating_duration_since(ticked),
            phases,
            lag,
            accounts: self.accounts.load(Ordering::Relaxed),
            timers: self.timers.load(Ordering::Relaxed),
        }
    }

    /// Every write replaces or inserts whole values, so a panic elsewhere leaves nothing half done.
    fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_worker_is_live_when_all_it_was_given_is_live() {
        let now = Instant::now();
        let status = Status::new(1, LIMIT, now);
        let worker = status.worker(0);
        let live = || status.summaries(now)[0].is_live();
        assert!(!live(), "it has not joined the group yet");
        worker.assigned(&[Partition(0), Partition(3)]);
        assert!(!live());
        worker.reached(Partition(0), Phase::Live);
        worker.reached(Partition(3), Phase::CatchingUp);
        assert!(!live());
        worker.reached(Partition(3), Phase::Live);
        assert!(live());
        worker.revoked();
        assert!(!live());
        worker.assigned(&[]);
        assert!(live(), "a spare is ready");
        worker.stopped();
        assert!(!live());
    }

    #[test]
    fn lag_and_phase_of_a_partition_end_with_its_assignment() {
        let now = Instant::now();
        let status = Status::new(1, LIMIT, now);
        let worker = status.worker(0);
        let topic: Arc<str> = "intent.events".into();
        worker.assigned(&[Partition(0)]);
        worker.lags(&topic, Partition(0), 12);
        assert_eq!(status.summaries(now)[0].lag, BTreeMap::from([((topic.clone(), Partition(0)), 12)]));
        worker.assigned(&[Partition(1)]);
        worker.lags(&topic, Partition(0), 12);
        worker.reached(Partition(0), Phase::Live);
        let summary = &status.summaries(now)[0];
        assert!(summary.lag.is_empty());
        assert_eq!(summary.phases, BTreeMap::from([(Partition(1), Phase::Restoring)]));
    }

    #[test]
    fn a_silent_worker_is_stalled_unless_it_has_ended() {
        let start = Instant::now();
        let status = Status::new(2, LIMIT, start);
        assert!(status.stalled(start + LIMIT).is_empty());
        let later = start + LIMIT + Duration::from_millis(1);
        assert_eq!(status.stalled(later), [0, 1]);
        status.worker(0).tick(later);
        assert_eq!(status.stalled(later), [1]);
        status.worker(1).stopped();
        assert!(status.stalled(later).is_empty());
    }
}
