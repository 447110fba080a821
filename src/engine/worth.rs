//! What the cells of a slot are worth in points, and how that goes on by itself.

use super::{
    account::{NEVER, Tag},
    layout::SlotKind,
    numbers::{fade, time_to_fade},
};
use crate::model::{HalfLife, Model, Scoring, Signal, Span, Timestamp};

/// What the cells of a slot contribute to intent: the model's signal, laid out flat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Worth {
    Nothing,
    /// So many points for each unit of the cell's value, fading from the cell's time on.
    Fading {
        points: f64,
        cap: Option<f64>,
        half_life: HalfLife,
    },
    /// So many points for each value that lies within the window.
    Distinct {
        points: f64,
        cap: Option<f64>,
        within: Span,
    },
}

/// What a run is worth at a moment, and how long that description holds.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    pub points: f64,
    /// What of the points is fading: all of them, or none while they are held at their cap.
    pub fading: f64,
    /// Fading points per half-life in milliseconds.
    pub halving: f64,
    /// When a cap will no longer hold the points, or a value will leave its window, about.
    pub breaks_at: Timestamp,
}

impl Worth {
    /// What the cells of such a slot are worth under the model.
    pub fn of(kind: SlotKind, model: &Model) -> Self {
        match kind {
            SlotKind::Sum(signal) | SlotKind::Level(signal) => {
                let Signal { points, cap, ref scoring, .. } = *model.signal(signal);
                match *scoring {
                    Scoring::Additive { half_life } | Scoring::Level { half_life, .. } => {
                        Self::Fading { points, cap, half_life }
                    }
                    Scoring::Distinct { .. } => Self::Nothing,
                }
            }
            SlotKind::Seen { set, .. } => {
                let counted = model.distinct_set(set);
                let Signal { points, cap, ref scoring, .. } = *model.signal(counted.signal);
                // A rule may count another field of the signal's events than the signal itself does.
                let is_scored = matches!(*scoring, Scoring::Distinct { set: scored } if scored == set);
                if is_scored { Self::Distinct { points, cap, within: counted.within } } else { Self::Nothing }
            }
            SlotKind::Facts
            | SlotKind::Standing
            | SlotKind::Member(_)
            | SlotKind::Gained(_)
            | SlotKind::Times { .. } => Self::Nothing,
        }
    }

    /// Points of a run of cells at `at`, which none of its events is later than.
    pub fn points(&self, run: &[u64], at: Timestamp) -> f64 {
        match *self {
            Self::Nothing => 0.0,
            Self::Fading { points, cap, half_life } => capped(cap, faded(points, half_life, run, at)),
            Self::Distinct { points, cap, within } => capped(cap, points * f64::from(seen(run, within, at))),
        }
    }

    /// How many distinct values count at `at`.
    pub fn values(&self, run: &[u64], at: Timestamp) -> u32 {
        if let Self::Distinct { within, .. } = *self { seen(run, within, at) } else { 0 }
    }

    /// [`Self::points`], and how they go on.
    pub fn trend(&self, run: &[u64], at: Timestamp) -> Trend {
        match *self {
            Self::Nothing => Trend { points: 0.0, fading: 0.0, halving: 0.0, breaks_at: NEVER },
            Self::Fading { points, cap, half_life } => {
                let points = faded(points, half_life, run, at);
                match cap {
                    Some(cap) if points >= cap => {
                        let left = time_to_fade(points, cap, half_life).max(1);
                        let breaks_at = Timestamp::from_millis(at.millis().saturating_add(left));
                        Trend { points: cap, fading: 0.0, halving: 0.0, breaks_at }
                    }
                    _ => {
                        let halving = points / half_life.span().millis() as f64;
                        Trend { points, fading: points, halving, breaks_at: NEVER }
                    }
                }
            }
            Self::Distinct { points, cap, within } => {
                let values = seen(run, within, at);
                let oldest = values.checked_sub(1).map(|last| Tag(run[2 * last as usize]).time());
                let breaks_at = oldest.map_or(NEVER, |time| time + within);
                let points = capped(cap, points * f64::from(values));
                Trend { points, fading: 0.0, halving: 0.0, breaks_at }
            }
        }
    }
}

fn faded(points: f64, half_life: HalfLife, run: &[u64], at: Timestamp) -> f64 {
    points * f64::from_bits(run[1]) * fade(at - Tag(run[0]).time(), half_life)
}

fn seen(run: &[u64], within: Span, at: Timestamp) -> u32 {
    run.iter().step_by(2).take_while(|&&word| at < Tag(word).time() + within).count() as u32
}

fn capped(cap: Option<f64>, points: f64) -> f64 {
    cap.map_or(points, |cap| points.min(cap))
}
