//! The JSON of answers about accounts.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    engine::Explanation,
    model::{FitScore, ModelId, Reason, SegmentSince, Standing, Timestamp},
    wire::time::format_rfc3339,
};

/// An account as it is now, and as it was last published.
#[derive(Debug, Serialize)]
pub struct Account {
    account: Arc<str>,
    /// The moment that the scores are of.
    at: String,
    tier: Option<Arc<str>>,
    since: Option<String>,
    segments: Vec<SegmentBody>,
    suppressed_by: Option<Arc<str>>,
    intent: f64,
    fit: Option<FitBody>,
    /// All signals that contribute, highest first.
    signals: Vec<SignalBody>,
    next_change_at: Option<String>,
    /// Up to when the account's history is decided.
    settled_at: String,
    sequence: Option<i64>,
    /// The last committed standing. The worker itself may be a commit ahead of it.
    published: Option<StandingBody>,
}

/// A standing, like on its topic.
#[derive(Debug, Serialize)]
pub struct StandingBody {
    account: Arc<str>,
    model: ModelBody,
    tier: Option<Arc<str>>,
    since: Option<String>,
    segments: Vec<SegmentBody>,
    suppressed_by: Option<Arc<str>>,
    intent: f64,
    fit: Option<FitBody>,
    as_of: String,
    next_change_at: Option<String>,
    sequence: i64,
}

#[derive(Debug, Serialize)]
struct ModelBody {
    name: Arc<str>,
    version: u32,
    digest: Arc<str>,
}

#[derive(Debug, Serialize)]
struct SegmentBody {
    name: Arc<str>,
    since: String,
}

#[derive(Debug, Serialize)]
struct FitBody {
    points: f64,
    coverage: f64,
    grade: Option<char>,
}

#[derive(Debug, Serialize)]
struct SignalBody {
    name: Arc<str>,
    points: f64,
    count: u32,
    last_seen: String,
}

impl Account {
    /// What the owning worker knows of the account, beside what the view shows.
    pub fn new(now: &Explanation, published: Option<&Standing>, model: &ModelId) -> Self {
        Self {
            account: now.account.clone(),
            at: format_rfc3339(now.at),
            tier: now.tier.clone(),
            since: optional_time(now.since),
            segments: now.segments.iter().map(SegmentBody::new).collect(),
            suppressed_by: now.suppressed_by.clone(),
            intent: now.intent,
            fit: now.fit.map(FitBody::new),
            signals: now.contributions.iter().map(SignalBody::new).collect(),
            next_change_at: optional_time(now.next_change_at),
            settled_at: format_rfc3339(now.settled),
            sequence: now.sequence,
            published: published.map(|standing| StandingBody::new(standing, model)),
        }
    }
}

impl StandingBody {
    /// The standing under the model in force.
    pub fn new(standing: &Standing, model: &ModelId) -> Self {
        Self {
            account: standing.account.clone(),
            model: ModelBody { name: model.name.clone(), version: model.version, digest: model.digest.clone() },
            tier: standing.tier.clone(),
            since: optional_time(standing.since),
            segments: standing.segments.iter().map(SegmentBody::new).collect(),
            suppressed_by: standing.suppressed_by.clone(),
            intent: standing.intent,
            fit: standing.fit.map(FitBody::new),
            as_of: format_rfc3339(standing.as_of),
            next_change_at: optional_time(standing.next_change_at),
            sequence: standing.sequence,
        }
    }
}

impl SegmentBody {
    fn new(SegmentSince { name, since }: &SegmentSince) -> Self {
        Self { name: name.clone(), since: format_rfc3339(*since) }
    }
}

impl FitBody {
    fn new(FitScore { points, coverage, grade }: FitScore) -> Self {
        Self { points, coverage, grade }
    }
}

impl SignalBody {
    fn new(Reason { signal, points, count, last_seen }: &Reason) -> Self {
        Self { name: signal.clone(), points: *points, count: *count, last_seen: format_rfc3339(*last_seen) }
    }
}

fn optional_time(time: Option<Timestamp>) -> Option<String> {
    time.map(format_rfc3339)
}
