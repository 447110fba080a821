//! What a worker counts between two commits beside the engine's own counts: plain numbers, exported
//! only once they are committed.

use std::collections::BTreeMap;

use crate::model::Timestamp;

/// One in so many events is sampled for freshness; the first after a commit always is.
const SAMPLE_EVERY: u64 = 64;

/// Counts since the last commit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Pages of state written.
    pub pages: u64,
    /// Bytes of the pages written.
    pub page_bytes: u64,
    ignored: BTreeMap<&'static str, u64>,
    dead_letters: BTreeMap<&'static str, u64>,
    dead_events: u64,
    dead_attributes: u64,
    timed: u64,
    sample: Vec<Timestamp>,
}

impl Tally {
    /// An event touched nothing.
    pub fn ignore(&mut self, reason: &'static str) {
        *self.ignored.entry(reason).or_default() += 1;
    }

    /// An event record went to the dead letters.
    pub fn dead_letter_event(&mut self, reason: &'static str) {
        self.dead_events += 1;
        *self.dead_letters.entry(reason).or_default() += 1;
    }

    /// An attribute record went to the dead letters.
    pub fn dead_letter_attributes(&mut self, reason: &'static str) {
        self.dead_attributes += 1;
        *self.dead_letters.entry(reason).or_default() += 1;
    }

    /// An event of this time was applied; some are sampled for freshness.
    pub fn applied(&mut self, event_time: Timestamp) {
        if self.timed.is_multiple_of(SAMPLE_EVERY) {
            self.sample.push(event_time);
        }
        self.timed += 1;
    }

    /// Ignored events by reason.
    pub fn ignored(&self) -> &BTreeMap<&'static str, u64> {
        &self.ignored
    }

    /// Dead letters by reason, attribute records included.
    pub fn dead_letters(&self) -> &BTreeMap<&'static str, u64> {
        &self.dead_letters
    }

    /// Dead letters that were events.
    pub fn dead_events(&self) -> u64 {
        self.dead_events
    }

    /// Dead letters that were attribute records.
    pub fn dead_attributes(&self) -> u64 {
        self.dead_attributes
    }

    /// Times of the sampled events.
    pub fn sample(&self) -> &[Timestamp] {
        &self.sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_of_both_kinds_share_their_reasons() {
        let mut tally = Tally::default();
        tally.dead_letter_event("malformed");
        tally.dead_letter_attributes("malformed");
        assert_eq!(tally.dead_letters()["malformed"], 2);
        assert_eq!((tally.dead_events(), tally.dead_attributes()), (1, 1));
    }

    #[test]
    fn the_first_event_is_sampled_and_then_one_in_sixty_four() {
        let mut tally = Tally::default();
        for millis in 0..130 {
            tally.applied(Timestamp::from_millis(millis));
        }
        assert_eq!(tally.sample(), [0, 64, 128].map(Timestamp::from_millis));
    }
}
