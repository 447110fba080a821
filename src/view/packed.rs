//! Standings in little memory: there may be millions.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use triomphe::ThinArc;

use super::standings::Tenure;
use crate::model::{FitScore, SegmentSince, Standing, TierGained, Timestamp};

/// A standing and the tenure that it was published under, in one piece of memory that map and index
/// share. Among others it stands for its account: it sorts, compares and hashes as the account's name.
#[derive(Clone, Debug)]
pub struct Packed(ThinArc<(), u8>);

impl Packed {
    /// Packs a standing.
    pub fn new(tenure: Tenure, standing: &Standing) -> Self {
        let bytes = postcard::to_allocvec(&Fields::of(tenure, standing)).expect("plain data into memory");
        Self(ThinArc::from_header_and_slice((), &bytes))
    }

    /// The standing, as it was before.
    pub fn unpack(&self) -> Standing {
        postcard::from_bytes::<Fields<'_>>(&self.0.slice).expect("packed above").standing()
    }

    /// Whose it is.
    pub fn account(&self) -> &str {
        let (account, _) = postcard::take_from_bytes(&self.0.slice).expect("packed above");
        account
    }

    /// Under which tenure it was published.
    pub fn tenure(&self) -> Tenure {
        let ((_, tenure), _): ((&[u8], _), _) = postcard::take_from_bytes(&self.0.slice).expect("packed above");
        tenure
    }

    /// [`Self::account`] byte by byte: each change compares dozens of them, which need not be seen to be text for that.
    fn account_bytes(&self) -> &[u8] {
        let (account, _) = postcard::take_from_bytes(&self.0.slice).expect("packed above");
        account
    }
}

/// What is packed, in this order. Other times, and the sequence, which is a time as a rule, are told by
/// how far they are from `as_of`: small numbers take few bytes.
#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    account: &'a str,
    tenure: Tenure,
    as_of: i64,
    tier: Option<&'a str>,
    since: Option<i64>,
    #[serde(borrow)]
    segments: Vec<(&'a str, i64)>,
    suppressed_by: Option<&'a str>,
    intent: f64,
    fit: Option<(f64, f64, Option<char>)>,
    next_change_at: Option<i64>,
    sequence: i64,
    gained: Vec<(&'a str, i64)>,
}

impl<'a> Fields<'a> {
    fn of(tenure: Tenure, standing: &'a Standing) -> Self {
        let as_of = standing.as_of.millis();
        let from = |time: Timestamp| time.millis().wrapping_sub(as_of);
        Self {
            account: &standing.account,
            tenure,
            as_of,
            tier: standing.tier.as_deref(),
            since: standing.since.map(from),
            segments: standing.segments.iter().map(|segment| (&*segment.name, from(segment.since))).collect(),
            suppressed_by: standing.suppressed_by.as_deref(),
            intent: standing.intent,
            fit: standing.fit.map(|fit| (fit.points, fit.coverage, fit.grade)),
            next_change_at: standing.next_change_at.map(from),
            sequence: standing.sequence.wrapping_sub(as_of),
            gained: standing.gained.iter().map(|gained| (&*gained.name, from(gained.at))).collect(),
        }
    }

    fn standing(self) -> Standing {
        let time = |from: i64| Timestamp::from_millis(self.as_of.wrapping_add(from));
        let segment = |(name, since): (&str, i64)| SegmentSince { name: name.into(), since: time(since) };
        let gained = |(name, at): (&str, i64)| TierGained { name: name.into(), at: time(at) };
        Standing {
            account: self.account.into(),
            tier: self.tier.map(Arc::from),
            since: self.since.map(time),
            segments: self.segments.into_iter().map(segment).collect(),
            suppressed_by: self.suppressed_by.map(Arc::from),
            intent: self.intent,
            fit: self.fit.map(|(points, coverage, grade)| FitScore { points, coverage, grade }),
            as_of: time(0),
            next_change_at: self.next_change_at.map(time),
            sequence: self.as_of.wrapping_add(self.sequence),
            gained: self.gained.into_iter().map(gained).collect(),
        }
    }
}

impl Borrow<str> for Packed {
    fn borrow(&self) -> &str {
        self.account()
    }
}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.account().hash(state);
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.account_bytes() == other.account_bytes()
    }
}

impl Eq for Packed {}

impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        // As text compares.
        self.account_bytes().cmp(other.account_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::view::View;

    #[test]
    fn a_standing_comes_back_whole_and_stands_for_its_account() {
        let time = Timestamp::from_millis;
        let standing = |account: &str| Standing {
            account: account.into(),
            tier: Some("hot".into()),
            since: Some(time(1_795_000_000_123)),
            segments: vec![SegmentSince { name: "pricing".into(), since: time(1_795_000_000_001) }],
            suppressed_by: Some("customer".into()),
            intent: 0.1 + 0.2,
            fit: Some(FitScore { points: 71.5, coverage: 1.0 / 3.0, grade: Some('B') }),
            as_of: time(1_795_000_000_124),
            next_change_at: Some(time(i64::MAX)),
            sequence: i64::MAX,
            gained: vec![TierGained { name: "hot".into(), at: time(0) }],
        };
        let view = View::new();
        let (first, second) = (view.begin(), view.begin());
        let packed = Packed::new(second, &standing("acme.example"));
        assert_eq!(packed.unpack(), standing("acme.example"));
        assert_eq!((packed.account(), packed.tenure()), ("acme.example", second));
        let others = ["b.example", "a.example", "acme.example"].map(|account| Packed::new(first, &standing(account)));
        let sorted: BTreeSet<Packed> = others.into_iter().chain([packed]).collect();
        assert_eq!(sorted.iter().map(Packed::account).collect::<Vec<_>>(), ["a.example", "acme.example", "b.example"]);
        assert!(sorted.contains("b.example"));
    }
}
