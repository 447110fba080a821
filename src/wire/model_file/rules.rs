//! Rules: from their raw form to trees of conditions.

use serde_saphyr::Spanned;

use super::{
    checks,
    compile::Compiler,
    raw::{RawCount, RawLeast, RawMatch, RawRule, RawTier},
};
use crate::{
    model::{Leaf, Model, Rule},
    wire::yaml::{Place, Problem, suggest},
};

/// The most nodes of one rule, those of the segments that it names included. Each event of an
/// account may judge all of them.
const MAX_NODES: usize = 256;

/// The key that says what a node is, with its value.
#[derive(Clone, Copy)]
enum Head<'a> {
    All(&'a Spanned<Vec<Spanned<RawRule>>>),
    Any(&'a Spanned<Vec<Spanned<RawRule>>>),
    Not(&'a Spanned<RawRule>),
    Signal(&'a Spanned<String>),
    Intent(&'a Spanned<RawLeast>),
    Fit(&'a Spanned<RawLeast>),
    Attribute(&'a Spanned<RawMatch>),
    Segment(&'a Spanned<String>),
}

impl Compiler {
    /// Compiles a whole rule, which stands at `place`.
    pub fn rule(&mut self, raw: &RawRule, place: Place) -> Result<Rule, Problem> {
        self.nodes_left = MAX_NODES;
        self.node(raw, place)
    }

    /// What a tier asks for beyond intent and fit: its segment's rule and its own.
    pub fn tier_rule(&mut self, RawTier { segment, when, .. }: &RawTier) -> Result<Option<Rule>, Problem> {
        self.nodes_left = MAX_NODES;
        let segment = segment.as_ref().map(|name| self.segment_rule(name)).transpose()?;
        let when = when.as_ref().map(|when| self.node(&when.value, Place::of(when))).transpose()?;
        Ok(match (segment, when) {
            (Some(segment), Some(when)) => Some(Rule::All(vec![segment, when])),
            (one, other) => one.or(other),
        })
    }

    fn segment_rule(&mut self, name: &Spanned<String>) -> Result<Rule, Problem> {
        let place = Place::of(name);
        let Some(segment) = self.segments.iter().find(|segment| *segment.name == *name.value) else {
            let problem = Problem::new(place, format!("there is no segment `{}` above this rule", name.value));
            let known = self.segments.iter().map(|segment| &*segment.name);
            return Err(problem.help(suggest(&name.value, known, "segments so far")));
        };
        let rule = segment.rule.clone();
        self.spend(size(&rule), place)?;
        Ok(rule)
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Problem> {
        let left = self.nodes_left.checked_sub(nodes);
        self.nodes_left = left.ok_or_else(|| {
            let message = format!("this rule has more than {MAX_NODES} conditions");
            Problem::new(place, message).help("the conditions of the segments that it names count too")
        })?;
        Ok(())
    }

    fn node(&mut self, raw: &RawRule, place: Place) -> Result<Rule, Problem> {
        self.spend(1, place)?;
        match head(raw, place)? {
            Head::All(list) => self.list(list, "all").map(Rule::All),
            Head::Any(list) => self.list(list, "any").map(Rule::Any),
            Head::Not(inner) => self.node(&inner.value, Place::of(inner)).map(|inner| Rule::Not(Box::new(inner))),
            Head::Signal(name) => self.signal_leaf(name, raw).map(Rule::Leaf),
            Head::Intent(least) => {
                let min = checks::amount(&least.value.min, "the least intent", "leave the condition out")?;
                Ok(Rule::Leaf(Leaf::Intent { min }))
            }
            Head::Fit(least) => checks::fit(&least.value.min, "the least fit").map(|min| Rule::Leaf(Leaf::Fit { min })),
            Head::Attribute(matching) => self.attributes.fact(matching).map(|fact| Rule::Leaf(Leaf::Attribute(fact))),
            Head::Segment(name) => self.segment_rule(name),
        }
    }

    fn list(&mut self, list: &Spanned<Vec<Spanned<RawRule>>>, key: &str) -> Result<Vec<Rule>, Problem> {
        if list.value.is_empty() {
            let holds = if key == "all" { "always" } else { "never" };
            let problem = Problem::new(Place::of(list), format!("an empty `{key}` {holds} holds"));
            return Err(problem.help("list at least one condition"));
        }
        list.value.iter().map(|raw| self.node(&raw.value, Place::of(raw))).collect()
    }

    fn signal_leaf(&mut self, name: &Spanned<String>, raw: &RawRule) -> Result<Leaf, Problem> {
        let signal = self.signal_named(name)?;
        match (&raw.count, &raw.distinct, &raw.score, &raw.within) {
            (Some(least), None, None, Some(within)) => {
                Ok(Leaf::Count { signal, min: count(least)?, within: checks::positive_span(within, "the window")? })
            }
            (Some(least), Some(field), None, Some(within)) => {
                let (min, within) = (count(least)?, checks::positive_span(within, "the window")?);
                self.distinct_set(signal, field, within, min).map(|set| Leaf::Distinct { set, min, within })
            }
            (None, None, Some(least), None) => {
                let min = checks::amount(&least.value.min, "the least score", "leave the condition out")?;
                Ok(Leaf::Score { signal, min })
            }
            (Some(_), _, None, None) => {
                let problem = Problem::new(Place::of(name), format!("the count of `{}` has no window", name.value));
                Err(problem.help("add `within: 7d`: how long an event counts"))
            }
            _ => {
                let problem = Problem::new(Place::of(name), format!("the condition on `{}` is not clear", name.value));
                Err(problem.help(
                    "write `count: { min: 3 }, within: 7d`, or that with `distinct: person`, or `score: { min: 20 }`",
                ))
            }
        }
    }
}

/// The one key that a node must have, and no keys that belong to another.
fn head(raw: &RawRule, place: Place) -> Result<Head<'_>, Problem> {
    let heads: Vec<(&str, Place, Head<'_>)> = [
        raw.all.as_ref().map(|list| ("all", Place::of(list), Head::All(list))),
        raw.any.as_ref().map(|list| ("any", Place::of(list), Head::Any(list))),
        raw.not.as_deref().map(|inner| ("not", Place::of(inner), Head::Not(inner))),
        raw.signal.as_ref().map(|name| ("signal", Place::of(name), Head::Signal(name))),
        raw.intent.as_ref().map(|least| ("intent", Place::of(least), Head::Intent(least))),
        raw.fit.as_ref().map(|least| ("fit", Place::of(least), Head::Fit(least))),
        raw.attribute.as_ref().map(|tests| ("attribute", Place::of(tests), Head::Attribute(tests))),
        raw.segment.as_ref().map(|name| ("segment", Place::of(name), Head::Segment(name))),
    ]
    .into_iter()
    .flatten()
    .collect();
    match heads[..] {
        [(_, _, head)] => {
            stray_key(raw, head)?;
            Ok(head)
        }
        [] => Err(Problem::new(place, "there is no condition here")
            .help("one of: all, any, not, signal, intent, fit, attribute, segment")),
        [(first, ..), (second, place, _), ..] => {
            let problem = Problem::new(place, format!("`{first}` and `{second}` stand side by side"));
            Err(problem.help("a rule is one condition: put both into a list under `all` or `any`"))
        }
    }
}

/// `count`, `distinct`, `score` and `within` say something about a signal only.
fn stray_key(raw: &RawRule, head: Head<'_>) -> Result<(), Problem> {
    let stray = [
        raw.count.as_ref().map(|it| ("count", Place::of(it))),
        raw.distinct.as_ref().map(|it| ("distinct", Place::of(it))),
        raw.score.as_ref().map(|it| ("score", Place::of(it))),
        raw.within.as_ref().map(|it| ("within", Place::of(it))),
    ];
    match (head, stray.into_iter().flatten().next()) {
        (Head::Signal(_), _) | (_, None) => Ok(()),
        (_, Some((key, place))) => {
            Err(Problem::new(place, format!("`{key}` without a `signal`")).help("name the signal that it is about"))
        }
    }
}

fn count(raw: &Spanned<RawCount>) -> Result<u32, Problem> {
    let min = &raw.value.min;
    match min.value {
        0 => Err(Problem::new(Place::of(min), "a count of at least 0 always holds").help("write 1 or more")),
        1..=Model::MAX_COUNT => Ok(min.value),
        count => {
            let message = format!("a count of {count} is above {}, the most that an account keeps", Model::MAX_COUNT);
            Err(Problem::new(Place::of(min), message).help("use `score` for large amounts"))
        }
    }
}

fn size(rule: &Rule) -> usize {
    match rule {
        Rule::All(rules) | Rule::Any(rules) => 1 + rules.iter().map(size).sum::<usize>(),
        Rule::Not(rule) => 1 + size(rule),
        Rule::Leaf(_) => 1,
    }
}
