//! Warnings: a model that is legal, but probably not what was meant.

use super::raw::{RawModel, RawSignal, RawTier};
use crate::wire::yaml::{Place, Problem};

/// More segments than people keep apart in their heads.
const MANY_SEGMENTS: usize = 8;

/// All warnings about a file that compiles.
pub fn lint(raw: &RawModel) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if raw.tests.is_empty() {
        let warning = Problem::new(Place::of(&raw.model), "the model has no tests");
        warnings.push(warning.help("add `tests:` with events and the tiers that they should lead to"));
    }
    if raw.tiers.is_empty() && raw.segments.is_empty() {
        let warning = Problem::new(Place::of(&raw.model), "the model has neither tiers nor segments");
        warnings.push(warning.help("nothing will ever be published"));
    }
    if let Some(extra) = raw.segments.get(MANY_SEGMENTS) {
        let message = format!("{} segments: more than {MANY_SEGMENTS} are seldom acted on", raw.segments.len());
        warnings.push(Problem::new(Place::of(&extra.name), message).help("merge or drop some"));
    }
    warnings.extend(raw.signals.value.iter().filter_map(low_cap));
    warnings.extend(scorecard_sum(raw));
    warnings.extend(out_of_reach(raw));
    warnings.extend(fit_out_of_reach(raw));
    warnings.extend(raw.tiers.windows(2).filter_map(|pair| skipped_rung(&pair[0], &pair[1])));
    warnings
}

fn low_cap(RawSignal { name, points, cap, level, .. }: &RawSignal) -> Option<Problem> {
    // The points of a level are per unit: a cap below one unit is as good as any.
    let cap = cap.as_ref().filter(|cap| level.is_none() && cap.value < points.value)?;
    let message =
        format!("the cap {} of `{}` is below the {} points of one event", cap.value, name.value, points.value);
    Some(Problem::new(Place::of(cap), message).help("raise the cap, or lower the points to it"))
}

fn scorecard_sum(raw: &RawModel) -> Option<Problem> {
    let criteria = &raw.fit.as_ref()?.criteria;
    let sum: f64 = criteria.value.iter().map(|criterion| criterion.points.value).sum();
    let warning = || Problem::new(Place::of(criteria), format!("the criteria add up to {sum} of 100 points"));
    ((sum - 100.0).abs() > 1e-9).then(|| warning().help("thresholds and grades are read as shares of 100"))
}

/// Tiers and grades cannot be reached when every signal is capped and the caps add up to less.
fn out_of_reach(raw: &RawModel) -> impl Iterator<Item = Problem> {
    let caps = raw.signals.value.iter().map(|signal| signal.cap.as_ref().map(|cap| cap.value));
    let most = caps.sum::<Option<f64>>().unwrap_or(f64::INFINITY);
    let bands = raw.tiers.iter().filter_map(|tier| tier.intent.as_ref());
    bands.filter(move |band| band.enter.value > most).map(move |band| {
        let message = format!("intent can never reach {}: all caps add up to {most}", band.enter.value);
        Problem::new(Place::of(&band.enter), message).help("raise caps or lower the mark")
    })
}

fn fit_out_of_reach(raw: &RawModel) -> impl Iterator<Item = Problem> {
    let criteria = raw.fit.iter().flat_map(|fit| &fit.criteria.value);
    let most: f64 = criteria.map(|criterion| criterion.points.value).sum();
    let least = raw.tiers.iter().filter_map(|tier| tier.fit.as_ref());
    least.filter(move |least| least.min.value > most || most == 0.0).map(move |least| {
        let message = format!("fit can never reach {}: the criteria add up to {most}", least.min.value);
        Problem::new(Place::of(&least.min), message).help("add criteria under `fit`, or drop the condition")
    })
}

/// A fall from the higher tier would pass the lower one by.
fn skipped_rung(higher: &RawTier, lower: &RawTier) -> Option<Problem> {
    let (above, below) = (higher.intent.as_ref()?, lower.intent.as_ref()?);
    let message = || {
        let (higher, lower) = (&higher.name.value, &lower.name.value);
        format!("exit of `{lower}` is above the exit of `{higher}`: a fall from `{higher}` passes it by")
    };
    let skipped = below.exit.value > above.exit.value;
    skipped.then(|| Problem::new(Place::of(&below.exit), message()).help("lower it, or raise the exit above it"))
}
