//! The accounts of one partition, in pages.

use std::hint::black_box;

use hashbrown::{HashTable, hash_table::Entry};
use xxhash_rust::xxh3::xxh3_64;

use super::account::Account;

/// Pages per partition: a fixed number, since state topics are keyed by it.
pub const PAGES: usize = 1024;

/// A fixed bucket of accounts inside a partition, the unit of state snapshots.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageId(pub u16);

impl PageId {
    /// All pages.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PAGES as u16).map(Self)
    }
}

/// Stable hash of an account's name: its high bits choose the page.
pub fn account_hash(name: &str) -> u64 {
    hash_of_name(name.as_bytes())
}

/// [`account_hash`] of what should be a name.
pub fn hash_of_name(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// [`account_hash`] of an account's name.
pub fn hash_of(account: &Account) -> u64 {
    hash_of_name(account.name_bytes())
}

/// The page that an account of this hash lies in.
pub fn page_of(hash: u64) -> PageId {
    PageId((hash >> (64 - PAGES.trailing_zeros())) as u16)
}

/// Accounts of one page. Each is one pointer, which lies in the index itself: the position of an account is that of its
/// pointer there, and stays until an account is added.
#[derive(Default)]
pub struct Page(HashTable<Account>);

/// The hash that the table of a page sees. It tells entries apart by the highest bits, and these are
/// the same for all accounts of a page.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Page {
    /// The position of an account.
    pub fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        self.0.find_bucket_index(spread(hash), |account| account.name_bytes() == name)
    }

    /// The position of an account that may be the one with this hash.
    pub fn candidate(&self, hash: u64) -> Option<usize> {
        self.0.find_bucket_index(spread(hash), |_| true)
    }

    /// Whether the account at a position, if there is one, has this name.
    pub fn has(&self, at: usize, name: &[u8]) -> bool {
        self.0.get_bucket(at).is_some_and(|account| account.name_bytes() == name)
    }

    /// Reads the place where the account with this hash most likely is, or would be put; a wrong guess costs time,
    /// nothing else.
    pub fn peek_place(&self, hash: u64) -> usize {
        let mask = self.0.num_buckets().wrapping_sub(1);
        self.0.get_bucket(spread(hash) as usize & mask).map_or(0, Account::peek_place)
    }

    /// The position of an account, which is made if it is not there.
    pub fn find_or_add(&mut self, hash: u64, name: &[u8], make: impl FnOnce() -> Account) -> usize {
        self.reserve(1);
        match self.0.entry(spread(hash), |account| account.name_bytes() == name, |account| spread(hash_of(account))) {
            Entry::Occupied(known) => known.bucket_index(),
            Entry::Vacant(place) => place.insert(make()).bucket_index(),
        }
    }

    /// Makes room for so many more accounts at once.
    pub fn reserve(&mut self, count: usize) {
        if self.0.capacity() - self.0.len() < count {
            self.grow(count);
        }
    }

    /// Reads the names of all first, which no cache holds, so that the processor waits for many of them at once.
    #[cold]
    fn grow(&mut self, count: usize) {
        self.peek_with(Account::peek_name);
        self.0.reserve(count, |account| spread(hash_of(account)));
    }

    /// Reads all of all accounts, or nearly, so that the processor waits for many of them at once.
    pub fn peek(&self) {
        self.peek_with(Account::peek_head);
        self.peek_with(Account::peek);
    }

    fn peek_with(&self, peek: impl Fn(&Account) -> u64) {
        black_box(self.accounts().fold(0, |sum: u64, account| sum.wrapping_add(peek(account))));
    }

    /// Removes the account at a position. The others stay where they are.
    pub fn remove(&mut self, at: usize) {
        if let Ok(entry) = self.0.get_bucket_entry(at) {
            entry.remove();
        }
    }

    /// Positions of the accounts with this hash: one, but for a collision of 64 bits.
    pub fn with_hash(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.0.iter_hash_buckets(spread(hash)).filter(move |&at| hash_of(self.get(at)) == hash)
    }

    /// The account at a position where there is one.
    pub fn get(&self, at: usize) -> &Account {
        self.0.get_bucket(at).expect("the position of an account")
    }

    pub fn get_mut(&mut self, at: usize) -> &mut Account {
        self.0.get_bucket_mut(at).expect("the position of an account")
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All accounts, in the order of [`Self::positions`], which is no particular one.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.0.iter()
    }

    /// The positions of all accounts.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = usize> {
        self.0.iter_buckets()
    }

    /// Bytes that the page takes.
    pub fn footprint(&self) -> usize {
        self.0.allocation_size() + self.accounts().map(Account::heap_bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_the_index_true() {
        let mut page = Page::default();
        let names: Vec<String> = (0..256).map(|i| format!("account-{i}")).collect();
        for name in &names {
            page.find_or_add(account_hash(name), name.as_bytes(), || Account::new(name.as_bytes()));
        }
        for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
            let at = page.find(account_hash(name), name.as_bytes()).unwrap();
            assert_eq!(page.get(at).name(), name, "{i}");
            page.remove(at);
        }
        for (i, name) in names.iter().enumerate() {
            let found = page.find(account_hash(name), name.as_bytes()).map(|at| page.get(at).name().to_string());
            assert_eq!(found, (i % 3 != 0).then(|| name.clone()));
        }
    }

    #[test]
    fn the_index_of_a_page_tells_its_accounts_apart() {
        let names = (0..).map(|i| format!("account-{i}"));
        let hashes = names.map(|name| account_hash(&name)).filter(|hash| page_of(*hash) == PageId(5)).take(256);
        // The index compares these seven bits before it looks at an account.
        let tags: std::collections::HashSet<_> = hashes.map(|hash| spread(hash) >> 57).collect();
        assert!(tags.len() > 64, "only {} of 128", tags.len());
    }
}
