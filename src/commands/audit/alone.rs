//! What can be told of published changes without the inputs: each account's stand in order, once
//! each, every tier change begins where the one before ended, and the standing says what the last one
//! says. Holds something of every account that has changes.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    changes::Published,
    findings::{Difference, Findings, Kind},
};
use crate::{log::OutputTopic, model::Timestamp, wire::standing::decode_standing};

/// A tier or none.
type Tier = Option<String>;

/// The published changes of one partition, by themselves.
pub struct Alone {
    partition: i32,
    /// What takes effect later is not looked at.
    until: Timestamp,
    accounts: HashMap<Arc<str>, Followed>,
    findings: Findings,
    /// Changes that were looked at.
    pub changes: u64,
}

#[derive(Debug, Default)]
struct Followed {
    /// The last sequence, per topic.
    last: [Option<i64>; 2],
    /// Where the last tier change led to; nothing before the first that is retained.
    tier: Option<Tier>,
    /// What the topic of standings says last, and where.
    stated: Option<(Tier, i64)>,
    /// The last standing may not have been written yet, or lies beyond what is looked at.
    in_flux: bool,
}

impl Alone {
    /// Nothing was read yet.
    pub fn new(partition: i32, until: Timestamp, findings: Findings) -> Self {
        Self { partition, until, accounts: HashMap::new(), findings, changes: 0 }
    }

    /// Takes a published change in the order of its topic.
    pub fn take(&mut self, published: &Published) {
        let followed = self.accounts.entry(published.account.clone()).or_default();
        followed.in_flux |= !published.standing_follows || published.effective_at > self.until;
        if published.effective_at > self.until {
            return;
        }
        self.changes += 1;
        let last = &mut followed.last[usize::from(published.topic == OutputTopic::SegmentChanges)];
        let fault = match *last {
            Some(before) if published.sequence == before => Some((Kind::Doubled, published.tell())),
            Some(before) if published.sequence < before => {
                Some((Kind::OutOfOrder, format!("{}; it stands after sequence {before}", published.tell())))
            }
            _ => {
                *last = Some(published.sequence);
                followed.go_on(published).map(|detail| (Kind::Different, detail))
            }
        };
        if let Some((kind, detail)) = fault {
            let difference = super::ledger::of_published(kind, published, self.partition, detail);
            self.findings.add(&published.account, difference);
        }
    }

    /// Takes a record of the topic of standings, after the changes.
    pub fn state(&mut self, account: &str, offset: i64, value: Option<&[u8]>) {
        let Some(followed) = self.accounts.get_mut(account) else { return };
        // Whose standing was removed is forgotten: it holds nothing.
        let standing = value.map(decode_standing).transpose();
        let tier = standing.map(|standing| standing.and_then(|standing| standing.tier));
        let tier = tier.map_or_else(|error| Some(error.to_string()), |tier| tier.as_deref().map(str::to_owned));
        followed.stated = Some((tier, offset));
    }

    /// All is read. Gives what was found.
    pub fn finish(mut self) -> Findings {
        for (account, followed) in self.accounts.iter().filter(|(_, followed)| !followed.in_flux) {
            let Some(tier) = &followed.tier else { continue };
            let (stated, offset) = match &followed.stated {
                Some((stated, offset)) => (stated, Some(*offset)),
                None => (&None, None),
            };
            if stated != tier {
                let (stated, tier) = (stated.as_deref().unwrap_or("none"), tier.as_deref().unwrap_or("none"));
                let detail = format!("the tier is {stated}, but the last tier change led to {tier}");
                let (kind, topic) = (Kind::Different, OutputTopic::Standings);
                let (partition, sequence, effective_at) = (self.partition, None, None);
                let difference = Difference { kind, topic, partition, offset, sequence, effective_at, detail };
                self.findings.add(account, difference);
            }
        }
        self.findings
    }
}

impl Followed {
    /// Follows a tier change; what is wrong if it does not begin where the one before ended.
    fn go_on(&mut self, published: &Published) -> Option<String> {
        if published.topic != OutputTopic::TierChanges {
            return None;
        }
        let tier = |name: &str| published.field(name).as_ref().and_then(Value::as_str).map(str::to_owned);
        let from = tier("from");
        let before = self.tier.replace(tier("to")).filter(|before| *before != from)?;
        let (from, before) = (from.unwrap_or("none".into()), before.unwrap_or("none".into()));
        Some(format!("{}: it begins at {from}, but the tier change before led to {before}", published.tell()))
    }
}
