//! Which pages are stored when: all of every partition once per checkpoint interval.

use std::time::Duration;

use crate::{
    engine::{PAGES, PageId},
    log::Partition,
};

/// Pages of a partition that are stored together. Each partition that has a record in a transaction costs it a
/// request, one after the other, and a marker: a page at a time would make most transactions write to the
/// state topic.
const PAGES_AT_ONCE: usize = 8;

/// Walks all pages of all partitions once per checkpoint interval.
#[derive(Debug)]
pub struct Sweep {
    /// Steps taken, of as many as there are pages.
    taken: usize,
    began: Duration,
}

impl Sweep {
    /// A sweep that begins now; all times are of the worker's monotonic clock.
    pub fn new(now: Duration) -> Self {
        Self { taken: 0, began: now }
    }

    /// Goes a step further if its time has come; the next sweep begins when all are taken.
    pub fn step(&mut self, now: Duration, interval: Duration) -> bool {
        if self.taken == PAGES {
            *self = Self::new(now);
        }
        let interval = interval.max(Duration::from_millis(1));
        let share = now.saturating_sub(self.began).as_secs_f64() / interval.as_secs_f64();
        let is_due = share * PAGES as f64 >= (self.taken + 1) as f64;
        self.taken += usize::from(is_due);
        is_due
    }

    /// The pages of a partition whose turn has come with the last step: some at once, and in other steps than
    /// those of its neighbours.
    pub fn pages_of(&self, partition: Partition) -> impl Iterator<Item = PageId> + use<> {
        let end = self.taken + partition.0 as usize % PAGES_AT_ONCE;
        let pages = if end.is_multiple_of(PAGES_AT_ONCE) { end - PAGES_AT_ONCE..end } else { 0..0 };
        pages.map(|page| PageId(page as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_every_page_of_every_partition_once_and_seldom_two_partitions_at_once() {
        let second = Duration::from_secs(1);
        let mut sweep = Sweep::new(second);
        let mut taken = vec![Vec::new(); 11];
        assert!(!sweep.step(second, second), "it has just begun");
        for millis in 1_001..=2_000 {
            while sweep.step(Duration::from_millis(millis), second) {
                let pages = |partition: &i32| sweep.pages_of(Partition(*partition)).count() > 0;
                let first = (0..8).filter(pages).count();
                assert!(first <= 1, "a step for {first} of eight partitions");
                for (partition, taken) in (0..).zip(&mut taken) {
                    taken.extend(sweep.pages_of(Partition(partition)).map(|page| usize::from(page.0)));
                }
            }
        }
        for (partition, taken) in taken.into_iter().enumerate() {
            assert!(taken.into_iter().eq(0..PAGES), "partition {partition}");
        }
    }

    #[test]
    fn a_sweep_that_is_late_is_made_up_for_and_the_next_one_begins_then() {
        let at = Duration::from_secs;
        let mut sweep = Sweep::new(at(0));
        let mut steps = |now| (0..).take_while(|_| sweep.step(at(now), at(10))).count();
        assert_eq!(steps(5), PAGES / 2);
        assert_eq!(steps(5), 0);
        assert_eq!(steps(30), PAGES / 2);
        assert_eq!(steps(35), PAGES / 2, "the next one began at 30 s");
    }
}
