//! `match` values: from their raw form to tests, and to one canonical text per meaning.

use std::sync::Arc;

use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

use super::raw::{RawMatch, RawShape, RawTest};
use crate::{
    model::{Fact, FactId, Glob, KeyId, Keys, Matcher, Model, Test},
    wire::yaml::{Place, Problem},
};

/// The most fields that all matchers of one kind read. A decoder visits each of them per record.
const MAX_KEYS: usize = 128;

/// The longest text that names a statement. Every page of state carries the names of all.
const MAX_STATEMENT: usize = 1024;

/// The names of the fields that matchers read, each with its id.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: Keys,
    /// Stands for what is in it, and is itself no field.
    container: Option<&'static str>,
}

impl KeyTable {
    /// The fields of events.
    pub fn of_events() -> Self {
        Self { keys: Keys::new(), container: Some("properties") }
    }

    /// The id of a name, which is new or known.
    pub fn id(&mut self, name: &Spanned<String>) -> Result<KeyId, Problem> {
        let place = Place::of(name);
        let name = name.value.as_str();
        if name.is_empty() {
            return Err(Problem::new(place, "a key without a name"));
        }
        if self.container == Some(name) {
            let problem = Problem::new(place, format!("`{name}` as a whole cannot be looked at"));
            return Err(problem.help("name a property by itself, as if it stood at the top of the event"));
        }
        let known = self.keys.iter().position(|known| **known == *name);
        let index = known.unwrap_or(self.keys.len());
        if known.is_none() {
            if index == MAX_KEYS {
                return Err(Problem::new(place, format!("`{name}` is one key too many: the limit is {MAX_KEYS}")));
            }
            self.keys.push(name.into());
        }
        Ok(KeyId(index as u16))
    }

    /// All names, in the order of their ids.
    pub fn into_keys(self) -> Keys {
        self.keys
    }

    /// Compiles a `match` over these keys.
    pub fn matcher(&mut self, raw: &Spanned<RawMatch>) -> Result<Matcher, Problem> {
        if raw.value.0.is_empty() {
            let problem = Problem::new(Place::of(raw), "an empty match would hold for everything");
            return Err(problem.help("name at least one key; `type: \"*\"` is any event"));
        }
        let tests = raw.value.0.iter().map(|(key, value)| Ok((self.id(key)?, test(value)?)));
        tests.collect::<Result<_, Problem>>().map(Matcher)
    }
}

/// Statements about attributes; equal ones are kept once.
#[derive(Debug, Default)]
pub struct FactTable {
    keys: KeyTable,
    facts: Vec<Fact>,
}

impl FactTable {
    /// The fact that a `match` over attributes states.
    pub fn fact(&mut self, raw: &Spanned<RawMatch>) -> Result<FactId, Problem> {
        let matcher = self.keys.matcher(raw)?;
        let statement: Arc<str> = shortened(statement(&matcher, &self.keys.keys)).into();
        let known = self.facts.iter().position(|fact| fact.statement == statement);
        let index = known.unwrap_or(self.facts.len());
        if known.is_none() {
            if index == Model::MAX_FACTS {
                let message = format!("more than {} different statements about attributes", Model::MAX_FACTS);
                return Err(Problem::new(Place::of(raw), message).help("merge criteria, or use lists and ranges"));
            }
            self.facts.push(Fact { statement, matcher });
        }
        Ok(FactId(index as u8))
    }

    /// Names of the attributes, and the facts over them.
    pub fn into_parts(self) -> (Keys, Vec<Fact>) {
        (self.keys.into_keys(), self.facts)
    }
}

fn test(raw: &Spanned<RawTest>) -> Result<Test, Problem> {
    let place = Place::of(raw);
    match &raw.value {
        RawTest::Text(text) => Ok(Test::Text(Glob::new(text))),
        RawTest::Number(number) => finite(*number, place).map(Test::Number),
        RawTest::Bool(value) => Ok(Test::Bool(*value)),
        RawTest::AnyOf(tests) if tests.is_empty() => {
            Err(Problem::new(place, "an empty list matches nothing").help("list at least one value"))
        }
        RawTest::AnyOf(tests) => tests.iter().map(test).collect::<Result<_, _>>().map(Test::AnyOf),
        RawTest::Shape(shape) => shape_test(shape, place),
    }
}

fn shape_test(RawShape { min, max, not, exists }: &RawShape, place: Place) -> Result<Test, Problem> {
    match (min, max, not, exists) {
        (None, None, Some(inner), None) => test(inner).map(|inner| Test::Not(Box::new(inner))),
        (None, None, None, Some(exists)) => Ok(Test::Exists(exists.value)),
        (None, None, None, None) | (_, _, Some(_), _) | (_, _, _, Some(_)) => {
            let problem = Problem::new(place, "this test is not clear");
            Err(problem.help("write `{ min: 1, max: 9 }` (either may be left out), `{ not: … }` or `{ exists: true }`"))
        }
        (min, max, None, None) => range(min.as_ref(), max.as_ref()),
    }
}

fn range(min: Option<&Spanned<f64>>, max: Option<&Spanned<f64>>) -> Result<Test, Problem> {
    let bound = |bound: Option<&Spanned<f64>>| bound.map(|b| finite(b.value, Place::of(b))).transpose();
    if let (Some(min), Some(max)) = (min, max)
        && min.value > max.value
    {
        let message = format!("the range from {} to {} is empty", min.value, max.value);
        return Err(Problem::new(Place::of(min), message).help("`min` must not be above `max`"));
    }
    Ok(Test::Range { min: bound(min)?, max: bound(max)? })
}

fn finite(number: f64, place: Place) -> Result<f64, Problem> {
    // The sum turns -0 into 0, which equals it but is written differently.
    number.is_finite().then_some(number + 0.0).ok_or_else(|| Problem::new(place, "expected a finite number"))
}

/// A text that two matchers share exactly if they say the same: keys and alternatives in order.
pub fn statement(Matcher(tests): &Matcher, keys: &Keys) -> String {
    let mut tests: Vec<String> =
        tests.iter().map(|(key, test)| format!("{}:{}", quoted(&keys[usize::from(key.0)]), canonical(test))).collect();
    tests.sort();
    format!("{{{}}}", tests.join(","))
}

/// The text, or if it is long (dozens of domains) its digest.
fn shortened(text: String) -> String {
    if text.len() <= MAX_STATEMENT {
        return text;
    }
    let digest = Sha256::digest(&text);
    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn canonical(test: &Test) -> String {
    match test {
        Test::Text(glob) => quoted(glob.pattern()),
        Test::Number(number) => number.to_string(),
        Test::Bool(value) => value.to_string(),
        Test::Range { min, max } => {
            let bound = |name, bound: &Option<f64>| bound.map(|bound| format!("\"{name}\":{bound}"));
            let bounds: Vec<String> = [bound("max", max), bound("min", min)].into_iter().flatten().collect();
            format!("{{{}}}", bounds.join(","))
        }
        Test::AnyOf(tests) => {
            let mut tests: Vec<String> = tests.iter().map(canonical).collect();
            tests.sort();
            tests.dedup();
            if tests.len() == 1 { tests.remove(0) } else { format!("[{}]", tests.join(",")) }
        }
        Test::Not(inner) => format!("{{\"not\":{}}}", canonical(inner)),
        Test::Exists(exists) => format!("{{\"exists\":{exists}}}"),
    }
}

/// The text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
