//! When the next commit is due.

use std::time::Duration;

use super::WorkerSettings;

/// Paces the commits of one worker; all times are of its monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// When the last commit began. The least interval counts from there, and not from its end: what a
    /// commit takes would come on top of the delay of every change.
    began: Duration,
    /// When the oldest uncommitted work came up.
    waiting_since: Option<Duration>,
}

impl Pacing {
    /// Pacing from now on, with nothing to commit.
    pub fn new(now: Duration) -> Self {
        Self { began: now, waiting_since: None }
    }

    /// There is something to commit.
    pub fn wait(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
    }

    /// A commit that began then has succeeded: nothing waits any more.
    pub fn committed(&mut self, began: Duration) {
        *self = Self::new(began);
    }

    /// What waited is dropped.
    pub fn forget(&mut self) {
        self.waiting_since = None;
    }

    /// When what waits is to be committed: at once when there is a change in it, but not more often than
    /// the least interval; else after the longest interval. Nothing if nothing waits.
    pub fn due_at(&self, has_changes: bool, settings: &WorkerSettings) -> Option<Duration> {
        let wait = if has_changes { Duration::ZERO } else { settings.commit_interval };
        Some((self.waiting_since? + wait).max(self.began + settings.commit_interval_min))
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
