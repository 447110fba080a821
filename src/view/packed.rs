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
