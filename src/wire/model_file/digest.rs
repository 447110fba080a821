//! The digest of a model: equal for two models that decide alike.
//!
//! It covers what decides scores and changes: signals, scorecard, tiers, segments, suppressions and
//! what is ignored, with all their names, numbers and conditions. It does not cover the model's own
//! name and version, the actions of segments, tests, comments, the file's name and layout, or any
//! order that means nothing (keys, alternatives, conditions side by side, signals, criteria,
//! segments). The order of tiers and of suppressions means something: the first that holds counts.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::matches::{quoted, statement};
use crate::model::{DistinctId, Leaf, ModelParts, Rule, Scoring, Signal, SignalId, Span, Tier};

/// Names the canonical form; a new form is a new digest for every model.
const FORM: &str = "tidemark model 1";

/// 16 hexadecimal digits of SHA-256 over the canonical form.
pub fn digest(parts: &ModelParts) -> Arc<str> {
    let hash = Sha256::digest(Canonical(parts).text().as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

struct Canonical<'a>(&'a ModelParts);

impl Canonical<'_> {
    fn text(&self) -> String {
        let parts = self.0;
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let ignore = parts.ignore.iter().map(|matcher| format!("ignore {}", statement(matcher, &parts.event_keys)));
        let criteria = parts.fit.criteria.iter().map(|criterion| {
            format!("criterion {} {} {}", criterion.name, criterion.points, self.fact(usize::from(criterion.fact.0)))
        });
        let segments =
            parts.segments.iter().map(|segment| format!("segment {} {}", segment.name, self.rule(&segment.rule)));
        let suppress = parts
            .suppress
            .iter()
            .map(|suppression| format!("suppress {} {}", suppression.name, self.fact(usize::from(suppression.fact.0))));
        let mut lines = vec![FORM.to_owned()];
        lines.extend(sorted(ignore.collect()));
        lines.extend(sorted(parts.signals.iter().map(|signal| self.signal(signal)).collect()));
        lines.extend(sorted(criteria.collect()));
        lines.extend(parts.fit.grades.map(|grades| format!("grades {} {}", grades.a, grades.b)));
        lines.extend(parts.tiers.iter().map(|tier| self.tier(tier)));
        lines.extend(sorted(segments.collect()));
        lines.extend(suppress);
        lines.join("\n")
    }

    fn signal(&self, signal: &Signal) -> String {
        let parts = self.0;
        let scoring = match &signal.scoring {
            Scoring::Additive { half_life } => format!("additive {}", half_life.span().millis()),
            Scoring::Level { field, half_life } => {
                let field = quoted(&parts.event_keys[usize::from(field.0)]);
                format!("level {field} {}", half_life.span().millis())
            }
            Scoring::Distinct { set } => {
                let set = &parts.distinct_sets[usize::from(set.0)];
                format!("distinct {} {}", quoted(&set.field_name), set.within.millis())
            }
        };
        let matcher = statement(&signal.matcher, &parts.event_keys);
        format!("signal {} {matcher} {} cap {} {scoring}", signal.name, signal.points, or_dash(signal.cap))
    }

    fn tier(&self, tier: &Tier) -> String {
        let band = or_dash(tier.intent.map(|band| format!("{} {}", band.enter(), band.exit())));
        let rule = or_dash(tier.rule.as_ref().map(|rule| self.rule(rule)));
        let (fit, dwell) = (or_dash(tier.fit), tier.min_dwell.millis());
        format!("tier {} intent {band} fit {fit} dwell {dwell} rule {rule}", tier.name)
    }

    fn rule(&self, rule: &Rule) -> String {
        match rule {
            Rule::All(rules) => self.rules("all", rules),
            Rule::Any(rules) => self.rules("any", rules),
            Rule::Not(rule) => format!("not({})", self.rule(rule)),
            Rule::Leaf(leaf) => self.leaf(leaf),
        }
    }

    fn rules(&self, word: &str, rules: &[Rule]) -> String {
        let mut rules: Vec<String> = rules.iter().map(|rule| self.rule(rule)).collect();
        rules.sort();
        rules.dedup();
        format!("{word}({})", rules.join(","))
    }

    fn leaf(&self, leaf: &Leaf) -> String {
        let window = |within: &Span| within.millis();
        match leaf {
            Leaf::Count { signal, min, within } => format!("count({},{min},{})", self.name(*signal), window(within)),
            Leaf::Distinct { set, min, within } => format!("distinct({},{min},{})", self.set(*set), window(within)),
            Leaf::Intent { min } => format!("intent({min})"),
            Leaf::Fit { min } => format!("fit({min})"),
            Leaf::Score { signal, min } => format!("score({},{min})", self.name(*signal)),
            Leaf::Attribute(fact) => format!("attribute({})", self.fact(usize::from(fact.0))),
        }
    }

    fn set(&self, set: DistinctId) -> String {
        let set = &self.0.distinct_sets[usize::from(set.0)];
        format!("{},{}", self.name(set.signal), quoted(&set.field_name))
    }

    fn name(&self, signal: SignalId) -> &str {
        &self.0.signals[usize::from(signal.0)].name
    }

    fn fact(&self, fact: usize) -> String {
        statement(&self.0.facts[fact].matcher, &self.0.attribute_keys)
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
