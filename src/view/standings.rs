//! Committed standings: one by account, many by tier.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use serde::{Deserialize, Serialize};

use super::packed::Packed;
use crate::model::Standing;

/// A worker's hold on the partitions of one assignment, from their restore until it drops them.
/// What an earlier holder still writes or drops leaves the entries of a later one alone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Tenure(u64);

/// How many accounts have a standing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// By tier; nothing stands for no tier. Tiers without accounts may be missing.
    pub by_tier: BTreeMap<Option<Arc<str>>, usize>,
    pub suppressed: usize,
}

/// Part of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub standings: Vec<Standing>,
    /// After which account the next part goes on; nothing if there is none.
    pub next: Option<String>,
}

/// The committed standings of the accounts that this process owns.
///
/// Single reads take no lock that writers hold for long. Writers take the index first and an entry
/// of the map second, readers never hold both; no guard leaves this file.
#[derive(Debug, Default)]
pub struct View {
    entries: DashMap<Packed, ()>,
    index: Mutex<Index>,
    tenures: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    /// Accounts in the order of their ids, so that pages of a listing neither skip nor repeat.
    by_tier: BTreeMap<Option<Arc<str>>, BTreeSet<Packed>>,
    suppressed: usize,
}

impl View {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a worker's hold on newly assigned partitions.
    pub fn begin(&self) -> Tenure {
        Tenure(self.tenures.fetch_add(1, Ordering::Relaxed))
    }

    /// Shows standings that have been committed.
    pub fn publish(&self, tenure: Tenure, standings: impl IntoIterator<Item = Standing>) {
        let mut index = self.index();
        for standing in standings {
            let packed = Packed::new(tenure, &standing);
            match self.replace(packed.clone()) {
                Replaced::Nothing => {}
                Replaced::Old(old) => index.remove(&old),
                Replaced::Refused => continue,
            }
            index.insert(packed, standing);
        }
    }

    /// Forgets accounts whose standing was withdrawn by a committed tombstone.
    pub fn withdraw<'a>(&self, tenure: Tenure, accounts: impl IntoIterator<Item = &'a str>) {
        let mut index = self.index();
        for account in accounts {
            if let Some((packed, ())) = self.entries.remove_if(account, |packed, ()| packed.tenure() <= tenure) {
                index.remove(&packed);
            }
        }
    }

    /// Ends holds: forgets what was published under them. One pass over all entries.
    pub fn end(&self, tenures: &[Tenure]) {
        let mut index = self.index();
        self.entries.retain(|packed, ()| {
            let kept = !tenures.contains(&packed.tenure());
            if !kept {
                index.remove(packed);
            }
            kept
        });
    }

    /// The standing of one account.
    pub fn get(&self, account: &str) -> Option<Standing> {
        self.entries.get(account).map(|entry| entry.key().unpack())
    }

    /// At most `limit` standings of a tier (nothing: those without one), in the order of their
    /// account ids, which all come after `after`.
    pub fn by_tier(&self, tier: Option<&str>, limit: usize, after: Option<&str>) -> Page {
        // One more than asked for tells whether there is a next part.
        let mut packed = self.index().page(tier, limit.saturating_add(1), after);
        let has_more = packed.len() > limit;
        packed.truncate(limit);
        let next = packed.last().filter(|_| has_more).map(|last| last.account().to_owned());
        Page { standings: packed.iter().map(Packed::unpack).collect(), next }
    }

    /// How many accounts have a standing.
    pub fn counts(&self) -> Counts {
        let index = self.index();
        let by_tier = index.by_tier.iter().map(|(tier, accounts)| (tier.clone(), accounts.len()));
        Counts { by_tier: by_tier.collect(), suppressed: index.suppressed }
    }

    fn replace(&self, packed: Packed) -> Replaced {
        let tenure = packed.tenure();
        match self.entries.entry(packed) {
            Entry::Vacant(slot) => {
                slot.insert(());
                Replaced::Nothing
            }
            Entry::Occupied(slot) if slot.key().tenure() > tenure => Replaced::Refused,
            Entry::Occupied(slot) => Replaced::Old(slot.replace_entry(()).0),
        }
    }

    /// A panic of another thread cannot leave the index half changed in a way that matters more
    /// than a wrong count, so its poison is ignored.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Replaced {
    Nothing,
    Old(Packed),
    /// A later holder of the partition has published the account already.
    Refused,
}

impl Index {
    fn insert(&mut self, packed: Packed, standing: Standing) {
        self.by_tier.entry(standing.tier).or_default().insert(packed);
        self.suppressed += usize::from(standing.suppressed_by.is_some());
    }

    fn remove(&mut self, packed: &Packed) {
        let standing = packed.unpack();
        if let Some(accounts) = self.by_tier.get_mut(&standing.tier) {
            accounts.remove(packed);
            if accounts.is_empty() {
                self.by_tier.remove(&standing.tier);
            }
        }
        self.suppressed -= usize::from(standing.suppressed_by.is_some());
    }

    fn page(&self, tier: Option<&str>, limit: usize, after: Option<&str>) -> Vec<Packed> {
        let Some((_, accounts)) = self.by_tier.iter().find(|(name, _)| name.as_deref() == tier) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        accounts.range::<str, _>((start, Bound::Unbounded)).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn standing(account: &str, tier: Option<&str>, sequence: i64) -> Standing {
        Standing {
            account: account.into(),
            tier: tier.map(Arc::from),
            since: None,
            segments: Vec::new(),
            suppressed_by: None,
            intent: 0.0,
            fit: None,
            as_of: Timestamp::from_millis(sequence),
            next_change_at: None,
            sequence,
            gained: Vec::new(),
        }
    }

    fn names(page: &Page) -> Vec<&str> {
        page.standings.iter().map(|standing| &*standing.account).collect()
    }

    fn counts<const N: usize>(view: &View, expected: [(Option<&str>, usize); N]) {
        let expected = expected.map(|(tier, count)| (tier.map(Arc::from), count));
        assert_eq!(view.counts().by_tier, BTreeMap::from(expected));
    }

    #[test]
    fn counts_follow_the_standings() {
        let view = View::new();
        let tenure = view.begin();
        view.publish(tenure, [standing("a", Some("hot"), 1), standing("b", Some("hot"), 1), standing("c", None, 1)]);
        counts(&view, [(Some("hot"), 2), (None, 1)]);
        view.publish(tenure, [standing("a", Some("warm"), 2), standing("a", None, 3)]);
        counts(&view, [(Some("hot"), 1), (None, 2)]);
        view.withdraw(tenure, ["c", "unheard-of"]);
        counts(&view, [(Some("hot"), 1), (None, 1)]);
        assert_eq!(view.get("a").unwrap().sequence, 3);
        assert!(view.get("c").is_none());
    }

    #[test]
    fn suppressed_accounts_are_counted() {
        let view = View::new();
        let tenure = view.begin();
        let suppressed = Standing { suppressed_by: Some("customer".into()), ..standing("a", None, 1) };
        view.publish(tenure, [suppressed.clone(), suppressed]);
        assert_eq!(view.counts().suppressed, 1);
        view.publish(tenure, [standing("a", None, 2)]);
        assert_eq!(view.counts().suppressed, 0);
    }

    #[test]
    fn pages_come_in_the_order_of_account_ids() {
        let view = View::new();
        let tenure = view.begin();
        view.publish(tenure, ["d", "b", "a", "c"].map(|account| standing(account, Some("hot"), 1)));
        view.publish(tenure, [standing("bb", Some("warm"), 1)]);
        let first = view.by_tier(Some("hot"), 3, None);
        assert_eq!((names(&first), first.next.as_deref()), (vec!["a", "b", "c"], Some("c")));
        let second = view.by_tier(Some("hot"), 3, Some("c"));
        assert_eq!((names(&second), second.next.as_deref()), (vec!["d"], None));
        assert_eq!(names(&view.by_tier(Some("hot"), 3, Some("bz"))), ["c", "d"]);
        assert_eq!(view.by_tier(Some("hot"), 4, None).next, None, "a full page may be the last");
        assert_eq!(view.by_tier(Some("cold"), 3, None), Page::default());
        assert_eq!(view.by_tier(None, 3, None), Page::default());
    }

    #[test]
    fn what_is_listed_is_what_was_published_last() {
        let view = View::new();
        let tenure = view.begin();
        let listed = |tier| view.by_tier(Some(tier), 9, None).standings;
        for (sequence, tier) in [(1, "hot"), (2, "hot"), (3, "warm"), (4, "warm")] {
            let published = standing("a", Some(tier), sequence);
            view.publish(tenure, [published.clone()]);
            assert_eq!(listed(tier), [published], "{sequence}");
        }
        assert_eq!(listed("hot"), [], "it has left");
    }

    #[test]
    fn a_tenure_that_ended_takes_its_standings_with_it_and_no_others() {
        let view = View::new();
        let (old, new, other) = (view.begin(), view.begin(), view.begin());
        view.publish(old, [standing("moved", Some("hot"), 1), standing("gone", Some("hot"), 1)]);
        view.publish(other, [standing("elsewhere", Some("hot"), 1)]);
        view.publish(new, [standing("moved", Some("warm"), 2)]);
        // The earlier holder has not noticed yet that the partition is no longer its own.
        view.publish(old, [standing("moved", Some("hot"), 1)]);
        view.withdraw(old, ["moved"]);
        view.end(&[old]);
        assert_eq!(view.get("moved").unwrap().tier.as_deref(), Some("warm"));
        assert!(view.get("gone").is_none());
        counts(&view, [(Some("hot"), 1), (Some("warm"), 1)]);
    }

    #[test]
    fn writers_on_many_threads_leave_exact_counts() {
        let view = View::new();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let view = &view;
                scope.spawn(move || {
                    let tenure = view.begin();
                    for round in 0..50 {
                        let tier = ["hot", "warm"][round % 2];
                        let batch = (0..20).map(|n| standing(&format!("{worker}-{n}"), Some(tier), round as i64));
                        view.publish(tenure, batch);
                    }
                });
            }
        });
        counts(&view, [(Some("warm"), 80)]);
        assert_eq!(view.by_tier(Some("warm"), 1000, None).standings.len(), 80);
    }
}
