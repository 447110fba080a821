//! When the next commit is due.

use std::time::Duration;

use super::WorkerSettings;

/// So many least intervals lie between the commits of a worker that is behind: its changes are late
/// anyway, and every commit costs the broker, and the worker itself, time in which to catch up.
const BEHIND: u32 = 8;

/// Paces the commits of one worker; all times are of its monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// When the last commit began. The least interval counts from there, and not from its end: what a
    /// commit takes would come on top of the delay of every change.
    began: Duration,
    /// When the oldest uncommitted work came up.
    waiting_since: Option<Duration>,
    /// The last turn took as much as one may.
    behind: bool,
}

impl Pacing {
    /// Pacing from now on, with nothing to commit.
    pub fn new(now: Duration) -> Self {
        Self { began: now, waiting_since: None, behind: false }
    }

    /// A turn took so many records, and ends of inputs, of so many that one may.
    pub fn took(&mut self, delivered: usize, most: usize) {
        self.behind = delivered >= most;
    }

    /// Whether more records lie ready, as far as the last turn has shown.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// There is something to commit.
    pub fn wait(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
    }

    /// A commit that began then has succeeded: nothing waits any more.
    pub fn committed(&mut self, began: Duration) {
        (self.began, self.waiting_since) = (began, None);
    }

    /// What waited is dropped.
    pub fn forget(&mut self) {
        self.waiting_since = None;
    }

    /// When what waits is to be committed: at once when there is a change in it, but not more often than
    /// the least interval, or several of them while the worker is behind; else after the longest interval.
    /// Nothing if nothing waits.
    pub fn due_at(&self, has_changes: bool, settings: &WorkerSettings) -> Option<Duration> {
        let wait = if has_changes { Duration::ZERO } else { settings.commit_interval };
        let apart = settings.commit_interval_min * if self.behind { BEHIND } else { 1 };
        Some((self.waiting_since? + wait).max(self.began + apart.min(settings.commit_interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::model::settings, *};

    /// What a commit, and work that comes up after it, make due.
    fn due_after(began: u64, waiting_since: u64, has_changes: bool) -> Option<u128> {
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.wait(Duration::from_millis(began));
        pacing.committed(Duration::from_millis(began));
        pacing.wait(Duration::from_millis(waiting_since));
        // Later work does not put it off.
        pacing.wait(Duration::from_millis(waiting_since + 5));
        pacing.due_at(has_changes, &settings(0)).map(|due| due.as_millis())
    }

    #[test]
    fn a_change_waits_for_the_least_interval_from_the_beginning_of_the_last_commit() {
        // A commit began at 100 ms. The least interval is 25 ms, the longest a second.
        assert_eq!(due_after(100, 107, true), Some(125), "the commit took 7 ms, and the change came at its end");
        assert_eq!(due_after(100, 120, true), Some(125));
        assert_eq!(due_after(100, 140, true), Some(140), "it took 40 ms: the change has waited for long enough");
        assert_eq!(due_after(100, 300, true), Some(300), "nothing holds back a lone change");
        assert_eq!(due_after(100, 107, false), Some(1107), "progress alone is in no hurry");
    }

    #[test]
    fn changes_of_a_worker_that_is_behind_wait_for_more_to_come_with_them() {
        let settings = settings(0);
        let due = |pacing: &Pacing| pacing.due_at(true, &settings).map(|due| due.as_millis());
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.took(4096, 4096);
        pacing.committed(Duration::from_millis(100));
        pacing.wait(Duration::from_millis(107));
        assert_eq!(due(&pacing), Some(300), "eight times 25 ms after the last commit began");
        assert!(pacing.is_behind());
        pacing.took(4095, 4096);
        assert!(!pacing.is_behind());
        assert_eq!(due(&pacing), Some(125), "it has caught up: the changes have waited for long enough");
    }

    #[test]
    fn a_worker_that_is_behind_commits_after_the_longest_interval_at_the_latest() {
        let settings = WorkerSettings { commit_interval: Duration::from_millis(60), ..settings(0) };
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.took(1, 1);
        pacing.wait(Duration::from_millis(10));
        for has_changes in [true, false] {
            let due = pacing.due_at(has_changes, &settings).map(|due| due.as_millis());
            assert_eq!(due, Some(if has_changes { 60 } else { 70 }));
        }
    }

    #[test]
    fn nothing_is_due_while_nothing_waits() {
        let mut pacing = Pacing::new(Duration::ZERO);
        assert_eq!(pacing.due_at(false, &settings(0)), None);
        pacing.wait(Duration::from_millis(10));
        pacing.forget();
        assert_eq!(pacing.due_at(true, &settings(0)), None);
        pacing.wait(Duration::from_millis(50));
        pacing.committed(Duration::from_millis(60));
        assert_eq!(pacing.due_at(true, &settings(0)), None);
    }
}
