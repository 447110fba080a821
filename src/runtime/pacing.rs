//! When the next commit is due.

use std::time::Duration;

use super::WorkerSettings;

/// So many least intervals lie between the commits of a worker that has been behind for long: its changes are late
/// anyway, and every commit costs the broker, and the worker itself, time in which to catch up.
const APART_AT_MOST: u32 = 8;

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
    /// The time from one such turn to the next, all in all, halved by each other turn: also while there is a backlog, one
    /// finds now and then that the client has not fetched enough.
    behind_for: Duration,
    /// When the last turn was over.
    turned: Duration,
}

impl Pacing {
    /// Pacing from now on, with nothing to commit.
    pub fn new(now: Duration) -> Self {
        Self { began: now, waiting_since: None, behind: false, behind_for: Duration::ZERO, turned: now }
    }

    /// A turn that is over now took so many records, and ends of inputs, of so many that one may.
    pub fn took(&mut self, delivered: usize, most: usize, now: Duration) {
        let is_behind = delivered >= most;
        if !is_behind {
            self.behind_for /= 2;
        } else if self.behind {
            self.behind_for += now.saturating_sub(self.turned);
        }
        (self.behind, self.turned) = (is_behind, now);
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
    /// the least interval, or as long as the worker is behind, up to several of them: the few turns after a hiccup
    /// hold nothing back that has just become late. Else after the longest interval. Nothing if nothing waits.
    pub fn due_at(&self, has_changes: bool, settings: &WorkerSettings) -> Option<Duration> {
        let wait = if has_changes { Duration::ZERO } else { settings.commit_interval };
        let least = settings.commit_interval_min;
        let apart = self.behind_for.clamp(least, least * APART_AT_MOST).min(settings.commit_interval);
        Some((self.waiting_since? + wait).max(self.began + apart))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::model::settings, *};

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What a commit, and work that comes up after it, make due.
    fn due_after(began: u64, waiting_since: u64, has_changes: bool) -> Option<u128> {
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.wait(at(began));
        pacing.committed(at(began));
        pacing.wait(at(waiting_since));
        // Later work does not put it off.
        pacing.wait(at(waiting_since + 5));
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
    fn the_longer_a_worker_has_been_behind_the_longer_its_changes_wait_for_more_to_come_with_them() {
        for (behind_for, other_turns, apart, story) in [
            (10, 0, 25, "a hiccup"),
            (60, 0, 60, "60 ms"),
            (60, 1, 30, "a turn found less than one may take: half of them"),
            (60, 2, 25, "and another one: it has caught up, and the change has waited for long enough"),
            (200, 0, 200, "eight least intervals"),
            (5_000, 0, 200, "they are the most"),
            (5_000, 1, 200, "a backlog of seconds is not gone because the client had not fetched enough"),
        ] {
            let mut pacing = Pacing::new(at(0));
            for turned in [1_000, 1_000 + behind_for / 2, 1_000 + behind_for] {
                pacing.took(4096, 4096, at(turned));
            }
            assert!(pacing.is_behind());
            for turn in 1..=other_turns {
                pacing.took(4095, 4096, at(1_000 + behind_for + turn));
                assert!(!pacing.is_behind());
            }
            pacing.committed(at(7_000));
            pacing.wait(at(7_007));
            assert_eq!(pacing.due_at(true, &settings(0)), Some(at(7_000 + apart)), "{story}");
        }
    }

    #[test]
    fn a_worker_that_is_behind_commits_after_the_longest_interval_at_the_latest() {
        let settings = WorkerSettings { commit_interval: at(60), ..settings(0) };
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.took(1, 1, at(0));
        pacing.took(1, 1, at(5_000));
        pacing.wait(at(10));
        for (has_changes, expected) in [(true, 60), (false, 70)] {
            assert_eq!(pacing.due_at(has_changes, &settings), Some(at(expected)));
        }
    }

    #[test]
    fn nothing_is_due_while_nothing_waits() {
        let mut pacing = Pacing::new(Duration::ZERO);
        let due = |pacing: &Pacing| pacing.due_at(true, &settings(0));
        assert_eq!(due(&pacing), None);
        pacing.wait(at(10));
        pacing.forget();
        assert_eq!(due(&pacing), None);
        pacing.wait(at(50));
        pacing.committed(at(60));
        assert_eq!(due(&pacing), None);
    }
}
