//! What a worker shows to others, always after a commit: the read view, the metrics, its status,
//! and answers about single accounts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use super::partition::Owned;
use crate::{
    log::{Log, Partition},
    model::Timestamp,
    telemetry::Metrics,
    view::{AccountQuery, Phase, Status, Tenure, View, WorkerStatus},
};

/// Between two looks at lag and sizes.
const GAUGES_EVERY: Duration = Duration::from_millis(500);

/// One worker's way to its readers.
pub struct Publisher {
    view: Arc<View>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    worker: usize,
    questions: Receiver<AccountQuery>,
    tenures: HashMap<Partition, Tenure>,
    gauged: Option<Instant>,
}

impl Publisher {
    /// A way for worker number `worker`, which answers these questions.
    pub fn new(
        view: Arc<View>,
        metrics: Arc<Metrics>,
        status: Arc<Status>,
        worker: usize,
        questions: Receiver<AccountQuery>,
    ) -> Self {
        Self { view, metrics, status, worker, questions, tenures: HashMap::new(), gauged: None }
    }

    fn status(&self) -> &WorkerStatus {
        self.status.worker(self.worker)
    }

    /// The group has given the worker these partitions.
    pub fn assigned(&self, partitions: &[Partition]) {
        self.status().assigned(partitions);
    }

    /// A partition's tables are read; it goes on to catch up with its input.
    pub fn catching_up(&self, partition: Partition, records: u64, took: Duration) {
        self.metrics.restored(took, records);
        self.status().reached(partition, Phase::CatchingUp);
    }

    /// A partition is live: its committed standings can be seen.
    pub fn live(&mut self, owned: &Owned) {
        let tenure = *self.tenures.entry(owned.partition).or_insert_with(|| self.view.begin());
        self.view.publish(tenure, owned.engine.standings());
        self.status.worker(self.worker).reached(owned.partition, Phase::Live);
    }

    /// The partitions' accounts are no longer this worker's to show.
    pub fn dropped(&mut self) {
        let tenures: Vec<Tenure> = self.tenures.drain().map(|(_, tenure)| tenure).collect();
        // In this order: a reader who still sees all partitions assigned has seen their accounts.
        self.status().revoked();
        self.view.end(&tenures);
    }

    /// The worker has ended.
    pub fn stopped(&mut self) {
        self.dropped();
        self.status().stopped();
    }

    /// A commit failed.
    pub fn commit_failed(&self) {
        self.metrics.commit_failed();
    }

    /// A transaction is committed: what its partitions caused may be seen.
    pub fn committed<'a>(&mut self, partitions: impl Iterator<Item = &'a mut Owned>, took: Duration, at: Timestamp) {
        self.metrics.committed(took);
        for owned in partitions {
            let (step, tally) = owned.take_committed();
            self.metrics.record(&step, &tally, at);
            if let Some(&tenure) = self.tenures.get(&owned.partition) {
                self.view.withdraw(tenure, step.evicted.iter().map(|account| &**account));
                self.view.publish(tenure, step.standings);
            }
        }
    }

    /// The worker has yet to reach the log, and goes on trying.
    pub fn connecting(&self) {
        self.status().tick(Instant::now());
    }

    /// The worker's loop has come round.
    pub fn tick<L: Log>(&mut self, partitions: &BTreeMap<Partition, Owned>, log: &L) {
        let now = Instant::now();
        self.status().tick(now);
        if self.gauged.is_some_and(|gauged| now.duration_since(gauged) < GAUGES_EVERY) {
            return;
        }
        self.gauged = Some(now);
        let (mut accounts, mut timers) = (0, 0);
        for owned in partitions.values() {
            accounts += owned.engine.len();
            timers += owned.engine.timers();
            for input in owned.inputs().ids() {
                if let Some(lag) = log.lag(input, owned.partition) {
                    self.status().lags(owned.inputs().name(input), owned.partition, lag);
                }
            }
        }
        self.status().holds(accounts, timers);
    }

    /// Answers the questions that wait, about accounts of these partitions.
    pub fn answer(&self, partitions: &BTreeMap<Partition, Owned>, now: Timestamp) {
        while let Ok(question) = self.questions.try_recv() {
            let at = question.at.unwrap_or(now);
            let live = partitions.values().filter(|owned| owned.phase == Phase::Live);
            if let Some(explanation) = live.filter_map(|owned| owned.engine.explain(&question.account, at)).next() {
                question.answer(explanation);
            }
        }
    }
}
