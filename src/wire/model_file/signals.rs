//! Signals and the sets of distinct values that they and the rules count.

use std::sync::Arc;

use serde_saphyr::Spanned;

use super::{
    checks::{self, Names},
    compile::Compiler,
    raw::RawSignal,
};
use crate::{
    model::{DistinctId, DistinctSet, HalfLife, Model, Scoring, Signal, SignalId, Span},
    wire::yaml::{Place, Problem, suggest},
};

const NO_NEGATIVE_POINTS: &str = "a score that rises by itself as a deduction fades cannot be put on a timer: \
                                  use `suppress` for accounts, or `ignore` for events";

impl Compiler {
    /// Compiles a signal and adds it to the list.
    pub fn add_signal(&mut self, raw: &RawSignal, names: &mut Names) -> Result<(), Problem> {
        let name = names.add(&raw.name)?;
        let matcher = self.event_keys.matcher(&raw.matching)?;
        let points = checks::amount(&raw.points, &format!("points of `{name}`"), NO_NEGATIVE_POINTS)?;
        let cap = raw.cap.as_ref().map(|cap| checks::amount(cap, &format!("cap of `{name}`"), "")).transpose()?;
        let scoring = match (&raw.level, &raw.distinct) {
            (Some(_), Some(distinct)) => {
                let problem = Problem::new(Place::of(distinct), format!("`{name}` has both `level` and `distinct`"));
                return Err(problem.help("keep one; write a second signal for the other"));
            }
            (None, Some(field)) => self.distinct_scoring(raw, field, cap.map(|cap| cap / points))?,
            (Some(field), None) => {
                Scoring::Level { field: self.event_keys.id(field)?, half_life: half_life(raw, &name)? }
            }
            (None, None) => Scoring::Additive { half_life: half_life(raw, &name)? },
        };
        self.signals.push(Signal { name, matcher, points, cap, scoring });
        Ok(())
    }

    /// The scoring of the signal that is about to be added. `values` is how many distinct values
    /// reach its cap: more need not be kept.
    fn distinct_scoring(
        &mut self,
        raw: &RawSignal,
        field: &Spanned<String>,
        values: Option<f64>,
    ) -> Result<Scoring, Problem> {
        let name = &raw.name.value;
        if let Some(half_life) = &raw.half_life {
            let problem = Problem::new(Place::of(half_life), format!("distinct signal `{name}` has a half-life"));
            return Err(problem.help("remove it: a value counts in full until `within` has passed since it was seen"));
        }
        let Some(within) = &raw.within else {
            let problem = Problem::new(Place::of(field), format!("distinct signal `{name}` has no window"));
            return Err(problem.help("add `within: 14d`: how long a value counts after it was last seen"));
        };
        let Some((values, cap)) = values.zip(raw.cap.as_ref()) else {
            let problem = Problem::new(Place::of(&raw.name), format!("distinct signal `{name}` has no cap"));
            return Err(problem.help("add `cap`: cap / points is how many values an account keeps"));
        };
        // A cap that is a whole multiple of the points must not keep one more by a rounding error.
        let keep = (values - 1e-9).ceil();
        if keep > f64::from(Model::MAX_COUNT) {
            let message =
                format!("the cap of `{name}` takes {keep} distinct values; the limit is {}", Model::MAX_COUNT);
            return Err(Problem::new(Place::of(cap), message).help("lower the cap or raise the points"));
        }
        let signal = SignalId(self.signals.len() as u8);
        let within = checks::positive_span(within, "the window")?;
        self.distinct_set(signal, field, within, keep as u32).map(|set| Scoring::Distinct { set })
    }

    /// The set of a signal's values of a field, keeping at least the `keep` newest.
    pub fn distinct_set(
        &mut self,
        signal: SignalId,
        field: &Spanned<String>,
        within: Span,
        keep: u32,
    ) -> Result<DistinctId, Problem> {
        let key = self.event_keys.id(field)?;
        let keep = u16::try_from(keep).unwrap_or(u16::MAX);
        let known = self.distinct_sets.iter().position(|set| set.signal == signal && set.field == key);
        let index = known.unwrap_or(self.distinct_sets.len());
        match known {
            Some(index) => {
                let set = &mut self.distinct_sets[index];
                set.keep = set.keep.max(keep);
            }
            None if index == Model::MAX_DISTINCT_SETS => {
                let message = format!("more than {} sets of distinct values", Model::MAX_DISTINCT_SETS);
                let problem = Problem::new(Place::of(field), message);
                return Err(problem.help("each pair of a signal and a field that is counted makes one set"));
            }
            None => {
                let field_name = field.value.as_str().into();
                self.distinct_sets.push(DistinctSet { signal, field: key, field_name, within, keep });
            }
        }
        Ok(DistinctId(index as u8))
    }

    /// The id of a signal that a rule names.
    pub fn signal_named(&self, name: &Spanned<String>) -> Result<SignalId, Problem> {
        let index = self.signals.iter().position(|signal| *signal.name == *name.value);
        index.map(|index| SignalId(index as u8)).ok_or_else(|| {
            let known = self.signals.iter().map(|signal| &*signal.name);
            Problem::new(Place::of(name), format!("there is no signal `{}`", name.value)).help(suggest(
                &name.value,
                known,
                "signals",
            ))
        })
    }
}

/// The half-life of an additive or level signal, which has no window of its own.
fn half_life(raw: &RawSignal, name: &Arc<str>) -> Result<HalfLife, Problem> {
    if let Some(within) = &raw.within {
        let problem = Problem::new(Place::of(within), format!("`within` of `{name}` has no meaning here"));
        return Err(problem.help("it belongs to a `distinct` signal or to a rule that counts; a score fades instead"));
    }
    let Some(raw) = &raw.half_life else {
        let problem = Problem::new(Place::of(&raw.name), format!("signal `{name}` has no half-life"));
        return Err(problem.help("add `half_life: 14d`: the time in which its points fade to half"));
    };
    let span = checks::positive_span(raw, "the half-life")?;
    HalfLife::new(span).ok_or_else(|| Problem::new(Place::of(raw), "the half-life is zero"))
}
