//! The time that timers fire up to, per partition.

use std::time::Duration;

use crate::{
    log::InputId,
    model::{Span, Timestamp},
};

/// Where the runtime gets the time from. A simulation brings its own.
pub trait Clock: Send {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Time that never jumps, from an arbitrary start; paces commits.
    fn monotonic(&self) -> Duration;
    /// How long until the wall clock shows `time`.
    fn until(&self, time: Timestamp) -> Duration {
        Duration::from_millis((time - self.wall()).max(0) as u64)
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(std::time::Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How far ahead of the others a topic may run before it is paused.
const LEAD: Span = Span::seconds(60);

/// The clock of one partition. It never runs back. While there is backlog it follows the records;
/// at the head of the log it follows the wall clock, in both cases `grace` behind.
#[derive(Clone, Debug)]
pub struct PartitionClock {
    grace: Span,
    now: Timestamp,
    inputs: Vec<InputClock>,
}

#[derive(Clone, Copy, Debug)]
struct InputClock {
    highest: Timestamp,
    at_end: bool,
}

impl PartitionClock {
    /// A clock that has seen nothing of its inputs yet.
    pub fn new(inputs: usize, grace: Span) -> Self {
        let unseen = InputClock { highest: Timestamp::MIN, at_end: false };
        Self { grace, now: Timestamp::MIN, inputs: vec![unseen; inputs] }
    }

    /// A record of the input came by.
    pub fn observe(&mut self, input: InputId, recorded: Timestamp) {
        let clock = &mut self.inputs[usize::from(input.0)];
        clock.highest = clock.highest.max(recorded);
        clock.at_end = false;
    }

    /// The end of the input was reached.
    pub fn reach_end(&mut self, input: InputId) {
        self.inputs[usize::from(input.0)].at_end = true;
    }

    /// It is not known any more whether the input is at its end.
    pub fn lose_sight(&mut self, input: InputId) {
        self.inputs[usize::from(input.0)].at_end = false;
    }

    /// Whether nothing is left to read of the input.
    pub fn is_at_end(&self, input: InputId) -> bool {
        self.inputs[usize::from(input.0)].at_end
    }

    /// Whether nothing is left to read.
    pub fn at_head(&self) -> bool {
        self.inputs.iter().all(|input| input.at_end)
    }

    fn slowest(&self) -> Option<Timestamp> {
        self.inputs.iter().filter(|input| !input.at_end).map(|input| input.highest).min()
    }

    /// Moves on as far as the records and the wall clock allow, and says where it stands.
    pub fn advance(&mut self, wall: Timestamp) -> Timestamp {
        let target = self.slowest().unwrap_or(wall);
        self.now = self.now.max(target.back(self.grace));
        self.now
    }

    /// Where it stands.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether this input runs so far ahead of one with backlog that it must wait.
    pub fn runs_ahead(&self, input: InputId) -> bool {
        let ahead = self.inputs[usize::from(input.0)];
        !ahead.at_end && self.slowest().is_some_and(|slowest| ahead.highest.back(LEAD) > slowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn backlog_holds_the_clock_and_the_head_lets_it_go() {
        let (events, accounts) = (InputId(0), InputId(1));
        let mut clock = PartitionClock::new(2, Span::seconds(5));
        assert_eq!(clock.advance(at(1_000_000)), Timestamp::MIN, "nothing is known of either input");
        clock.observe(events, at(100));
        clock.reach_end(accounts);
        assert_eq!(clock.advance(at(1_000_000)), at(95), "an input without backlog does not hold it");
        clock.observe(events, at(90));
        assert_eq!(clock.advance(at(1_000_000)), at(95), "it never runs back");
        clock.observe(accounts, at(40));
        assert_eq!(clock.advance(at(1_000_000)), at(95));
        clock.observe(events, at(200));
        assert!(clock.runs_ahead(events) && !clock.runs_ahead(accounts));
        clock.reach_end(accounts);
        clock.reach_end(events);
        assert!(clock.at_head() && !clock.runs_ahead(events));
        assert_eq!(clock.advance(at(1_000)), at(995));
    }
}
