//! The tests that a model file carries: checked against the model, ready to be run on a virtual clock.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Map, Value};
use serde_saphyr::Spanned;

pub use super::raw_case::FitExpectation;
use super::{
    checks,
    raw_case::{RawCase, RawExpectation, RawInput},
};
use crate::{
    model::{Model, Span},
    wire::yaml::{Place, Problem, suggest},
};

/// How far intent may be from what is expected, in points, unless the expectation says otherwise.
const TOLERANCE: f64 = 0.05;

/// The most times that one line may repeat an event.
const MAX_TIMES: u32 = 10_000;

/// The account of tests that name none.
const NAMELESS: &str = "account";

/// One test. Times count from its arbitrary start.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelTest {
    pub name: String,
    /// Where it stands in the file.
    pub line: usize,
    /// In the order of their times.
    pub inputs: Vec<Input>,
    /// In the order of their times. Each holds after all inputs up to its time, included.
    pub expectations: Vec<Expectation>,
}

/// What happens in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub at: Span,
    pub account: Arc<str>,
    pub line: usize,
    pub kind: InputKind,
}

/// An event or a change of attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    /// The fields of an event, but for `time`, `account` and usually `id`; it happens `times` times
    /// at once, with different ids.
    Event { fields: Map<String, Value>, times: u32 },
    /// All attributes of the account from now on.
    Attributes(Map<String, Value>),
}

/// What must be true of an account at a time. What is left out is not looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    pub at: Span,
    pub account: Arc<str>,
    pub line: usize,
    /// Its name or `none`.
    pub tier: Option<String>,
    pub intent: Option<f64>,
    /// How far off intent may be.
    pub tolerance: f64,
    pub fit: Option<FitExpectation>,
    /// `A`, `B`, `C` or `none`.
    pub grade: Option<String>,
    /// All segments that the account is in.
    pub segments: Option<Vec<String>>,
    /// The suppression's name or `none`.
    pub suppressed: Option<String>,
    /// All changes of the account since its expectation before: `tier_3 -> none`, `enter NAME`,
    /// `exit NAME`.
    pub changes: Option<Vec<String>>,
}

/// Checks the tests of a file.
pub fn tests(raw: Vec<RawCase>, model: &Model) -> Result<Vec<ModelTest>, Problem> {
    let mut names = HashSet::new();
    raw.into_iter()
        .map(|case| {
            if !names.insert(case.name.value.clone()) {
                let problem = Problem::new(Place::of(&case.name), format!("test `{}` stands twice", case.name.value));
                return Err(problem.help("rename one, so that a failure names its test"));
            }
            test(case, model)
        })
        .collect()
}

fn test(RawCase { name, events, expect }: RawCase, model: &Model) -> Result<ModelTest, Problem> {
    if expect.value.is_empty() {
        return Err(Problem::new(Place::of(&expect), "the test expects nothing").help("list at least one expectation"));
    }
    let account = only_account(&events, &expect.value);
    let places: Vec<Place> = events.iter().map(Place::of).collect();
    let inputs = events.into_iter().map(|event| input(event, account.as_ref()));
    let mut inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let expectations = expect.value.into_iter().map(|raw| expectation(raw, account.as_ref(), model));
    let mut expectations = expectations.collect::<Result<Vec<_>, _>>()?;
    let last = expectations.iter().map(|expectation| expectation.at).max();
    if let Some((place, _)) = places.into_iter().zip(&inputs).find(|(_, input)| Some(input.at) > last) {
        let problem = Problem::new(place, "this happens after the last expectation");
        return Err(problem.help("expect something at its time or later, or drop the line"));
    }
    inputs.sort_by_key(|input| input.at);
    expectations.sort_by_key(|expectation| expectation.at);
    Ok(ModelTest { line: Place::of(&name).line, name: name.value, inputs, expectations })
}

/// The account of lines that name none: the only one that the test names, if it is the only one.
fn only_account(events: &[Spanned<RawInput>], expect: &[Spanned<RawExpectation>]) -> Option<Arc<str>> {
    let named = events.iter().filter_map(|event| event.value.account.as_ref());
    let named = named.chain(expect.iter().filter_map(|expectation| expectation.value.account.as_ref()));
    let names: HashSet<&str> = named.map(|account| account.value.as_str()).collect();
    match names.len() {
        0 => Some(NAMELESS.into()),
        1 => names.into_iter().next().map(Arc::from),
        _ => None,
    }
}

fn account_of(named: Option<&Spanned<String>>, only: Option<&Arc<str>>, place: Place) -> Result<Arc<str>, Problem> {
    if let Some(named) = named {
        if named.value.is_empty() {
            return Err(Problem::new(Place::of(named), "the account is empty"));
        }
        return Ok(named.value.as_str().into());
    }
    let problem = || Problem::new(place, "it is not clear which account this line is about");
    only.cloned().ok_or_else(|| problem().help("the test names several: add `account: …`"))
}

fn input(raw: Spanned<RawInput>, only: Option<&Arc<str>>) -> Result<Input, Problem> {
    let place = Place::of(&raw);
    let RawInput { at, account, times, attributes, fields } = raw.value;
    let Some(at) = at else {
        return Err(Problem::new(place, "this line has no `at`").help("add `at: 0s`: the time since the test's start"));
    };
    let account = account_of(account.as_ref(), only, place)?;
    let kind = match attributes {
        Some(attributes) => attributes_input(attributes.value, times.as_ref(), &fields, place)?,
        None => event_input(fields, times.as_ref(), place)?,
    };
    Ok(Input { at: checks::span(&at)?, account, line: place.line, kind })
}

fn attributes_input(
    attributes: Map<String, Value>,
    times: Option<&Spanned<u32>>,
    fields: &Map<String, Value>,
    place: Place,
) -> Result<InputKind, Problem> {
    if let Some(extra) = fields.keys().map(String::as_str).next().or(times.map(|_| "times")) {
        let problem = Problem::new(place, format!("`{extra}` stands beside `attributes`"));
        return Err(problem.help("a line is an event or sets attributes: write two"));
    }
    Ok(InputKind::Attributes(attributes))
}

fn event_input(fields: Map<String, Value>, times: Option<&Spanned<u32>>, place: Place) -> Result<InputKind, Problem> {
    if fields.contains_key("time") {
        return Err(Problem::new(place, "an event of a test has no `time`").help("`at` says when it happens"));
    }
    if !fields.get("type").is_some_and(Value::is_string) {
        let problem = Problem::new(place, "the event has no `type`");
        return Err(problem.help("add `type: page_view`, or `attributes: { … }` to set attributes"));
    }
    let count = times.map_or(1, |times| times.value);
    match times {
        Some(times) if !(1..=MAX_TIMES).contains(&count) => {
            Err(Problem::new(Place::of(times), format!("`times` is {count}, but goes from 1 to {MAX_TIMES}")))
        }
        Some(times) if count > 1 && fields.contains_key("id") => {
            let problem = Problem::new(Place::of(times), "the same `id` several times counts once");
            Err(problem.help("leave `id` or `times` out"))
        }
        _ => Ok(InputKind::Event { fields, times: count }),
    }
}

fn expectation(raw: Spanned<RawExpectation>, only: Option<&Arc<str>>, model: &Model) -> Result<Expectation, Problem> {
    let place = Place::of(&raw);
    let RawExpectation { at, account, tier, intent, tolerance, fit, grade, segments, suppressed, changes } = raw.value;
    let account = account_of(account.as_ref(), only, place)?;
    let tiers: Vec<&str> = model.tiers().iter().map(|tier| &*tier.name).collect();
    let segment_names: Vec<&str> = model.segments().iter().map(|segment| &*segment.name).collect();
    let suppressions: Vec<&str> = model.suppress().iter().map(|suppression| &*suppression.name).collect();
    let one = |raw: Option<Spanned<String>>, what, known: &[&str]| raw.map(|raw| known_name(raw, what, known, true));
    let expectation = Expectation {
        at: checks::span(&at)?,
        account,
        line: place.line,
        tier: one(tier, "tier", &tiers).transpose()?,
        intent: intent.map(|intent| intent.value),
        tolerance: tolerance.map_or(Ok(TOLERANCE), |tolerance| checks::amount(&tolerance, "the tolerance", ""))?,
        fit: fit.map(|fit| fit.value),
        grade: one(grade, "grade", &["A", "B", "C"]).transpose()?,
        segments: segments.map(|names| all_known(names, &segment_names)).transpose()?,
        suppressed: one(suppressed, "suppression", &suppressions).transpose()?,
        changes: changes.map(|changes| changes_of(changes, &tiers, &segment_names)).transpose()?,
    };
    let nothing = Expectation {
        at: expectation.at,
        account: expectation.account.clone(),
        line: expectation.line,
        tolerance: expectation.tolerance,
        ..Expectation::default()
    };
    if expectation == nothing {
        let problem = Problem::new(place, "this line expects nothing");
        return Err(problem.help("say one of: tier, intent, fit, grade, segments, suppressed, changes"));
    }
    Ok(expectation)
}

fn all_known(names: Vec<Spanned<String>>, known: &[&str]) -> Result<Vec<String>, Problem> {
    names.into_iter().map(|name| known_name(name, "segment", known, false)).collect()
}

/// A name that the model knows; `none` too if `or_none`.
fn known_name(raw: Spanned<String>, what: &str, known: &[&str], or_none: bool) -> Result<String, Problem> {
    if known.contains(&raw.value.as_str()) || or_none && raw.value == "none" {
        return Ok(raw.value);
    }
    let candidates = known.iter().copied().chain(or_none.then_some("none"));
    let help = suggest(&raw.value, candidates, &format!("{what}s"));
    Err(Problem::new(Place::of(&raw), format!("there is no {what} `{}`", raw.value)).help(help))
}

fn changes_of(changes: Vec<Spanned<String>>, tiers: &[&str], segments: &[&str]) -> Result<Vec<String>, Problem> {
    let change = |raw: Spanned<String>| {
        let words: Vec<&str> = raw.value.split_whitespace().collect();
        let tier = |name: &str| name == "none" || tiers.contains(&name);
        let legal = match words[..] {
            [from, "->", to] => tier(from) && tier(to),
            ["enter" | "exit", segment] => segments.contains(&segment),
            _ => false,
        };
        let problem = || Problem::new(Place::of(&raw), format!("`{}` is not a change of this model", raw.value));
        let help = "write `none -> TIER`, `TIER -> TIER`, `TIER -> none`, `enter SEGMENT` or `exit SEGMENT`";
        legal.then(|| words.join(" ")).ok_or_else(|| problem().help(help))
    };
    changes.into_iter().map(change).collect()
}
