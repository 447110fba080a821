//! Standings in little memory: there may be millions.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::standings::Tenure;
use crate::model::Standing;

/// A standing and the tenure that it was published under, in one piece of memory that map and index
/// share. Among others it stands for its account: it sorts, compares and hashes as the account's name.
#[derive(Clone, Debug)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    /// Packs a standing.
    pub fn new(tenure: Tenure, standing: &Standing) -> Self {
        Self(postcard::to_allocvec(&(tenure, standing)).expect("plain data into memory").into())
    }

    /// The standing, as it was before.
    pub fn unpack(&self) -> Standing {
        let (_, standing): (Tenure, _) = postcard::from_bytes(&self.0).expect("packed above");
        standing
    }

    /// Whose it is.
    pub fn account(&self) -> &str {
        self.head().1
    }

    /// Under which tenure it was published.
    pub fn tenure(&self) -> Tenure {
        self.head().0
    }

    /// What it begins with: the account is the first field of a standing.
    fn head(&self) -> (Tenure, &str) {
        let (head, _) = postcard::take_from_bytes(&self.0).expect("packed above");
        head
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
        self.account() == other.account()
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
        self.account().cmp(other.account())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        model::{FitScore, SegmentSince, TierGained, Timestamp},
        view::View,
    };

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
