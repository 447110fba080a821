//! Contributions, intent and fit.

use std::sync::Arc;

use super::{
    account::{Account, NEVER, Tag},
    crossing::falls_below,
    layout::{Layout, Slot, SlotKind},
    numbers::{FADED_POINTS, reaches, time_to_fade},
    worth::Worth,
};
use crate::model::{Facts, FitScore, Model, Reason, Scoring, Signal, SignalId, Timestamp};

/// Longest list of reasons that a change carries.
const REASONS: usize = 5;

/// Points that show as more than nothing.
const LEAST_SHOWN: f64 = 5e-7;

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
        self.scores().fold(0.0, |points, (worth, run)| points + worth.points(run, at))
    }

    /// Contribution of one signal at `at`.
    pub fn contribution(&self, signal: SignalId, at: Timestamp) -> f64 {
        let (worth, run) = self.score(signal);
        if run.is_empty() { 0.0 } else { worth.points(run, at) }
    }

    /// What scores, in the order in which it is summed up.
    fn scores(&self) -> impl Iterator<Item = (&'a Worth, &'a [u64])> + Clone + use<'a> {
        let layout = self.layout;
        self.account.scores(layout).map(|(slot, run)| (layout.worth(slot), run))
    }

    fn score(&self, signal: SignalId) -> (&'a Worth, &'a [u64]) {
        let slot = self.layout.score(signal);
        (self.layout.worth(slot), self.account.run(self.layout, slot))
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
        self.fit_by(self.facts())
    }

    /// The same, for facts as they were read.
    pub fn fit_by(&self, facts: Facts) -> Option<FitScore> {
        if facts.known == 0 {
            return None;
        }
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
            points if !reaches(grades.a, points) => 'A',
            points if reaches(points, grades.b) => 'B',
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
        let runs = self.account.scores(self.layout);
        let mut reasons: Vec<Reason> = runs.filter_map(|(slot, run)| self.reason(slot, run, at)).collect();
        reasons.sort_by(|a, b| b.points.total_cmp(&a.points).then_with(|| a.signal.cmp(&b.signal)));
        reasons
    }

    fn reason(&self, slot: Slot, run: &[u64], at: Timestamp) -> Option<Reason> {
        let worth = self.layout.worth(slot);
        let (signal, count) = match self.layout.kind(slot) {
            SlotKind::Sum(signal) | SlotKind::Level(signal) => (signal, Tag(run[0]).count() as u32),
            SlotKind::Seen { set, .. } => (self.model.distinct_set(set).signal, worth.values(run, at)),
            _ => return None,
        };
        let points = worth.points(run, at);
        (points >= LEAST_SHOWN).then(|| Reason {
            signal: self.model.signal(signal).name.clone(),
            points,
            count,
            last_seen: Tag(run[0]).time(),
        })
    }

    /// The first whole millisecond after `from` at which intent no longer reaches `mark`, given
    /// that it does at `from` and nothing happens.
    pub fn intent_falls_below(&self, mark: f64, from: Timestamp) -> Timestamp {
        falls_below(mark, from, self.scores())
    }

    /// The same for the contribution of one signal.
    pub fn score_falls_below(&self, signal: SignalId, mark: f64, from: Timestamp) -> Timestamp {
        falls_below(mark, from, std::iter::once(self.score(signal)))
    }
}

/// When nothing that the account holds can matter any more, or [`NEVER`] while it stands somewhere
/// or has known attributes.
pub fn faded_at(reading: &Reading<'_>) -> Timestamp {
    if reading.account.stands(reading.layout) || reading.facts() != Facts::default() {
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
    ends.max().unwrap_or(Timestamp::MIN).max(reading.account.settled())
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
