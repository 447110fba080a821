//! Changes as they are compared: one that the inputs imply with one that was published.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    log::OutputTopic,
    model::{Change, ModelId, Op, Standing, Timestamp, Transition},
    wire::{change::encode_change, standing::encode_standing, time::Rfc3339},
};

/// Fields of one difference that are told.
const FIELDS_TOLD: usize = 5;

/// A change that the inputs imply.
#[derive(Clone, Debug)]
pub struct Expected {
    pub change: Change,
    /// A record below the committed offsets brought it about: it must be there.
    pub committed: bool,
    /// The account held no tier and no segment before: the service may have forgotten it.
    pub held_nothing: bool,
}

impl Expected {
    /// The topic that it belongs to.
    pub fn topic(&self) -> OutputTopic {
        match self.change.transition {
            Transition::Tier { .. } => OutputTopic::TierChanges,
            Transition::Segment { .. } => OutputTopic::SegmentChanges,
        }
    }

    /// What it says, for a person.
    pub fn tell(&self) -> String {
        let name = |tier: &Option<Arc<str>>| tier.as_deref().unwrap_or("none").to_owned();
        let what = match &self.change.transition {
            Transition::Tier { from, to, .. } => format!("{} -> {}", name(from), name(to)),
            Transition::Segment { name, op: Op::Enter } => format!("enters {name}"),
            Transition::Segment { name, op: Op::Exit } => format!("leaves {name}"),
        };
        format!("{what} by {}", self.change.cause.name())
    }
}

/// A change as it was published.
#[derive(Clone, Debug)]
pub struct Published {
    pub topic: OutputTopic,
    pub offset: i64,
    /// Its transaction ended before the standings were looked at.
    pub standing_follows: bool,
    pub account: Arc<str>,
    pub digest: String,
    /// Time brought it about, not a record.
    pub is_fall: bool,
    pub effective_at: Timestamp,
    pub sequence: i64,
    detected_at: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    model: ModelHead<'a>,
    #[serde(borrow)]
    cause: Cow<'a, str>,
    effective_at: Rfc3339,
    detected_at: Option<Rfc3339>,
    sequence: i64,
}

#[derive(Deserialize)]
struct ModelHead<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

impl Published {
    /// Reads a record of a topic of changes; the error says why it is none.
    pub fn read(
        topic: OutputTopic,
        offset: i64,
        standing_follows: bool,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<Self, String> {
        let value = value.ok_or("it has no value")?;
        let head: Head<'_> = serde_json::from_slice(&value).map_err(|error| format!("it is no change: {error}"))?;
        let (account, digest) = ((&*head.account).into(), head.model.digest.into_owned());
        let is_fall = matches!(&*head.cause, "decay" | "window");
        let Head { effective_at: Rfc3339(effective_at), sequence, .. } = head;
        let detected_at = head.detected_at.map(|time| time.0);
        Ok(Self {
            topic,
            offset,
            standing_follows,
            account,
            digest,
            is_fall,
            effective_at,
            sequence,
            detected_at,
            key,
            value,
        })
    }

    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<Value> {
        object(&self.value).remove(name)
    }

    /// What it says, for a person.
    pub fn tell(&self) -> String {
        let change = object(&self.value);
        let text = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or("none").to_owned();
        match self.topic {
            OutputTopic::TierChanges => format!("{} -> {} by {}", text("from"), text("to"), text("cause")),
            _ => format!("{} of {} by {}", text("op"), text("segment"), text("cause")),
        }
    }
}

/// What comparing a pair brings to light.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Comparison {
    /// What differs, for a person; nothing if nothing does.
    pub differs: Option<String>,
    /// Counts of events differ, and how: let pass after one side has forgotten the account.
    pub counts: Option<String>,
    /// One side has forgotten, right before, the account that the other one still knew.
    pub forgotten: bool,
}

/// Compares a published change with the expected one. When it was detected does not matter.
///
/// The service forgets accounts that have faded to nothing when it stores their page, an audit when
/// it comes by. What follows does not know the previous sequence, and counts of events in reasons
/// start afresh: that is let pass where the account held nothing. Later changes then differ in their
/// counts alone.
pub fn compare(expected: &Expected, published: &Published, model: &ModelId) -> Comparison {
    let mut line = Vec::new();
    let detected_at = published.detected_at.unwrap_or(expected.change.detected_at);
    encode_change(&Change { detected_at, ..expected.change.clone() }, model, &mut line);
    let is_keyed = published.key.as_deref() == Some(expected.change.account.as_bytes());
    // Nearly always, and cheaper than to look at the fields one by one.
    if is_keyed && line == published.value {
        return Comparison::default();
    }
    let (mut wanted, mut found) = (object(&line), object(&published.value));
    wanted.remove("detected_at");
    let mut comparison = Comparison::default();
    let first = wanted["previous_sequence"].is_null() || found.get("previous_sequence").is_some_and(Value::is_null);
    let may_be_forgotten = first && expected.held_nothing;
    if may_be_forgotten {
        comparison.forgotten = wanted.get("previous_sequence") != found.get("previous_sequence");
        wanted.remove("previous_sequence");
    }
    let (counts, published_counts) = (take_counts(&mut wanted), take_counts(&mut found));
    if counts != published_counts {
        comparison.forgotten |= may_be_forgotten;
        let [found, wanted] = [published_counts, counts].map(|counts| Value::from_iter(counts.into_iter().flatten()));
        comparison.counts = Some(format!("`count` in `reasons` is {found}, expected {wanted}"));
    }
    let mut differs = differing(&wanted, &found);
    if !is_keyed {
        differs.push("the record key is not the account".to_owned());
    }
    comparison.differs = told(differs);
    comparison
}

/// What differs between a standing as published and as expected; nothing if nothing does.
/// `forgotten`: the service may not know any more since when the account has no tier.
pub fn compare_standing(expected: &Standing, published: &[u8], model: &ModelId, forgotten: bool) -> Option<String> {
    let mut line = Vec::new();
    encode_standing(expected, model, &mut line);
    if line == published {
        return None;
    }
    let mut wanted = object(&line);
    if forgotten && expected.tier.is_none() {
        wanted.remove("since");
    }
    told(differing(&wanted, &object(published)))
}

/// Removes the counts of events from the reasons, and gives them.
fn take_counts(change: &mut Map<String, Value>) -> Vec<Option<Value>> {
    let reasons = change.get_mut("reasons").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    reasons.iter_mut().map(|reason| reason.as_object_mut().and_then(|reason| reason.remove("count"))).collect()
}

/// Fields may be added to the wire; those that are known must be as expected.
fn differing(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
    let unlike = wanted.iter().filter(|(name, value)| found.get(*name) != Some(value));
    unlike
        .map(|(name, value)| match found.get(name) {
            Some(found) => format!("`{name}` is {found}, expected {value}"),
            None => format!("`{name}` is missing, expected {value}"),
        })
        .collect()
}

fn told(differs: Vec<String>) -> Option<String> {
    let more = differs.len().saturating_sub(FIELDS_TOLD);
    let mut text = differs.into_iter().take(FIELDS_TOLD).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text += &format!("; and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

/// What is no object has no fields.
fn object(json: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(json).unwrap_or_default()
}
