//! The compiled model: signals, fit, ladder, segments, suppression.

use std::sync::Arc;

use super::{Field, HalfLife, Leaf, Matcher, Rule, Span, Truth};

/// Index of a signal in [`Model::signals`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SignalId(pub u8);
/// Index of a distinct set in [`Model::distinct_sets`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DistinctId(pub u8);
/// Index of a statement about attributes in [`Model::facts`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FactId(pub u8);
/// Index of a tier in [`Model::tiers`]; 0 is the highest.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TierId(pub u8);
/// Index of a segment in [`Model::segments`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentId(pub u8);

/// Names of record fields that the model reads, in the order of their [`super::KeyId`].
pub type Keys = Vec<Arc<str>>;

/// Name, version and digest: carried by every change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModelId {
    pub name: Arc<str>,
    pub version: u32,
    /// Hash of all that decides scores and changes (not of tests and comments).
    pub digest: Arc<str>,
}

/// How a signal contributes to intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Scoring {
    /// Points for each event, fading with the half-life.
    Additive { half_life: HalfLife },
    /// Points per unit of the newest reported level, fading with the half-life.
    Level { field: super::KeyId, half_life: HalfLife },
    /// Points per distinct value within the set's window.
    Distinct { set: DistinctId },
}

/// A named rule that events match.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    pub name: Arc<str>,
    pub matcher: Matcher,
    /// Finite, greater than zero.
    pub points: f64,
    /// The most that the signal can contribute; greater than zero.
    pub cap: Option<f64>,
    pub scoring: Scoring,
}

/// Distinct values of one field over the events of one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctSet {
    pub signal: SignalId,
    pub field: super::KeyId,
    /// The field's name, for state pages and explanations.
    pub field_name: Arc<str>,
    /// The window in which a value counts towards a distinct signal's points; rules bring their own.
    pub within: Span,
    /// How many of the newest values are kept: the most that any use of the set asks for.
    pub keep: u16,
}

/// A statement about an account's attributes that is true, false or unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Names the statement itself (its keys and tests), so that state survives a renamed criterion
    /// and does not survive a changed one.
    pub statement: Arc<str>,
    pub matcher: Matcher,
}

/// One criterion of the scorecard.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    pub name: Arc<str>,
    /// Finite, greater than zero.
    pub points: f64,
    pub fact: FactId,
}

/// Bounds of the grades: above `a` is A, from `b` to `a` is B, below is C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grades {
    pub a: f64,
    pub b: f64,
}

/// The scorecard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fit {
    pub criteria: Vec<Criterion>,
    pub grades: Option<Grades>,
}

/// The lowest mark in points. Scores are compared after rounding to 1e-9 points, so nothing would
/// ever lie below a lower one.
pub const LEAST_MARK: f64 = 1e-9;

/// The two marks of a tier, in points: `enter > exit >= LEAST_MARK`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    enter: f64,
    exit: f64,
}

impl Band {
    /// The band, if both marks are finite and `enter > exit >= LEAST_MARK`.
    pub fn new(enter: f64, exit: f64) -> Option<Self> {
        (enter.is_finite() && enter > exit && exit >= LEAST_MARK).then_some(Self { enter, exit })
    }
    /// Where the tier is gained.
    pub fn enter(self) -> f64 {
        self.enter
    }
    /// Where it is lost.
    pub fn exit(self) -> f64 {
        self.exit
    }
}

/// A rung of the ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    pub name: Arc<str>,
    pub intent: Option<Band>,
    /// The least fit; an account whose fit is unknown does not qualify.
    pub fit: Option<f64>,
    /// Conditions that gaining and staying share.
    pub rule: Option<Rule>,
    /// The tier is kept at least this long once gained.
    pub min_dwell: Span,
}

/// A named rule that any number of accounts may meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub name: Arc<str>,
    /// What acts on it.
    pub action: Arc<str>,
    pub rule: Rule,
}

/// Masks the tier and the segments of the accounts for which the fact holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Suppression {
    pub name: Arc<str>,
    pub fact: FactId,
}

/// All parts of a model, not yet checked against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParts {
    pub id: ModelId,
    pub event_keys: Keys,
    pub attribute_keys: Keys,
    pub ignore: Vec<Matcher>,
    pub signals: Vec<Signal>,
    pub distinct_sets: Vec<DistinctSet>,
    pub facts: Vec<Fact>,
    pub fit: Fit,
    pub tiers: Vec<Tier>,
    pub segments: Vec<Segment>,
    pub suppress: Vec<Suppression>,
}

/// A model whose parts agree: every id points into its list, every number is in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    parts: ModelParts,
    counted: Vec<u32>,
    monotone: bool,
}

/// Why parts do not make a model. The names are the model file's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    #[error("{list} has {count} entries; the limit is {limit}")]
    TooMany { list: &'static str, count: usize, limit: usize },
    #[error("`{name}` stands twice in {list}")]
    Twice { list: &'static str, name: Arc<str> },
    #[error("{what} of `{name}` is {value}; it must be greater than 0")]
    NotPositive { what: &'static str, name: Arc<str>, value: f64 },
    #[error("{what} of `{name}` is {value}; it must be at least {LEAST_MARK}, the precision of comparisons")]
    LowMark { what: &'static str, name: Arc<str>, value: f64 },
    #[error("a count in the rule of `{name}` is 0; it must be at least 1")]
    ZeroCount { name: Arc<str> },
    #[error("a window in `{name}` is 0")]
    ZeroWindow { name: Arc<str> },
    #[error("the count {count} in `{name}` is above {limit}, the most times that an account keeps per signal")]
    CountTooHigh { name: Arc<str>, count: u32, limit: u32 },
    #[error("`{name}` refers to an entry that does not exist")]
    Dangling { name: Arc<str> },
}

impl Model {
    /// The most signals.
    pub const MAX_SIGNALS: usize = 64;
    /// The most distinct sets.
    pub const MAX_DISTINCT_SETS: usize = 32;
    /// The most tiers.
    pub const MAX_TIERS: usize = 16;
    /// The most segments.
    pub const MAX_SEGMENTS: usize = 32;
    /// The most statements about attributes: one bit each in a word.
    pub const MAX_FACTS: usize = 64;
    /// The most times or distinct values that a rule may count.
    pub const MAX_COUNT: u32 = 1024;

    /// Checks the parts against each other.
    pub fn new(parts: ModelParts) -> Result<Self, ModelError> {
        check_sizes(&parts)?;
        check_names(&parts)?;
        check_numbers(&parts)?;
        for tier in &parts.tiers {
            if let Some(rule) = &tier.rule {
                check_rule(&parts, &tier.name, rule)?;
            }
        }
        for segment in &parts.segments {
            check_rule(&parts, &segment.name, &segment.rule)?;
        }
        let counted = counted(&parts);
        let monotone = !rules(&parts).any(Rule::has_not);
        Ok(Self { parts, counted, monotone })
    }

    /// Name, version and digest.
    pub fn id(&self) -> &ModelId {
        &self.parts.id
    }
    /// Names of the event fields that matchers read.
    pub fn event_keys(&self) -> &Keys {
        &self.parts.event_keys
    }
    /// Names of the account attributes that matchers read.
    pub fn attribute_keys(&self) -> &Keys {
        &self.parts.attribute_keys
    }
    /// Matchers of events that touch nothing.
    pub fn ignore(&self) -> &[Matcher] {
        &self.parts.ignore
    }
    /// All signals.
    pub fn signals(&self) -> &[Signal] {
        &self.parts.signals
    }
    /// One signal.
    pub fn signal(&self, id: SignalId) -> &Signal {
        &self.parts.signals[usize::from(id.0)]
    }
    /// All distinct sets.
    pub fn distinct_sets(&self) -> &[DistinctSet] {
        &self.parts.distinct_sets
    }
    /// One distinct set.
    pub fn distinct_set(&self, id: DistinctId) -> &DistinctSet {
        &self.parts.distinct_sets[usize::from(id.0)]
    }
    /// All statements about attributes.
    pub fn facts(&self) -> &[Fact] {
        &self.parts.facts
    }
    /// The scorecard.
    pub fn fit(&self) -> &Fit {
        &self.parts.fit
    }
    /// The ladder, highest first.
    pub fn tiers(&self) -> &[Tier] {
        &self.parts.tiers
    }
    /// All segments.
    pub fn segments(&self) -> &[Segment] {
        &self.parts.segments
    }
    /// All suppressions; the first that holds names the reason.
    pub fn suppress(&self) -> &[Suppression] {
        &self.parts.suppress
    }
    /// How many event times an account keeps for the signal: the largest count that a rule asks for.
    pub fn times_kept(&self, signal: SignalId) -> u32 {
        self.counted[usize::from(signal.0)]
    }
    /// Whether time alone can only take things away: no rule has a `not`.
    pub fn is_monotone(&self) -> bool {
        self.monotone
    }

    /// What attributes say about every fact of the model; `fields` is indexed like
    /// [`Self::attribute_keys`].
    pub fn facts_of(&self, fields: &[Field<'_>]) -> super::Facts {
        let mut facts = super::Facts::default();
        for (bit, fact) in self.parts.facts.iter().enumerate() {
            match fact.matcher.truth(fields) {
                Truth::Unknown => {}
                Truth::False => facts.known |= 1 << bit,
                Truth::True => {
                    facts.known |= 1 << bit;
                    facts.holds |= 1 << bit;
                }
            }
        }
        facts
    }
}

fn rules(parts: &ModelParts) -> impl Iterator<Item = &Rule> {
    let tiers = parts.tiers.iter().filter_map(|tier| tier.rule.as_ref());
    tiers.chain(parts.segments.iter().map(|segment| &segment.rule))
}

fn counted(parts: &ModelParts) -> Vec<u32> {
    let mut counted = vec![0; parts.signals.len()];
    for rule in rules(parts) {
        rule.for_each_leaf(&mut |leaf| {
            if let Leaf::Count { signal, min, .. } = leaf {
                let kept = &mut counted[usize::from(signal.0)];
                *kept = (*kept).max(*min);
            }
        });
    }
    counted
}

fn check_sizes(parts: &ModelParts) -> Result<(), ModelError> {
    for (list, count, limit) in [
        ("signals", parts.signals.len(), Model::MAX_SIGNALS),
        ("distinct sets", parts.distinct_sets.len(), Model::MAX_DISTINCT_SETS),
        ("tiers", parts.tiers.len(), Model::MAX_TIERS),
        ("segments", parts.segments.len(), Model::MAX_SEGMENTS),
        ("statements about attributes", parts.facts.len(), Model::MAX_FACTS),
    ] {
        if count > limit {
            return Err(ModelError::TooMany { list, count, limit });
        }
    }
    Ok(())
}

fn check_names(parts: &ModelParts) -> Result<(), ModelError> {
    unique("signals", parts.signals.iter().map(|signal| &signal.name))?;
    unique("tiers", parts.tiers.iter().map(|tier| &tier.name))?;
    unique("segments", parts.segments.iter().map(|segment| &segment.name))?;
    unique("fit.criteria", parts.fit.criteria.iter().map(|criterion| &criterion.name))?;
    unique("suppress", parts.suppress.iter().map(|suppression| &suppression.name))
}

fn unique<'a>(list: &'static str, names: impl Iterator<Item = &'a Arc<str>>) -> Result<(), ModelError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ModelError::Twice { list, name: name.clone() });
        }
    }
    Ok(())
}

fn check_numbers(parts: &ModelParts) -> Result<(), ModelError> {
    for signal in &parts.signals {
        positive("points", &signal.name, signal.points)?;
        positive("cap", &signal.name, signal.cap.unwrap_or(1.0))?;
        if let Scoring::Distinct { set } = signal.scoring {
            let set = parts.distinct_sets.get(usize::from(set.0));
            let set = set.ok_or_else(|| ModelError::Dangling { name: signal.name.clone() })?;
            check_window(&signal.name, set.within)?;
            check_count(&signal.name, u32::from(set.keep))?;
        }
    }
    for set in &parts.distinct_sets {
        let counted = parts.signals.get(usize::from(set.signal.0));
        counted.ok_or_else(|| ModelError::Dangling { name: set.field_name.clone() })?;
    }
    for criterion in &parts.fit.criteria {
        positive("points", &criterion.name, criterion.points)?;
        check_fact(parts, &criterion.name, criterion.fact)?;
    }
    for suppression in &parts.suppress {
        check_fact(parts, &suppression.name, suppression.fact)?;
    }
    Ok(())
}

fn check_rule(parts: &ModelParts, name: &Arc<str>, rule: &Rule) -> Result<(), ModelError> {
    let mut outcome = Ok(());
    rule.for_each_leaf(&mut |leaf| {
        if outcome.is_ok() {
            outcome = check_leaf(parts, name, leaf);
        }
    });
    outcome
}

fn check_leaf(parts: &ModelParts, name: &Arc<str>, leaf: &Leaf) -> Result<(), ModelError> {
    let dangling = || ModelError::Dangling { name: name.clone() };
    match *leaf {
        Leaf::Count { signal, min, within } => {
            parts.signals.get(usize::from(signal.0)).ok_or_else(dangling)?;
            check_window(name, within)?;
            check_count(name, min)
        }
        Leaf::Distinct { set, min, within } => {
            let set = parts.distinct_sets.get(usize::from(set.0)).ok_or_else(dangling)?;
            check_window(name, within)?;
            check_count(name, min)?;
            if u32::from(set.keep) < min { Err(dangling()) } else { Ok(()) }
        }
        Leaf::Score { signal, min } => {
            parts.signals.get(usize::from(signal.0)).ok_or_else(dangling)?;
            check_mark("the least score", name, min)
        }
        Leaf::Intent { min } => check_mark("the least intent", name, min),
        Leaf::Fit { .. } => Ok(()),
        Leaf::Attribute(fact) => check_fact(parts, name, fact),
    }
}

fn check_fact(parts: &ModelParts, name: &Arc<str>, fact: FactId) -> Result<(), ModelError> {
    let exists = usize::from(fact.0) < parts.facts.len();
    if exists { Ok(()) } else { Err(ModelError::Dangling { name: name.clone() }) }
}

fn check_window(name: &Arc<str>, within: Span) -> Result<(), ModelError> {
    if within.is_zero() { Err(ModelError::ZeroWindow { name: name.clone() }) } else { Ok(()) }
}

fn check_count(name: &Arc<str>, count: u32) -> Result<(), ModelError> {
    match count {
        0 => Err(ModelError::ZeroCount { name: name.clone() }),
        1..=Model::MAX_COUNT => Ok(()),
        _ => Err(ModelError::CountTooHigh { name: name.clone(), count, limit: Model::MAX_COUNT }),
    }
}

fn check_mark(what: &'static str, name: &Arc<str>, value: f64) -> Result<(), ModelError> {
    if value.is_finite() && value >= LEAST_MARK {
        Ok(())
    } else {
        Err(ModelError::LowMark { what, name: name.clone(), value })
    }
}

fn positive(what: &'static str, name: &Arc<str>, value: f64) -> Result<(), ModelError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(ModelError::NotPositive { what, name: name.clone(), value })
    }
}
