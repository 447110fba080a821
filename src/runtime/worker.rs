//! The loop of one worker: one thread, one log, the partitions assigned to it.
//!
//! A turn decides in memory, persists in one transaction, and only then publishes to readers. A
//! failed commit leaves memory ahead of the log: the worker drops its partitions and restores them.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::assignment::Taken;
use super::{
    WorkerSettings, clock::Clock, commit, intake::Intake, pacing::Pacing, partition::Owned, publish::Publisher,
    sweep::Sweep,
};
use crate::{
    drill::{self, Point, Rule},
    log::{Fetched, InputId, Log, LogError, Output, Partition, Transaction},
    model::{Model, Timestamp},
    view::Phase,
};

mod assignment;
mod ends;

/// Records taken in one turn.
const RECORDS_AT_ONCE: usize = 4096;
/// The longest that a worker waits for records; it looks after everything else in between.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Changes after which a commit no longer waits for its time.
const CHANGES_AT_ONCE: usize = 4096;
/// Bytes of pages that one turn stores.
const PAGE_BYTES_AT_ONCE: usize = 4 << 20;

/// One worker.
pub struct Worker<L: Log, C: Clock> {
    log: L,
    clock: C,
    settings: Arc<WorkerSettings>,
    model: Arc<Model>,
    publisher: Publisher,
    stop: Arc<AtomicBool>,
    intake: Intake,
    partitions: BTreeMap<Partition, Owned>,
    /// Partitions given back fully committed, kept in case the group returns them unchanged.
    kept: BTreeMap<Partition, Owned>,
    restores: VecDeque<Taken<L::Reader>>,
    /// Partitions that the group has assigned but that could not be taken up yet.
    untaken: Option<(Vec<Partition>, Duration)>,
    /// Inputs held back because they run ahead of others.
    paused: HashSet<(InputId, Partition)>,
    /// Pages stored but not committed.
    pages: BTreeMap<Partition, Vec<Output>>,
    sweep: Sweep,
    commits: u64,
    pacing: Pacing,
    /// The wall clock at a moment after which the log had nothing more to deliver: the records that it
    /// delivers next came later.
    emptied: Timestamp,
    /// No input is asked for its end before.
    ask_from: Duration,
    /// Since when some input has no answer to that, or when it was last told.
    silent_since: Option<Duration>,
    /// No open transaction of an input is told of before.
    open_told_from: Duration,
}

impl<L: Log, C: Clock> Worker<L, C> {
    /// A worker that has joined the group but owns nothing yet.
    pub fn new(
        log: L,
        clock: C,
        settings: Arc<WorkerSettings>,
        model: Arc<Model>,
        publisher: Publisher,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let intake = Intake::new(model.clone(), &settings);
        let (now, emptied) = (clock.monotonic(), clock.wall());
        Self {
            log,
            clock,
            settings,
            model,
            publisher,
            stop,
            intake,
            partitions: BTreeMap::new(),
            kept: BTreeMap::new(),
            restores: VecDeque::new(),
            untaken: None,
            paused: HashSet::new(),
            pages: BTreeMap::new(),
            sweep: Sweep::new(now),
            commits: 0,
            pacing: Pacing::new(now),
            emptied,
            ask_from: now,
            silent_since: None,
            open_told_from: now,
        }
    }

    /// Works until asked to stop; then commits what is decided and leaves the group. Returns early
    /// only when a person must act.
    pub fn run(mut self) -> Result<(), LogError> {
        while !self.stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        let outcome = refusal(self.commit());
        self.publisher.stopped();
        self.log.close();
        outcome.map(|_| ())
    }

    /// One round: take records, restore, let time pass, store pages, commit, answer.
    pub fn turn(&mut self) -> Result<(), LogError> {
        match self.work() {
            Err(LogError::Passing(error)) => {
                self.start_over(&error);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// The partitions that it owns.
    #[cfg(test)]
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Owned> {
        self.partitions.values()
    }

    fn work(&mut self) -> Result<(), LogError> {
        self.look_again()?;
        self.tell_of_open_transactions();
        for event in self.fetch()? {
            match event {
                Group::Assigned(partitions) => self.take_up(partitions)?,
                Group::Revoked { lost } => self.give_back(lost)?,
            }
        }
        self.retry()?;
        self.restore()?;
        self.pass_time();
        self.balance()?;
        self.sweep();
        if self.commit_is_due() {
            self.commit()?;
        }
        self.publisher.tick(&self.partitions, &self.log);
        self.publisher.answer(&self.partitions, self.clock.wall());
        Ok(())
    }

    fn fetch(&mut self) -> Result<Vec<Group>, LogError> {
        let (wait, began) = (self.idle_time(), self.clock.wall());
        // Read when the first record is there: the wait may be long, and a record is never recorded
        // after the wall clock that it is judged by.
        let (mut wall, mut group, mut delivered) = (None, Vec::new(), 0);
        let Self { log, partitions, intake, clock, settings, emptied, .. } = self;
        let mut wall = || *wall.get_or_insert_with(|| clock.wall());
        let most = settings.commit_records_max.clamp(1, RECORDS_AT_ONCE as u64) as usize;
        log.poll(wait, most, &mut |fetched| match fetched {
            Fetched::Records(records) => {
                delivered += records.len();
                if let Some(owned) = records.first().and_then(|first| partitions.get_mut(&first.partition)) {
                    owned.take(records, intake, wall(), *emptied);
                }
            }
            Fetched::AtEnd(end) => {
                delivered += 1;
                if let Some(owned) = partitions.get_mut(&end.partition) {
                    owned.reach_end(end, wall());
                }
            }
            Fetched::Assigned(partitions) => group.push(Group::Assigned(partitions)),
            Fetched::Revoked { lost } => group.push(Group::Revoked { lost }),
        })?;
        if delivered < most && group.is_empty() {
            self.emptied = began;
        }
        self.pacing.took(delivered, most, self.clock.monotonic());
        Ok(group)
    }

    /// How long nothing needs doing, if no record comes.
    fn idle_time(&self) -> Duration {
        if self.pacing.is_behind() || !self.restores.is_empty() || self.partitions.values().any(Owned::is_stale) {
            return Duration::ZERO;
        }
        let now = self.clock.monotonic();
        if let Some((_, retry_at)) = &self.untaken {
            return WAIT_MAX.min(retry_at.saturating_sub(now));
        }
        let due = self.commit_due_at().map_or(WAIT_MAX, |due| due.saturating_sub(now));
        let wall = self.clock.wall();
        let live = self.partitions.values().filter(|owned| owned.phase == Phase::Live && owned.clock.follows(wall));
        let timers = live.filter_map(|owned| owned.engine.next_deadline());
        let timer = timers.min().map_or(WAIT_MAX, |deadline| self.clock.until(deadline + self.settings.grace));
        WAIT_MAX.min(due).min(timer)
    }

    // Time -------------------------------------------------------------------------------------

    fn pass_time(&mut self) {
        let wall = self.clock.wall();
        for owned in self.partitions.values_mut().filter(|owned| owned.phase == Phase::Live) {
            owned.pass_time(wall);
            owned.judge_afresh(wall);
        }
    }

    /// Holds back a topic that runs ahead of others of its partition, so that all are read in about
    /// the order of their record times.
    fn balance(&mut self) -> Result<(), LogError> {
        let inputs = &self.settings.inputs;
        if inputs.0.len() < 2 {
            return Ok(());
        }
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for owned in self.partitions.values().filter(|owned| owned.phase != Phase::Restoring) {
            let waiting: Vec<InputId> = owned.waiting_inputs().collect();
            for input in inputs.ids() {
                let place = (input, owned.partition);
                // What is read again silently may come in any order; the clock does not know yet which
                // inputs have an end near.
                let hold = match owned.phase {
                    Phase::Live => owned.clock.runs_ahead(input),
                    _ => waiting.contains(&input),
                };
                match (hold, self.paused.contains(&place)) {
                    (true, false) => pause.push(place),
                    (false, true) => resume.push(place),
                    _ => {}
                }
            }
        }
        if !pause.is_empty() {
            self.log.pause(&pause)?;
            self.paused.extend(pause);
        }
        if !resume.is_empty() {
            self.log.resume(&resume)?;
            self.paused.retain(|place| !resume.contains(place));
        }
        Ok(())
    }

    /// Stores the pages whose turn has come: every dirty page once per checkpoint interval.
    fn sweep(&mut self) {
        let (now, mut bytes) = (self.clock.monotonic(), 0);
        while bytes < PAGE_BYTES_AT_ONCE && self.sweep.step(now, self.settings.checkpoint_interval) {
            drill::reach(Point::MidSweep);
            for owned in self.partitions.values_mut().filter(|owned| owned.phase == Phase::Live) {
                let (state_end, limit) = (self.log.state_end(owned.partition), self.settings.page_bytes_max);
                let pages = self.sweep.pages_of(owned.partition);
                let records: Vec<_> = pages.flat_map(|page| owned.sweep(page, limit, state_end)).collect();
                bytes += records.iter().filter_map(|record| record.value.as_ref()).map(Vec::len).sum::<usize>();
                if !records.is_empty() {
                    self.pages.entry(owned.partition).or_default().extend(records);
                }
            }
        }
    }

    // Commit -----------------------------------------------------------------------------------

    fn commit_is_due(&mut self) -> bool {
        let now = self.clock.monotonic();
        if self.partitions.values().any(Owned::has_work) {
            self.pacing.wait(now);
        }
        self.commit_due_at().is_some_and(|due| due <= now)
    }

    /// When its time has come, or at once when there is a lot.
    fn commit_due_at(&self) -> Option<Duration> {
        let owned = || self.partitions.values();
        let changes: usize = owned().map(|owned| owned.step.changes.len()).sum();
        let due = self.pacing.due_at(changes > 0, &self.settings)?;
        let records: u64 = owned().map(|owned| owned.records).sum();
        // After a change of the model there may be standings without changes.
        let standings: usize = owned().map(|owned| owned.step.standings.len()).sum();
        let is_much = changes.max(standings) >= CHANGES_AT_ONCE
            || records >= self.settings.commit_records_max
            || self.page_bytes() >= PAGE_BYTES_AT_ONCE;
        Some(if is_much { Duration::ZERO } else { due })
    }

    fn page_bytes(&self) -> usize {
        self.pages.values().flatten().filter_map(|record| record.value.as_ref()).map(Vec::len).sum()
    }

    /// Decide, persist, publish: what was decided goes out in one transaction, and only then do
    /// readers see it.
    fn commit(&mut self) -> Result<(), LogError> {
        let mut transaction = Transaction::default();
        self.commits += 1;
        let name = format!("{}-{}", self.settings.run, self.commits);
        let with_work = |owned: &&mut Owned| owned.has_work();
        for owned in self.partitions.values_mut().filter(with_work) {
            let pages = self.pages.remove(&owned.partition).unwrap_or_default();
            commit::gather(owned, pages, &name, &self.settings, &mut transaction)?;
        }
        if transaction == Transaction::default() {
            return Ok(());
        }
        drill::reach(Point::AfterDecide);
        let began = self.clock.monotonic();
        if drill::breaks(Rule::PublishAfterCommit) {
            self.publisher.committed(self.partitions.values_mut().filter(with_work), Duration::ZERO, self.clock.wall());
        }
        self.log.commit(transaction).inspect_err(|_| self.publisher.commit_failed())?;
        drill::reach(Point::BeforePublish);
        self.pacing.committed(began);
        let took = self.clock.monotonic() - began;
        self.publisher.committed(self.partitions.values_mut().filter(with_work), took, self.clock.wall());
        Ok(())
    }
}

enum Group {
    Assigned(Vec<Partition>),
    Revoked { lost: bool },
}

/// Whether a commit worked out. Only what a person must look at is an error: all else is restored.
fn refusal(outcome: Result<(), LogError>) -> Result<bool, LogError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(LogError::Passing(error)) => {
            tracing::warn!(target: "worker", "restoring after: {error}");
            Ok(false)
        }
        Err(refused) => Err(refused),
    }
}
