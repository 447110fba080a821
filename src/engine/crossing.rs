//! The first whole millisecond at which a falling score misses a mark.

use super::{
    account::NEVER,
    numbers::{halvings, least_reaching, reaches},
    worth::{Trend, Worth},
};
use crate::model::Timestamp;

/// The first whole millisecond after `from` at which the sum of the runs no longer reaches `mark`,
/// given that it does at `from` and nothing happens; [`NEVER`] if there is none.
///
/// The score is what is held (at a cap, or by values within their window) and what is fading. Between
/// two breaks, where a cap lets go or a value leaves its window, the logarithm of what is fading is
/// convex, so that a step along its tangent never passes the crossing; where all fades at one pace, it
/// leads there at once. A step that would pass a break stops there.
///
/// The score never rises from one millisecond to the next, rounding included, since each part falls by
/// more than an ulp or not at all: there is one crossing, and the outcome does not depend on the steps.
pub fn falls_below<'a>(
    mark: f64,
    from: Timestamp,
    runs: impl Iterator<Item = (&'a Worth, &'a [u64])> + Clone,
) -> Timestamp {
    let least = least_reaching(mark);
    let mut reached = Probe::new(runs.clone(), from);
    let mut missed = NEVER;
    let mut misses = 0;
    while missed - reached.at > 1 {
        if missed == NEVER && reached.is_final() {
            return NEVER;
        }
        let (first, last) = (reached.at.millis() + 1, missed.millis() - 1);
        let guess = match misses {
            // A miss is due to rounding, or to a break right there: the millisecond before tells.
            0 | 1 => reached.guess(least).millis().clamp(first, last),
            _ => first + (last - first) / 2,
        };
        let probe = Probe::new(runs.clone(), Timestamp::from_millis(guess));
        if reaches(probe.points, mark) {
            (reached, misses) = (probe, 0);
        } else {
            (missed, misses) = (probe.at, misses + 1);
        }
    }
    missed
}

/// A score at one moment, and how it goes on.
struct Probe {
    at: Timestamp,
    points: f64,
    fading: f64,
    halving: f64,
    breaks_at: Timestamp,
}

impl Probe {
    fn new<'a>(runs: impl Iterator<Item = (&'a Worth, &'a [u64])>, at: Timestamp) -> Self {
        let nothing = Self { at, points: 0.0, fading: 0.0, halving: 0.0, breaks_at: NEVER };
        runs.fold(nothing, |sum, (worth, run)| {
            let Trend { points, fading, halving, breaks_at } = worth.trend(run, at);
            Self {
                at,
                points: sum.points + points,
                fading: sum.fading + fading,
                halving: sum.halving + halving,
                breaks_at: sum.breaks_at.min(breaks_at),
            }
        })
    }

    /// A moment that the score crosses `least` at or after, as far as can be seen from here.
    fn guess(&self, least: f64) -> Timestamp {
        let held = self.points - self.fading;
        let share = least - held;
        if share <= 0.0 || self.halving <= 0.0 {
            return self.breaks_at;
        }
        let left = halvings(self.fading, share) * self.fading / self.halving;
        Timestamp::from_millis(self.at.millis().saturating_add(left as i64)).min(self.breaks_at)
    }

    /// Whether nothing falls any more.
    fn is_final(&self) -> bool {
        self.halving <= 0.0 && self.breaks_at == NEVER
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        engine::{account::Tag, layout::Slot},
        model::{HalfLife, LEAST_MARK, Span},
    };

    const NOW: i64 = 1_795_000_000_000;
    const DAY: i64 = 86_400_000;

    fn tag(age_ms: i64) -> u64 {
        Tag::new(Slot(0), 1, Timestamp::from_millis(NOW - age_ms)).0
    }

    fn fading() -> impl Strategy<Value = (Worth, Vec<u64>)> {
        let half_life = prop_oneof![1000..100 * DAY, Just(DAY)];
        let parts = (0.01..50.0, prop::option::of(0.5..60.0), half_life, 0..30 * DAY, 0.1..40.0);
        parts.prop_map(|(points, cap, half_life, age, sum): (f64, _, _, _, f64)| {
            let half_life = HalfLife::new(Span::from_millis(half_life).unwrap()).unwrap();
            (Worth::Fading { points, cap, half_life }, vec![tag(age), sum.to_bits()])
        })
    }

    fn distinct() -> impl Strategy<Value = (Worth, Vec<u64>)> {
        let ages = prop::collection::btree_set(0..30 * DAY, 0..12);
        (0.5..5.0, prop::option::of(1.0..20.0), 1..30 * DAY, ages).prop_map(
            |(points, cap, within, ages): (f64, _, _, _)| {
                let run = ages.into_iter().flat_map(|age| [tag(age), age as u64]).collect();
                (Worth::Distinct { points, cap, within: Span::from_millis(within).unwrap() }, run)
            },
        )
    }

    proptest! {
        #[test]
        fn a_score_reaches_its_mark_until_the_millisecond_of_the_crossing(
            runs in prop::collection::vec(prop_oneof![3 => fading(), 1 => distinct()], 1..8),
            share in prop_oneof![0.0..1.0f64, 1e-9..1e-6, Just(1.0)],
        ) {
            let runs = || runs.iter().map(|(worth, run)| (worth, run.as_slice()));
            let points = |at| runs().fold(0.0, |points, (worth, run)| points + worth.points(run, at));
            let from = Timestamp::from_millis(NOW);
            let mark = (points(from) * share).max(LEAST_MARK);
            prop_assume!(reaches(points(from), mark));
            let missed = falls_below(mark, from, runs());
            prop_assert!(missed > from && missed < NEVER);
            let before = Timestamp::from_millis(missed.millis() - 1);
            prop_assert!(reaches(points(before), mark), "{} at {before:?}, the mark is {mark}", points(before));
            prop_assert!(!reaches(points(missed), mark), "{} at {missed:?}, the mark is {mark}", points(missed));
        }
    }
}
