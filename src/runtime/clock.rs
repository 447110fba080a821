//! The time that timers fire up to, per partition.

use std::time::Duration;

use crate::{
    drill::{self, Rule},
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
/// For how long the end of an input, once reached, is taken for its end: half of the grace, but at
/// least and at most this.
const SIGHT_LASTS: (Span, Span) = (Span::from_millis(100).unwrap(), Span::seconds(1));

/// The clock of one partition. It never runs back. While there is backlog it follows the records;
/// at the head of the log it follows the wall clock for as long as the head is in sight; in both cases
/// `grace` behind.
#[derive(Clone, Debug)]
pub struct PartitionClock {
    grace: Span,
    now: Timestamp,
    inputs: Vec<InputClock>,
}

#[derive(Clone, Copy, Debug)]
struct InputClock {
    /// The latest record.
    highest: Timestamp,
    /// When nothing was left to read, by the wall clock; nothing while something is.
    end_seen: Option<Timestamp>,
    /// Since when what is left is held back by a transaction that is open.
    undecided_since: Option<Timestamp>,
}

fn sight_lasts(grace: Span) -> Span {
    grace.half().clamp(SIGHT_LASTS.0, SIGHT_LASTS.1)
}

/// How late an event may reach the log so that what is published is a function of the log alone: after that, the
/// clock may have let happen what the event would have put off.
pub fn in_time_within(grace: Span) -> Span {
    Span::from_millis(grace.millis() - sight_lasts(grace).millis()).unwrap_or(Span::ZERO)
}

impl PartitionClock {
    /// A clock that has seen nothing of its inputs yet.
    pub fn new(inputs: usize, grace: Span) -> Self {
        let unseen = InputClock { highest: Timestamp::MIN, end_seen: None, undecided_since: None };
        Self { grace, now: Timestamp::MIN, inputs: vec![unseen; inputs] }
    }

    /// A record of the input came by.
    pub fn observe(&mut self, input: InputId, recorded: Timestamp) {
        let clock = &mut self.inputs[usize::from(input.0)];
        *clock = InputClock { highest: clock.highest.max(recorded), end_seen: None, undecided_since: None };
    }

    /// Nothing was left to read of the input when the wall clock showed `wall`.
    pub fn reach_end(&mut self, input: InputId, wall: Timestamp) {
        let clock = &mut self.inputs[usize::from(input.0)];
        clock.end_seen = clock.end_seen.max(Some(wall));
        clock.undecided_since = None;
    }

    /// What is left to read of the input was held back by an open transaction when the wall clock showed `wall`.
    pub fn await_decision(&mut self, input: InputId, wall: Timestamp) {
        let clock = &mut self.inputs[usize::from(input.0)];
        (clock.end_seen, clock.undecided_since) = (None, clock.undecided_since.or(Some(wall)));
    }

    /// Since when an open transaction holds back what is left to read of the input, if one does.
    pub fn undecided_since(&self, input: InputId) -> Option<Timestamp> {
        self.inputs[usize::from(input.0)].undecided_since
    }

    /// It is not known any more whether the input is at its end.
    pub fn lose_sight(&mut self, input: InputId) {
        self.inputs[usize::from(input.0)].end_seen = None;
    }

    /// When nothing was left to read of the input, unless something is.
    pub fn end_seen(&self, input: InputId) -> Option<Timestamp> {
        self.inputs[usize::from(input.0)].end_seen
    }

    /// For how long the end of an input is taken for its end. A record that reaches the log after that is
    /// younger than all that the clock has let happen.
    pub fn sight_lasts(&self) -> Span {
        sight_lasts(self.grace)
    }

    /// Whether it moves on with the wall clock: nothing is left to read, and that was seen lately.
    pub fn follows(&self, wall: Timestamp) -> bool {
        self.inputs.iter().all(|input| input.end_seen.is_some_and(|seen| seen + self.sight_lasts() >= wall))
    }

    fn slowest(&self) -> Option<Timestamp> {
        self.inputs.iter().filter(|input| input.end_seen.is_none()).map(|input| input.highest).min()
    }

    /// Moves on as far as the records, the ends in sight, and the wall clock allow, and says where it
    /// stands.
    pub fn advance(&mut self, wall: Timestamp) -> Timestamp {
        let ends = self.inputs.iter().filter_map(|input| input.end_seen);
        let ends = ends.filter(|_| !drill::breaks(Rule::StopOutOfSight));
        let in_sight = ends.map(|seen| self.in_sight(seen));
        self.now = self.now.max(in_sight.fold(self.outlook(wall), Timestamp::min));
        self.now
    }

    /// How far an end that was seen then lets it move on.
    fn in_sight(&self, seen: Timestamp) -> Timestamp {
        (seen + self.sight_lasts()).back(self.grace)
    }

    /// Whether it stands still because the input's end is out of sight.
    pub fn is_held_by(&self, input: InputId, wall: Timestamp) -> bool {
        self.end_seen(input).is_some_and(|seen| self.in_sight(seen) < self.outlook(wall))
    }

    /// How far it would move on if every end that was reached still were the end.
    pub fn outlook(&self, wall: Timestamp) -> Timestamp {
        self.slowest().unwrap_or(wall).back(self.grace)
    }

    /// Where a clock stands that has seen nothing later than a record of this time.
    pub fn behind(&self, recorded: Timestamp) -> Timestamp {
        recorded.back(self.grace)
    }

    /// Where it stands.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether this input runs so far ahead of one with backlog that it must wait.
    pub fn runs_ahead(&self, input: InputId) -> bool {
        let ahead = self.inputs[usize::from(input.0)];
        // What a transaction holds back comes no sooner if others wait.
        let backlog = self.inputs.iter().filter(|input| input.end_seen.is_none() && input.undecided_since.is_none());
        let slowest = backlog.map(|input| input.highest).min();
        ahead.end_seen.is_none() && slowest.is_some_and(|slowest| ahead.highest.back(LEAD) > slowest)
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
        assert_eq!(clock.advance(at(1_000)), Timestamp::MIN, "nothing is known of either input");
        clock.observe(events, at(100));
        clock.reach_end(accounts, at(1_000));
        assert_eq!(clock.advance(at(1_000)), at(95), "an input without backlog does not hold it");
        clock.observe(events, at(90));
        assert_eq!(clock.advance(at(1_000)), at(95), "it never runs back");
        clock.observe(accounts, at(40));
        assert_eq!(clock.advance(at(1_000)), at(95));
        clock.observe(events, at(200));
        assert!(clock.runs_ahead(events) && !clock.runs_ahead(accounts));
        clock.reach_end(accounts, at(1_000));
        clock.reach_end(events, at(1_000));
        assert!(clock.follows(at(1_001)) && !clock.follows(at(1_002)) && !clock.runs_ahead(events));
        assert_eq!(clock.advance(at(1_000)), at(995));
    }

    #[test]
    fn the_clock_stands_still_when_an_end_is_out_of_sight() {
        let (events, accounts) = (InputId(0), InputId(1));
        let mut clock = PartitionClock::new(2, Span::seconds(5));
        clock.reach_end(events, at(100));
        clock.reach_end(accounts, at(100));
        assert_eq!(clock.advance(at(101)), at(96), "for a second the end is taken for the end");
        assert_eq!((clock.advance(at(500)), clock.outlook(at(500))), (at(96), at(495)));
        clock.reach_end(events, at(500));
        assert_eq!(clock.advance(at(500)), at(96), "the other input may hold what is younger");
        clock.observe(events, at(300));
        assert_eq!((clock.advance(at(500)), clock.outlook(at(500))), (at(96), at(295)));
        assert!(clock.is_held_by(accounts, at(500)) && !clock.is_held_by(events, at(500)));
        clock.reach_end(accounts, at(500));
        clock.reach_end(accounts, at(100));
        assert_eq!(clock.advance(at(500)), at(295), "what was found earlier may be told later");
        assert!(!clock.is_held_by(accounts, at(900)), "records hold it, and the end is seen beyond them");
        clock.reach_end(events, at(500));
        assert_eq!(clock.advance(at(400)), at(395), "nor does it run ahead of the wall clock");
    }

    #[test]
    fn an_open_transaction_holds_the_clock_but_not_the_other_inputs() {
        let (events, accounts) = (InputId(0), InputId(1));
        let mut clock = PartitionClock::new(2, Span::seconds(5));
        clock.observe(events, at(100));
        clock.await_decision(events, at(120));
        clock.await_decision(events, at(140));
        assert_eq!(clock.undecided_since(events), Some(at(120)));
        clock.observe(accounts, at(900));
        assert!(!clock.runs_ahead(accounts), "reading it is no help to what is held back");
        clock.reach_end(accounts, at(1_000));
        assert_eq!(clock.advance(at(1_000)), at(95));
        clock.observe(events, at(101));
        assert_eq!(clock.undecided_since(events), None);
        clock.observe(accounts, at(900));
        assert!(clock.runs_ahead(accounts));
    }

    #[test]
    fn an_end_lasts_for_half_of_the_grace_within_bounds() {
        let lasts = |grace| PartitionClock::new(1, grace).sight_lasts().millis();
        let graces = [Span::ZERO, Span::seconds(1), Span::seconds(5), Span::days(1)];
        assert_eq!(graces.map(lasts), [100, 500, 1_000, 1_000]);
        let in_time = graces.map(|grace| in_time_within(grace).millis());
        assert_eq!(in_time, [0, 500, 4_000, Span::days(1).millis() - 1_000]);
    }
}
