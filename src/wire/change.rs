//! Changes as JSON, and the headers that make a CloudEvent (binary mode) of them.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::time::{Rfc3339, format_rfc3339};
use crate::model::{Change, FitScore, ModelId, Op, Reason, Transition};

/// Appends a change as one line of JSON, without a line end. Scores are rounded to 1e-6.
pub fn encode_change(change: &Change, model: &ModelId, out: &mut Vec<u8>) {
    let common = Common::of(change);
    let (event_id, account, model) = (event_id(change), &*change.account, ModelJson::of(model));
    let intent = rounded(change.intent);
    match &change.transition {
        Transition::Tier { from, to, up } => write(
            out,
            &TierChange {
                kind: "tier_change",
                event_id,
                account,
                model,
                from: from.as_deref(),
                to: to.as_deref(),
                direction: if *up { "up" } else { "down" },
                cause: change.cause.name(),
                intent,
                fit: change.fit.map(FitJson::of),
                mark: change.mark.map(rounded),
                effective_at: Rfc3339(change.effective_at),
                detected_at: Rfc3339(change.detected_at),
                common,
            },
        ),
        Transition::Segment { name, op } => write(
            out,
            &SegmentChange {
                kind: "segment_change",
                event_id,
                account,
                model,
                segment: name,
                op: match op {
                    Op::Enter => "enter",
                    Op::Exit => "exit",
                },
                cause: change.cause.name(),
                effective_at: Rfc3339(change.effective_at),
                detected_at: Rfc3339(change.detected_at),
                intent,
                fit: change.fit.map(FitJson::of),
                common,
            },
        ),
    }
}

/// The Kafka headers of a change: CloudEvents 1.0 in binary mode, from `source` (a URI reference
/// that names this service).
pub fn change_headers(change: &Change, source: &str) -> Vec<(&'static str, Vec<u8>)> {
    let kind = match change.transition {
        Transition::Tier { .. } => "tidemark.tier_change.v1",
        Transition::Segment { .. } => "tidemark.segment_change.v1",
    };
    vec![
        ("ce_specversion", b"1.0".to_vec()),
        ("ce_id", event_id(change).into_bytes()),
        ("ce_source", source.into()),
        ("ce_type", kind.into()),
        ("ce_time", format_rfc3339(change.effective_at).into_bytes()),
        ("ce_subject", change.account.as_bytes().to_vec()),
        ("content-type", b"application/json".to_vec()),
    ]
}

/// A hash of account and sequence: the same for the same change wherever it is made again.
fn event_id(change: &Change) -> String {
    // The sequence has a fixed length, so no two pairs give the same bytes.
    let bytes = [change.account.as_bytes(), &change.sequence.to_be_bytes()].concat();
    format!("{:032x}", xxh3_128(&bytes))
}

/// To 1e-6: readers see no noise of the last bits.
pub(super) fn rounded(score: f64) -> f64 {
    let rounded = (score * 1e6).round() / 1e6;
    // JSON has no infinity, and a number that large has no decimals.
    if rounded.is_finite() { rounded } else { score }
}

pub(super) fn write(out: &mut Vec<u8>, json: &impl Serialize) {
    // Writing to memory cannot fail, and no type of ours refuses to be written.
    serde_json::to_writer(out, json).expect("plain data into memory");
}

#[derive(Serialize)]
struct TierChange<'a> {
    kind: &'static str,
    event_id: String,
    account: &'a str,
    model: ModelJson<'a>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    direction: &'static str,
    cause: &'static str,
    intent: f64,
    fit: Option<FitJson>,
    mark: Option<f64>,
    effective_at: Rfc3339,
    detected_at: Rfc3339,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
struct SegmentChange<'a> {
    kind: &'static str,
    event_id: String,
    account: &'a str,
    model: ModelJson<'a>,
    segment: &'a str,
    op: &'static str,
    cause: &'static str,
    effective_at: Rfc3339,
    detected_at: Rfc3339,
    intent: f64,
    fit: Option<FitJson>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// What both kinds end with.
#[derive(Serialize)]
struct Common<'a> {
    reasons: Vec<ReasonJson<'a>>,
    next_change_at: Option<Rfc3339>,
    sequence: i64,
    previous_sequence: Option<i64>,
}

impl<'a> Common<'a> {
    fn of(change: &'a Change) -> Self {
        Self {
            reasons: change.reasons.iter().map(ReasonJson::of).collect(),
            next_change_at: change.next_change_at.and_then(Rfc3339::of_four_digits),
            sequence: change.sequence,
            previous_sequence: change.previous_sequence,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ModelJson<'a> {
    name: &'a str,
    version: u32,
    digest: &'a str,
}

impl<'a> ModelJson<'a> {
    pub(super) fn of(model: &'a ModelId) -> Self {
        Self { name: &model.name, version: model.version, digest: &model.digest }
    }
}

/// Fit as it goes out.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct FitJson {
    points: f64,
    coverage: f64,
    grade: Option<char>,
}

impl FitJson {
    pub(super) fn of(fit: FitScore) -> Self {
        Self { points: rounded(fit.points), coverage: rounded(fit.coverage), grade: fit.grade }
    }

    pub(super) fn score(self) -> FitScore {
        FitScore { points: self.points, coverage: self.coverage, grade: self.grade }
    }
}

#[derive(Serialize)]
pub(super) struct ReasonJson<'a> {
    name: &'a str,
    points: f64,
    count: u32,
    last_seen: Rfc3339,
}

impl<'a> ReasonJson<'a> {
    pub(super) fn of(reason: &'a Reason) -> Self {
        Self {
            name: &reason.signal,
            points: rounded(reason.points),
            count: reason.count,
            last_seen: Rfc3339(reason.last_seen),
        }
    }
}
