//! What the read API says of accounts, as JSON.

use serde::Serialize;

use super::{
    change::{FitJson, ReasonJson, rounded, write},
    standing::{SegmentJson, StandingJson},
    time::Rfc3339,
};
use crate::{
    engine::Explanation,
    model::{ModelId, Standing},
};

/// One account: as its worker has it now, and as it was last published. Scores are rounded to 1e-6.
pub fn encode_account(now: &Explanation, published: Option<&Standing>, model: &ModelId) -> Vec<u8> {
    let json = AccountJson {
        account: &now.account,
        at: Rfc3339(now.at),
        tier: now.tier.as_deref(),
        since: now.since.map(Rfc3339),
        segments: now.segments.iter().map(SegmentJson::of).collect(),
        suppressed_by: now.suppressed_by.as_deref(),
        intent: rounded(now.intent),
        fit: now.fit.map(FitJson::of),
        signals: now.contributions.iter().map(ReasonJson::of).collect(),
        next_change_at: now.next_change_at.and_then(Rfc3339::of_four_digits),
        settled_at: Rfc3339(now.settled),
        sequence: now.sequence,
        published: published.map(|standing| StandingJson::of(standing, model)),
    };
    let mut out = Vec::new();
    write(&mut out, &json);
    out
}

/// Part of a listing of standings, each as on its topic.
pub fn encode_listing(standings: &[Standing], next_cursor: Option<&str>, model: &ModelId) -> Vec<u8> {
    let accounts = standings.iter().map(|standing| StandingJson::of(standing, model)).collect();
    let mut out = Vec::new();
    write(&mut out, &ListingJson { accounts, next_cursor });
    out
}

#[derive(Serialize)]
struct AccountJson<'a> {
    account: &'a str,
    /// The moment that the scores are of.
    at: Rfc3339,
    tier: Option<&'a str>,
    since: Option<Rfc3339>,
    segments: Vec<SegmentJson<'a>>,
    suppressed_by: Option<&'a str>,
    intent: f64,
    fit: Option<FitJson>,
    /// All signals that contribute, highest first.
    signals: Vec<ReasonJson<'a>>,
    next_change_at: Option<Rfc3339>,
    /// Up to when the account's history is decided.
    settled_at: Rfc3339,
    sequence: Option<i64>,
    /// The last committed standing; the worker itself may be a commit ahead of it.
    published: Option<StandingJson<'a>>,
}

#[derive(Serialize)]
struct ListingJson<'a> {
    accounts: Vec<StandingJson<'a>>,
    /// For the next part of the listing; nothing at its end.
    next_cursor: Option<&'a str>,
}
