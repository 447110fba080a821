//! Contributions, intent, fit, and when a score falls below a mark.

use std::sync::Arc;

use super::{
    account::{Account, NEVER, Tag},
    layout::{Layout, Slot, SlotKind},
    numbers::{FADED_POINTS, fade, reaches, time_to_fade},
};
use crate::model::{DistinctId, Facts, FitScore, Model, Reason, Scoring, Signal, SignalId, Timestamp};

/// Longest list of reasons that a change carries.
const REASONS: usize = 5;

/// Points that no reported level is taken to exceed: until that much would have faded, a small new
/// level must be remembered, since a late older one could stand in its place.
const LARGEST_LEVEL: f64 = 1e6;

/// One account under one model: reads, never writes.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub model: &'a Model,
    pub layout: &'a Layout,
    pub account: &'a Account,
}

impl<'a> Reading<'a> {
    /// Intent in points at `at`, which no event of the account is later than.
    pub fn intent(&self, at: Timestamp) -> f64 {
        // Not `sum()`: it begins at -0.0, and that is what an account without points would show.
        self.account.runs(self.layout).fold(0.0, |points, (slot, run)| points + self.run_points(slot, run, at))
    }

    /// Contribution of one signal at `at`.
    pub fn contribution(&self, signal: SignalId, at: Timestamp) -> f64 {
        let slot = self.layout.score(signal);
        let run = self.account.run(self.layout, slot);
        if run.is_empty() { 0.0 } else { self.run_points(slot, run, at) }
    }

    fn run_points(&self, slot: Slot, run: &[u64], at: Timestamp) -> f64 {
        match self.layout.kind(slot) {
            SlotKind::Sum(signal) | SlotKind::Level(signal) => {
                let signal = self.model.signal(signal);
                capped(signal, uncapped_points(signal, run, at))
            }
            SlotKind::Seen { set, .. } => match self.distinct_signal(set) {
                Some(signal) => capped(signal, signal.points * f64::from(self.seen_within(set, run, at))),
                None => 0.0,
            },
            SlotKind::Facts
            | SlotKind::Standing
            | SlotKind::Member(_)
            | SlotKind::Gained(_)
            | SlotKind::Times { .. } => 0.0,
        }
    }

    fn distinct_signal(&self, set: DistinctId) -> Option<&'a Signal> {
        let signal = self.model.signal(self.model.distinct_set(set).signal);
        matches!(signal.scoring, Scoring::Distinct { set: scored } if scored == set).then_some(signal)
    }

    fn seen_within(&self, set: DistinctId, run: &[u64], at: Timestamp) -> u32 {
        let within = self.model.distinct_set(set).within;
        run.iter().step_by(2).take_while(|&&word| at < Tag(word).time() + within).count() as u32
    }

    /// What is known from attributes.
    pub fn facts(&self) -> Facts {
        match self.account.run(self.layout, Layout::FACTS) {
            [_, known, holds] => Facts { known: *known, holds: *holds },
            _ => Facts::default(),
        }
    }

    /// The scorecard's verdict, or nothing while no criterion can be decided.
    pub fn fit(&self) -> Option<FitScore> {
        let facts = self.facts();
        let (mut points, mut coverage) = (0.0, 0.0);
        for criterion in &self.model.fit().criteria {
            let bit = 1u64 << criterion.fact.0;
            if facts.known & bit != 0 {
                coverage += criterion.points;
            }
            if facts.holds & bit != 0 {
                points += criterion.points;
            }
        }
        let grade = self.model.fit().grades.map(|grades| match points {
            points if points > grades.a => 'A',
            points if points >= grades.b => 'B',
            _ => 'C',
        });
        (coverage > 0.0).then_some(FitScore { points, coverage, grade })
    }

    /// The signals that count most at `at`, highest first.
    pub fn reasons(&self, at: Timestamp) -> Arc<[Reason]> {
        let mut reasons = self.contributions(at);
        reasons.truncate(REASONS);
        reasons.into()
    }

    /// All signals that contribute at `at`, highest first.
    pub fn contributions(&self, at: Timestamp) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Vec::new();
        for (slot, run) in self.account.runs(self.layout) {
            let (signal, count) = match self.layout.kind(slot) {
                SlotKind::Sum(signal) => (self.model.signal(signal), Tag(run[0]).count() as u32),
                SlotKind::Level(signal) => (self.model.signal(signal), Tag(run[0]).count() as u32),
                SlotKind::Seen { set, .. } => match self.distinct_signal(set) {
                    Some(signal) => (signal, self.seen_within(set, run, at)),
                    None => continue,
                },
                _ => continue,
            };
            let points = self.run_points(slot, run, at);
            if points >= 5e-7 {
                reasons.push(Reason { signal: signal.name.clone(), points, count, last_seen: Tag(run[0]).time() });
            }
        }
        reasons.sort_by(|a, b| b.points.total_cmp(&a.points).then_with(|| a.signal.cmp(&b.signal)));
        reasons
    }

    /// The first whole millisecond after `from` at which intent no longer reaches `mark`, given
    /// that it does at `from` and nothing happens.
    pub fn intent_falls_below(&self, mark: f64, from: Timestamp) -> Timestamp {
        self.falls_below(mark, from, self.account.runs(self.layout))
    }

    /// The same for the contribution of one signal.
    pub fn score_falls_below(&self, signal: SignalId, mark: f64, from: Timestamp) -> Timestamp {
        let slot = self.layout.score(signal);
        self.falls_below(mark, from, std::iter::once((slot, self.account.run(self.layout, slot))))
    }

    fn falls_below(
        &self,
        mark: f64,
        from: Timestamp,
        runs: impl Iterator<Item = (Slot, &'a [u64])> + Clone,
    ) -> Timestamp {
        let points = |at| runs.clone().map(|(slot, run)| self.run_points(slot, run, at)).sum::<f64>();
        let slope = |at| runs.clone().map(|(slot, run)| self.run_slope(slot, run, at)).sum::<f64>();
        let uncapped = runs.clone().map(|(slot, run)| self.run_uncapped(slot, run, from)).sum::<f64>();
        let end = runs.clone().map(|(slot, run)| self.run_end(slot, run, from, uncapped / mark)).max();
        let mut search = Search { reached: from, missed: end.unwrap_or(from) };
        // The bound is computed in floating point: widen it should rounding have left it short.
        let mut widen = 1;
        while reaches(points(search.missed), mark) || search.missed <= from {
            search.missed = Timestamp::from_millis(search.missed.max(from).millis().saturating_add(widen));
            widen *= 2;
        }
        search.run(mark, points, slope)
    }

    /// Points lost per millisecond by what is fading (not held at its cap) at `at`.
    fn run_slope(&self, slot: Slot, run: &[u64], at: Timestamp) -> f64 {
        let (SlotKind::Sum(signal) | SlotKind::Level(signal)) = self.layout.kind(slot) else { return 0.0 };
        let signal = self.model.signal(signal);
        let (Scoring::Additive { half_life } | Scoring::Level { half_life, .. }) = signal.scoring else { return 0.0 };
        let points = uncapped_points(signal, run, at);
        let at_cap = signal.cap.is_some_and(|cap| points >= cap);
        if at_cap { 0.0 } else { points * std::f64::consts::LN_2 / half_life.span().millis() as f64 }
    }

    /// Points of what fades, without caps.
    fn run_uncapped(&self, slot: Slot, run: &[u64], at: Timestamp) -> f64 {
        let (SlotKind::Sum(signal) | SlotKind::Level(signal)) = self.layout.kind(slot) else { return 0.0 };
        uncapped_points(self.model.signal(signal), run, at)
    }

    /// A moment by which all runs together lie below a mark as far as this one is concerned: what
    /// fades sums up to `share` marks at `from` and fades at least as fast as the slowest.
    fn run_end(&self, slot: Slot, run: &[u64], from: Timestamp, share: f64) -> Timestamp {
        match self.layout.kind(slot) {
            SlotKind::Sum(signal) | SlotKind::Level(signal) => match self.model.signal(signal).scoring {
                Scoring::Additive { half_life } | Scoring::Level { half_life, .. } => {
                    let millis = time_to_fade(share.max(1.0), 1.0, half_life);
                    Timestamp::from_millis(from.millis().saturating_add(millis))
                }
                Scoring::Distinct { .. } => from,
            },
            SlotKind::Seen { set, .. } => Tag(run[0]).time() + self.model.distinct_set(set).within,
            _ => from,
        }
    }
}

fn uncapped_points(signal: &Signal, run: &[u64], at: Timestamp) -> f64 {
    match signal.scoring {
        Scoring::Additive { half_life } | Scoring::Level { half_life, .. } => {
            signal.points * f64::from_bits(run[1]) * fade(at - Tag(run[0]).time(), half_life)
        }
        Scoring::Distinct { .. } => 0.0,
    }
}

fn capped(signal: &Signal, points: f64) -> f64 {
    signal.cap.map_or(points, |cap| points.min(cap))
}

/// A bracket around the first millisecond at which a falling score misses a mark.
struct Search {
    reached: Timestamp,
    missed: Timestamp,
}

impl Search {
    /// Newton steps from the left, which never overshoot on a sum of decays (it is convex), guarded
    /// by bisection for caps and window ends, where it is not.
    fn run(mut self, mark: f64, points: impl Fn(Timestamp) -> f64, slope: impl Fn(Timestamp) -> f64) -> Timestamp {
        let mut bisect = false;
        while self.missed - self.reached > 1 {
            let width = self.missed - self.reached;
            let at = if bisect { None } else { self.newton(mark, &points, &slope) };
            let at = at.unwrap_or(Timestamp::from_millis(self.reached.millis() + width / 2));
            if reaches(points(at), mark) {
                self.reached = at;
            } else {
                self.missed = at;
            }
            bisect = !bisect && self.missed - self.reached > width / 2;
        }
        self.missed
    }

    fn newton(
        &self,
        mark: f64,
        points: impl Fn(Timestamp) -> f64,
        slope: impl Fn(Timestamp) -> f64,
    ) -> Option<Timestamp> {
        let step = ((points(self.reached) - mark) / slope(self.reached)).floor();
        let width = self.missed - self.reached;
        // Step at least one millisecond and stay inside; a flat start (all at their caps) gives no step.
        let inside = step.is_finite() && step < width as f64;
        inside.then(|| Timestamp::from_millis(self.reached.millis() + (step as i64).clamp(1, width - 1)))
    }
}

/// When nothing that the account holds can matter any more, or [`NEVER`] while it stands somewhere
/// or has known attributes.
pub fn faded_at(reading: &Reading<'_>) -> Timestamp {
    if reading.account.stands() || reading.facts() != Facts::default() {
        return NEVER;
    }
    let ends = reading.account.runs(reading.layout).map(|(slot, run)| match reading.layout.kind(slot) {
        SlotKind::Sum(signal) => fading_end(reading.model.signal(signal), run, 0.0),
        SlotKind::Level(signal) => fading_end(reading.model.signal(signal), run, LARGEST_LEVEL),
        SlotKind::Times { .. } | SlotKind::Seen { .. } => Tag(run[0]).time() + reading.layout.window(slot),
        // A sequence begins again from the time, which must have passed the last one.
        SlotKind::Standing => Timestamp::from_millis((run[1] as i64).saturating_add(1)),
        SlotKind::Facts | SlotKind::Member(_) | SlotKind::Gained(_) => Timestamp::MIN,
    });
    ends.max().unwrap_or(Timestamp::MIN).max(reading.account.settled)
}

/// When the run, taken for at least so many points, has faded to nothing.
fn fading_end(signal: &Signal, run: &[u64], at_least: f64) -> Timestamp {
    let (Scoring::Additive { half_life } | Scoring::Level { half_life, .. }) = signal.scoring else {
        return Timestamp::MIN;
    };
    let points = (signal.points * f64::from_bits(run[1])).max(at_least);
    let left = if points > 0.0 { time_to_fade(points, FADED_POINTS, half_life) } else { 0 };
    Timestamp::from_millis(Tag(run[0]).time().millis().saturating_add(left))
}
