//! What the group assigns to a worker: taken up, restored one after the other, given back.

use std::time::Duration;

use super::{
    super::{
        clock::Clock,
        partition::{Owned, Start},
        restore::{self, Restore},
    },
    Worker, refusal,
};
use crate::{
    log::{InputId, InputKind, Log, LogError, Partition},
    view::Phase,
};

/// How long a slice of a restore takes while other partitions are live, and while none is.
const RESTORE_SLICE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// Between two attempts to take partitions up again after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A partition whose tables are to be read.
pub(super) struct Taken<R> {
    partition: Partition,
    start: Start,
    restore: Option<Restore<R>>,
}

impl<L: Log, C: Clock> Worker<L, C> {
    /// Goes on with partitions that it has had, and begins to restore the others.
    pub(super) fn take_up(&mut self, partitions: Vec<Partition>) -> Result<(), LogError> {
        tracing::info!(target: "worker", partitions = ?numbers(&partitions), "assigned");
        self.untaken = Some((partitions.clone(), self.clock.monotonic()));
        let starts = restore::plan(&mut self.log, &self.settings, &partitions)?;
        self.restores.clear();
        self.publisher.assigned(&partitions);
        let mut kept = std::mem::take(&mut self.kept);
        for (partition, start) in partitions.iter().copied().zip(starts) {
            match kept.remove(&partition).filter(|owned| owned.is_still(&start)) {
                Some(mut owned) => {
                    for input in self.settings.inputs.ids() {
                        owned.clock.lose_sight(input);
                    }
                    self.publisher.live(&owned);
                    self.partitions.insert(partition, owned);
                }
                None => self.begin_restore(partition, start),
            }
        }
        self.seek()?;
        self.untaken = None;
        Ok(())
    }

    fn begin_restore(&mut self, partition: Partition, start: Start) {
        let inputs = self.settings.inputs.clone();
        let owned = Owned::new(partition, self.model.clone(), self.settings.grace, inputs, start.clone());
        self.partitions.insert(partition, owned);
        self.restores.push_back(Taken { partition, start, restore: None });
    }

    /// Points the log at the positions of all partitions and lets those deliver that may.
    pub(super) fn seek(&mut self) -> Result<(), LogError> {
        let wall = self.clock.wall();
        self.partitions.values_mut().for_each(|owned| owned.sought(wall));
        let at: Vec<_> = self.partitions.values().flat_map(Owned::positions).collect();
        self.log.start(&at)?;
        self.paused.clear();
        let running: Vec<_> = self.partitions.values().filter(|owned| owned.phase != Phase::Restoring).collect();
        let deliver: Vec<_> = running.into_iter().flat_map(delivering).collect();
        self.log.resume(&deliver)
    }

    /// Commits what is decided, unless another member may have the partitions already.
    pub(super) fn give_back(&mut self, lost: bool) -> Result<(), LogError> {
        tracing::info!(target: "worker", partitions = ?numbers(self.partitions.keys()), lost, "given back");
        self.untaken = None;
        self.restores.clear();
        let committed = !lost && refusal(self.commit())?;
        self.publisher.dropped();
        let owned = std::mem::take(&mut self.partitions);
        self.kept = owned.into_iter().filter(|(_, owned)| committed && owned.phase == Phase::Live).collect();
        self.forget_uncommitted();
        self.log.release()
    }

    /// Memory may be ahead of the log: restore everything.
    pub(super) fn start_over(&mut self, reason: &str) {
        tracing::warn!(target: "worker", partitions = ?numbers(self.partitions.keys()), "restoring after: {reason}");
        // An assignment of nothing that was not taken up is to be taken up like any other.
        let again: Option<Vec<_>> = match &self.untaken {
            Some((partitions, _)) => Some(partitions.clone()),
            None => Some(self.partitions.keys().copied().collect()).filter(|owned: &Vec<_>| !owned.is_empty()),
        };
        self.publisher.dropped();
        self.partitions.clear();
        self.kept.clear();
        self.restores.clear();
        self.forget_uncommitted();
        self.untaken = again.map(|again| (again, self.clock.monotonic() + RETRY_AFTER));
    }

    fn forget_uncommitted(&mut self) {
        self.pages.clear();
        self.pacing.forget();
    }

    /// Takes up what could not be taken up, once it is time.
    pub(super) fn retry(&mut self) -> Result<(), LogError> {
        match &self.untaken {
            Some((partitions, at)) if *at <= self.clock.monotonic() => self.take_up(partitions.clone()),
            _ => Ok(()),
        }
    }

    /// Reads some more of the tables, and lets those go live that have caught up.
    pub(super) fn restore(&mut self) -> Result<(), LogError> {
        self.read_tables()?;
        let caught_up = self.partitions.values().filter(|owned| owned.is_caught_up());
        for partition in caught_up.map(|owned| owned.partition).collect::<Vec<_>>() {
            self.go_live(partition)?;
        }
        Ok(())
    }

    /// One partition's tables are read at a time: memory is bounded, and the first is live early.
    fn read_tables(&mut self) -> Result<(), LogError> {
        let Some(mut taken) = self.restores.pop_front() else { return Ok(()) };
        let outcome = self.read_slice(&mut taken).and_then(|complete| {
            if complete {
                self.finish_tables(&taken)?;
            }
            Ok(complete)
        });
        match outcome {
            Ok(true) => {}
            Ok(false) => self.restores.push_front(taken),
            Err(LogError::Refused(why)) => return Err(self.verify(&taken, why)),
            Err(passing) => return Err(passing),
        }
        Ok(())
    }

    /// Tables that contradict what the group has committed are for a person only if nobody has committed
    /// since: while this worker waited for the broker, the partition may have become another's, who went on
    /// with it.
    fn verify(&mut self, taken: &Taken<L::Reader>, contradiction: String) -> LogError {
        match restore::plan(&mut self.log, &self.settings, &[taken.partition]) {
            // Every commit has a name of its own in the metadata.
            Ok(now) if now.first().is_some_and(|now| now.metadata == taken.start.metadata) => {
                LogError::Refused(contradiction)
            }
            Ok(_) => LogError::Passing(format!("partition {} was another worker's meanwhile", taken.partition.0)),
            Err(error) => error,
        }
    }

    fn read_slice(&mut self, taken: &mut Taken<L::Reader>) -> Result<bool, LogError> {
        let others_run = self.partitions.len() > self.restores.len() + 1;
        let Some(owned) = self.partitions.get_mut(&taken.partition) else { return Ok(false) };
        let restore = match &mut taken.restore {
            Some(restore) => restore,
            none => {
                let reader = self.log.tables(taken.partition, taken.start.state_from())?;
                none.insert(Restore::new(reader, taken.start.checkpoint.is_none(), self.clock.monotonic()))
            }
        };
        restore.advance(owned, if others_run { RESTORE_SLICE.0 } else { RESTORE_SLICE.1 })
    }

    /// The tables are in: go on with the input, from where they leave off.
    fn finish_tables(&mut self, taken: &Taken<L::Reader>) -> Result<(), LogError> {
        let (Some(owned), Some(restore)) = (self.partitions.get_mut(&taken.partition), &taken.restore) else {
            return Ok(());
        };
        restore::check_pages(owned, taken.start.checkpoint.as_ref())?;
        let rereads = owned.model_changed() || restore.lacks_facts();
        let accounts = self.settings.inputs.ids().filter(|id| self.settings.inputs.kind(*id) == InputKind::Accounts);
        for input in accounts.filter(|_| rereads) {
            let start = self.log.bounds(input, taken.partition)?.start;
            owned.reread_attributes(input, start);
        }
        owned.catch_up();
        tracing::info!(target: "worker", partition = taken.partition.0, records = restore.records, "tables read");
        self.publisher.catching_up(owned.partition, restore.records, self.clock.monotonic() - restore.began);
        if rereads {
            return self.seek();
        }
        let deliver: Vec<_> = delivering(owned).collect();
        self.log.resume(&deliver)
    }

    fn go_live(&mut self, partition: Partition) -> Result<(), LogError> {
        let Some(owned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        owned.go_live();
        self.publisher.live(owned);
        owned.take_held(&mut self.intake, self.clock.wall());
        tracing::info!(target: "worker", partition = partition.0, accounts = owned.engine.len(), "live");
        let deliver: Vec<_> = delivering(owned).collect();
        self.paused.retain(|(_, held)| *held != partition);
        self.log.resume(&deliver)
    }
}

/// The inputs of a partition that may deliver records now.
fn delivering(owned: &Owned) -> impl Iterator<Item = (InputId, Partition)> + '_ {
    let waiting: Vec<InputId> = owned.waiting_inputs().collect();
    let inputs = owned.inputs().ids().filter(move |input| !waiting.contains(input));
    inputs.map(|input| (input, owned.partition))
}

fn numbers<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> Vec<i32> {
    partitions.into_iter().map(|partition| partition.0).collect()
}
