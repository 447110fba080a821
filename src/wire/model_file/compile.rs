//! From the raw file to a checked model.

use std::sync::Arc;

use super::{
    checks::{self, Names},
    digest::digest,
    matches::{FactTable, KeyTable},
    raw::{RawBand, RawCriterion, RawFit, RawGrades, RawModel, RawSegment, RawTier},
};
use crate::{
    model::{
        Band, Criterion, DistinctSet, Fit, Grades, Model, ModelId, ModelParts, Segment, Signal, Span, Suppression, Tier,
    },
    wire::yaml::{Place, Problem},
};

/// What is compiled so far: later parts of the file refer to earlier ones.
#[derive(Debug, Default)]
pub struct Compiler {
    pub event_keys: KeyTable,
    pub attributes: FactTable,
    pub signals: Vec<Signal>,
    pub distinct_sets: Vec<DistinctSet>,
    pub segments: Vec<Segment>,
    /// How many more nodes the rule under way may have.
    pub nodes_left: usize,
}

/// Compiles a model. The first problem in the order of the file's parts ends it.
pub fn compile(raw: RawModel) -> Result<Model, Problem> {
    let mut compiler = Compiler { event_keys: KeyTable::of_events(), ..Compiler::default() };
    let start = Place::of(&raw.model);
    let (name, version) = (checks::name(&raw.model, "model")?, raw.version.value);
    let ignore = raw.ignore.iter().map(|ignore| compiler.event_keys.matcher(&ignore.matching));
    let ignore = ignore.collect::<Result<_, _>>()?;
    compiler.add_signals(&raw)?;
    let fit = raw.fit.as_ref().map(|fit| compiler.fit(fit)).transpose()?.unwrap_or_default();
    compiler.add_segments(raw.segments)?;
    let tiers = compiler.tiers(&raw.tiers)?;
    let mut names = Names::new("suppression", Model::MAX_FACTS);
    let suppress = raw.suppress.iter().map(|suppression| {
        let name = names.add(&suppression.name)?;
        Ok(Suppression { name, fact: compiler.attributes.fact(&suppression.matching)? })
    });
    let suppress = suppress.collect::<Result<_, Problem>>()?;
    let (attribute_keys, facts) = compiler.attributes.into_parts();
    let mut parts = ModelParts {
        id: ModelId { name, version, digest: Arc::default() },
        event_keys: compiler.event_keys.into_keys(),
        attribute_keys,
        ignore,
        signals: compiler.signals,
        distinct_sets: compiler.distinct_sets,
        facts,
        fit,
        tiers,
        segments: compiler.segments,
        suppress,
    };
    parts.id.digest = digest(&parts);
    // What the model checks itself has been checked above with its place; this is the safety net.
    Model::new(parts).map_err(|error| Problem::new(start, error.to_string()))
}

impl Compiler {
    fn add_signals(&mut self, raw: &RawModel) -> Result<(), Problem> {
        if raw.signals.value.is_empty() {
            let problem = Problem::new(Place::of(&raw.signals), "there are no signals");
            return Err(problem.help("name at least one: without signals no account has any intent"));
        }
        let mut names = Names::new("signal", Model::MAX_SIGNALS);
        raw.signals.value.iter().try_for_each(|signal| self.add_signal(signal, &mut names))
    }

    fn fit(&mut self, RawFit { criteria, grades }: &RawFit) -> Result<Fit, Problem> {
        let mut names = Names::new("criterion", Model::MAX_FACTS);
        let mut sum = 0.0;
        let criteria = criteria.value.iter().map(|RawCriterion { name, points, matching }| {
            let name = names.add(name)?;
            let worth = checks::amount(points, &format!("points of `{name}`"), "")?;
            sum += worth;
            if sum > 100.0 + 1e-9 {
                let problem = Problem::new(Place::of(points), format!("with `{name}` the scorecard has {sum} points"));
                return Err(problem.help("fit goes from 0 to 100: lower some criteria"));
            }
            Ok(Criterion { name, points: worth, fact: self.attributes.fact(matching)? })
        });
        let criteria = criteria.collect::<Result<_, Problem>>()?;
        Ok(Fit { criteria, grades: grades.as_ref().map(grades_of).transpose()? })
    }

    fn add_segments(&mut self, raw: Vec<RawSegment>) -> Result<(), Problem> {
        let mut names = Names::new("segment", Model::MAX_SEGMENTS);
        for segment in raw {
            let (name, action, rule) = segment.split();
            let place = Place::of(&name);
            let name = names.add(&name)?;
            let Some(action) = action else {
                let problem = Problem::new(place, format!("segment `{name}` has no action"));
                return Err(problem.help("add `action: sales-alert`: a segment that nothing acts on is noise"));
            };
            let action = checks::name(&action, "action")?;
            let rule = self.rule(&rule, place)?;
            self.segments.push(Segment { name, action, rule });
        }
        Ok(())
    }

    fn tiers(&mut self, raw: &[RawTier]) -> Result<Vec<Tier>, Problem> {
        let mut names = Names::new("tier", Model::MAX_TIERS);
        let mut tiers: Vec<Tier> = Vec::new();
        for raw in raw {
            let tier = self.tier(raw, &mut names)?;
            check_order(&tiers, &tier, raw)?;
            tiers.push(tier);
        }
        Ok(tiers)
    }

    fn tier(&mut self, raw: &RawTier, names: &mut Names) -> Result<Tier, Problem> {
        let name = names.add(&raw.name)?;
        if raw.intent.is_none() && raw.fit.is_none() && raw.segment.is_none() && raw.when.is_none() {
            let problem = Problem::new(Place::of(&raw.name), format!("tier `{name}` has no condition"));
            return Err(problem.help("add `intent: { enter: 30, exit: 22 }`, `fit`, `segment` or `when`"));
        }
        Ok(Tier {
            intent: raw.intent.as_ref().map(|raw| band(raw, &name)).transpose()?,
            fit: raw.fit.as_ref().map(|raw| checks::fit(&raw.min, "the least fit")).transpose()?,
            rule: self.tier_rule(raw)?,
            min_dwell: raw.min_dwell.as_ref().map_or(Ok(Span::ZERO), checks::span)?,
            name,
        })
    }
}

fn grades_of(RawGrades { a, b }: &RawGrades) -> Result<Grades, Problem> {
    let grades = Grades { a: checks::fit(a, "grade A")?, b: checks::fit(b, "grade B")? };
    if grades.a < grades.b {
        let problem = Problem::new(Place::of(a), format!("grade A begins at {}, below B at {}", grades.a, grades.b));
        return Err(problem.help("above A's number is A, from B's to A's is B, below is C"));
    }
    Ok(grades)
}

fn band(RawBand { enter, exit }: &RawBand, tier: &str) -> Result<Band, Problem> {
    let enters = checks::amount(enter, &format!("enter of `{tier}`"), "")?;
    let exits = checks::amount(exit, &format!("exit of `{tier}`"), "intent never falls below 0: the tier would stay")?;
    Band::new(enters, exits).ok_or_else(|| {
        let problem =
            Problem::new(Place::of(exit), format!("exit {exits} of `{tier}` is not below its enter {enters}"));
        problem.help("the gap keeps an account at the mark from flapping; three quarters of enter is a good start")
    })
}

/// Tiers stand highest first, so none takes more intent than one above it.
fn check_order(above: &[Tier], tier: &Tier, raw: &RawTier) -> Result<(), Problem> {
    let (Some(band), Some(raw)) = (tier.intent, &raw.intent) else {
        return Ok(());
    };
    let easier = above.iter().find(|higher| higher.intent.is_some_and(|higher| higher.enter() < band.enter()));
    let Some(higher) = easier else {
        return Ok(());
    };
    let message = format!("tier `{}` takes {} points, more than `{}` above it", tier.name, band.enter(), higher.name);
    Err(Problem::new(Place::of(&raw.enter), message).help("tiers stand highest first: move it up, or lower its marks"))
}
