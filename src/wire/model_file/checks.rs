//! Checks of single values: names, amounts, durations.

use std::{collections::HashMap, sync::Arc};

use serde_saphyr::Spanned;

use crate::{
    model::{LEAST_MARK, Span},
    wire::{
        time::parse_span,
        yaml::{Place, Problem},
    },
};

/// Longest name. Names are labels of metrics and parts of every change.
const MAX_NAME: usize = 64;

/// The highest amount. Conditions are compared to 1e-9 points, and beyond a few million points a
/// double no longer has that many digits.
const MAX_AMOUNT: f64 = 1e6;

/// A name: a letter, then letters, digits, `_`, `-` and `.`; not `none`, which means no tier.
pub fn name(raw: &Spanned<String>, what: &str) -> Result<Arc<str>, Problem> {
    let text = raw.value.as_str();
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if starts && legal && text.len() <= MAX_NAME && text != "none" {
        return Ok(text.into());
    }
    let problem = Problem::new(Place::of(raw), format!("`{text}` cannot be the name of a {what}"));
    Err(problem.help(format!(
        "a name is a letter and then up to {} letters, digits, `_`, `-` or `.`, and not `none`",
        MAX_NAME - 1
    )))
}

/// Names of one list, each with the line where it stands.
#[derive(Debug)]
pub struct Names {
    what: &'static str,
    limit: usize,
    lines: HashMap<Arc<str>, usize>,
}

impl Names {
    /// For a list of at most `limit` entries, each a `what`.
    pub fn new(what: &'static str, limit: usize) -> Self {
        Self { what, limit, lines: HashMap::new() }
    }

    /// Checks a name and that it is the first of its kind.
    pub fn add(&mut self, raw: &Spanned<String>) -> Result<Arc<str>, Problem> {
        let (name, place, what) = (name(raw, self.what)?, Place::of(raw), self.what);
        if self.lines.len() == self.limit {
            let message = format!("{what} `{name}` is one too many: the limit is {}", self.limit);
            return Err(Problem::new(place, message));
        }
        if let Some(line) = self.lines.insert(name.clone(), place.line) {
            let problem = Problem::new(place, format!("{what} `{name}` stands twice"));
            return Err(problem.help(format!("the first is on line {line}: rename one")));
        }
        Ok(name)
    }
}

/// An amount of points: from the precision of comparisons to a million. `help` is for what is not
/// above 0.
pub fn amount(raw: &Spanned<f64>, what: &str, help: &str) -> Result<f64, Problem> {
    let value = raw.value;
    if (LEAST_MARK..=MAX_AMOUNT).contains(&value) {
        return Ok(value);
    }
    let message = if value <= 0.0 { "above 0".to_owned() } else { format!("from {LEAST_MARK} to {MAX_AMOUNT}") };
    let problem = Problem::new(Place::of(raw), format!("{what} is {value}, but must be {message}"));
    Err(if value <= 0.0 && !help.is_empty() { problem.help(help) } else { problem })
}

/// Fit: from 0 to 100.
pub fn fit(raw: &Spanned<f64>, what: &str) -> Result<f64, Problem> {
    let value = raw.value;
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    Err(Problem::new(Place::of(raw), format!("{what} is {value}, but fit goes from 0 to 100")))
}

/// A duration, zero included.
pub fn span(raw: &Spanned<String>) -> Result<Span, Problem> {
    parse_span(&raw.value).map_err(|error| Problem::new(Place::of(raw), error.to_string()))
}

/// A duration above zero.
pub fn positive_span(raw: &Spanned<String>, what: &str) -> Result<Span, Problem> {
    let span = span(raw)?;
    let problem = || Problem::new(Place::of(raw), format!("{what} is zero, but must be longer"));
    if span.is_zero() { Err(problem()) } else { Ok(span) }
}
