//! What is known of one account, and why.

use std::sync::Arc;

use super::{Engine, NEVER, accounts::account_hash, page_of};
use crate::model::{FitScore, Reason, SegmentSince, Timestamp};

/// One account at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub account: Arc<str>,
    /// The moment that the scores are of.
    pub at: Timestamp,
    pub tier: Option<Arc<str>>,
    /// When the account came to its tier, or lost its last one.
    pub since: Option<Timestamp>,
    pub segments: Vec<SegmentSince>,
    pub suppressed_by: Option<Arc<str>>,
    pub intent: f64,
    pub fit: Option<FitScore>,
    /// All signals that contribute, highest first.
    pub contributions: Vec<Reason>,
    /// When tier or segments will change next if the account stays silent.
    pub next_change_at: Option<Timestamp>,
    /// Up to when the account's history is decided.
    pub settled: Timestamp,
    /// The sequence of the last change; nothing if there never was one.
    pub sequence: Option<i64>,
}

impl Engine {
    /// The account at `at`, or at the moment it is settled to if that is later; nothing if it is
    /// not in memory.
    pub fn explain(&self, account: &str, at: Timestamp) -> Option<Explanation> {
        let hash = account_hash(account);
        let page = page_of(hash);
        let index = self.pages[usize::from(page.0)].find(hash, account.as_bytes())?;
        let settled = self.account(page, index).settled();
        let at = at.max(settled);
        let reading = self.reading(page, index);
        let judge = self.judge(page, index, at);
        let (sequence, since) = self.last_published(page, index);
        let next = self.next_change(page, index, settled);
        Some(Explanation {
            account: account.into(),
            at,
            tier: reading.account.tier().map(|tier| self.model.tiers()[usize::from(tier.0)].name.clone()),
            since,
            segments: self.segments_of(page, index),
            suppressed_by: judge.suppression().map(|id| self.model.suppress()[id].name.clone()),
            intent: judge.intent(),
            fit: reading.fit(),
            contributions: reading.contributions(at),
            next_change_at: (next != NEVER).then_some(next),
            settled,
            sequence: (sequence > 0).then_some(sequence),
        })
    }
}
