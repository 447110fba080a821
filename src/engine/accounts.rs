//! The accounts of one partition, in pages.

use hashbrown::HashTable;
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

/// Accounts of one page.
#[derive(Debug, Default)]
pub struct Page {
    accounts: Vec<Account>,
    /// Positions, by [`spread`] hashes.
    index: HashTable<u32>,
}

/// The hash that the index of a page sees. It tells entries apart by the highest bits, and these are
/// the same for all accounts of a page.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Page {
    /// The position of an account.
    pub fn find(&self, hash: u64, name: &str) -> Option<usize> {
        let found = self.index.find(spread(hash), |&at| self.accounts[at as usize].name_bytes() == name.as_bytes());
        found.map(|&at| at as usize)
    }

    /// The position of an account that may be the one with this hash.
    pub fn candidate(&self, hash: u64) -> Option<usize> {
        self.index.find(spread(hash), |_| true).map(|&at| at as usize)
    }

    /// The position of an account, which is added if it is new.
    pub fn find_or_add(&mut self, hash: u64, name: &str) -> usize {
        match self.find(hash, name) {
            Some(at) => at,
            None => self.add(hash, Account::new(name)),
        }
    }

    /// Makes room for so many more accounts at once.
    pub fn reserve(&mut self, count: usize) {
        self.accounts.reserve_exact(count);
        let accounts = &self.accounts;
        self.index.reserve(count, |&at| spread(hash_of(&accounts[at as usize])));
    }

    /// Adds an account that is not there yet.
    pub fn add(&mut self, hash: u64, account: Account) -> usize {
        let at = self.accounts.len();
        if self.accounts.capacity() == at {
            // Grow by an eighth: millions of accounts pay for what is reserved.
            self.accounts.reserve_exact(4 + at / 8);
        }
        self.accounts.push(account);
        let accounts = &self.accounts;
        self.index.insert_unique(spread(hash), at as u32, |&at| spread(hash_of(&accounts[at as usize])));
        at
    }

    /// Removes the account at a position; the last one moves there.
    pub fn remove(&mut self, at: usize) -> Account {
        let hash = hash_of(&self.accounts[at]);
        if let Ok(entry) = self.index.find_entry(spread(hash), |&found| found as usize == at) {
            entry.remove();
        }
        let last = self.accounts.len() - 1;
        if at != last {
            let moved = hash_of(&self.accounts[last]);
            if let Some(index) = self.index.find_mut(spread(moved), |&found| found as usize == last) {
                *index = at as u32;
            }
        }
        self.accounts.swap_remove(at)
    }

    /// Positions of the accounts with this hash: one, but for a collision of 64 bits.
    pub fn with_hash(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.index.iter_hash(spread(hash)).map(|&at| at as usize).filter(move |&at| hash_of(&self.accounts[at]) == hash)
    }

    pub fn get(&self, at: usize) -> &Account {
        &self.accounts[at]
    }

    pub fn get_mut(&mut self, at: usize) -> &mut Account {
        &mut self.accounts[at]
    }

    /// All accounts, in no particular order.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Bytes that the page takes.
    pub fn footprint(&self) -> usize {
        let spare = (self.accounts.capacity() - self.accounts.len()) * size_of::<Account>();
        let index = self.index.allocation_size();
        self.accounts.iter().map(Account::footprint).sum::<usize>() + spare + index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_the_index_true() {
        let mut page = Page::default();
        let names: Vec<String> = (0..100).map(|i| format!("account-{i}")).collect();
        for name in &names {
            page.find_or_add(account_hash(name), name);
        }
        for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
            let at = page.find(account_hash(name), name).unwrap();
            assert_eq!(page.remove(at).name(), name, "{i}");
        }
        for (i, name) in names.iter().enumerate() {
            let found = page.find(account_hash(name), name).map(|at| page.get(at).name().to_string());
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
