//! Changes in words, so that two histories can be compared and read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    model::{Change, Op, Transition},
    wire::time::format_rfc3339,
};

/// A change, as far as it is a function of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub sequence: i64,
    pub previous: Option<i64>,
    /// `tier` or the name of a segment.
    pub of: String,
    /// The tier, or whether the segment was entered.
    pub to: Option<String>,
    pub why: String,
}

impl From<&Change> for Told {
    fn from(change: &Change) -> Self {
        let (of, to) = match &change.transition {
            Transition::Tier { to, .. } => ("tier".to_owned(), to.as_deref().map(str::to_owned)),
            Transition::Segment { name, op } => (name.to_string(), (*op == Op::Enter).then(|| "in".to_owned())),
        };
        let why = format!("{} {:.6} @{}", change.cause.name(), change.intent, format_rfc3339(change.effective_at));
        Self { sequence: change.sequence, previous: change.previous_sequence, of, to, why }
    }
}

impl Told {
    /// What a reader of the topics finds.
    pub fn read(json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let (of, to) = if json["kind"] == "tier_change" {
            ("tier".to_owned(), json["to"].as_str().map(str::to_owned))
        } else {
            (text("segment"), (json["op"] == "enter").then(|| "in".to_owned()))
        };
        let intent = json["intent"].as_f64().unwrap_or_default();
        let why = format!("{} {intent:.6} @{}", text("cause"), text("effective_at"));
        let sequence = json["sequence"].as_i64().unwrap_or_default();
        Self { sequence, previous: json["previous_sequence"].as_i64(), of, to, why }
    }
}

/// What an account holds after these changes.
pub fn held(changes: &[Told]) -> BTreeSet<(String, String)> {
    let mut held = BTreeMap::new();
    for change in changes {
        match &change.to {
            Some(to) => held.insert(change.of.clone(), to.clone()),
            None => held.remove(&change.of),
        };
    }
    held.into_iter().collect()
}

/// Compares what was published of an account with what its records imply. An account that has faded
/// to nothing may be forgotten; what comes then does not know the previous sequence.
pub fn compare(account: &str, published: &[Told], expected: &[Told]) -> Result<(), String> {
    for (at, (told, implied)) in published.iter().zip(expected).enumerate() {
        let forgotten = told.previous.is_none() && at > 0 && held(&published[..at]).is_empty();
        let implied = if forgotten { Told { previous: None, ..implied.clone() } } else { implied.clone() };
        if *told != implied {
            return Err(format!("{account}: published {told:?}, implied {implied:?}"));
        }
    }
    match (published.get(expected.len()), expected.get(published.len())) {
        (Some(extra), _) => Err(format!("{account}: published beyond what is implied {extra:?}")),
        (_, Some(missing)) => Err(format!("{account}: never published {missing:?}")),
        _ => Ok(()),
    }
}
