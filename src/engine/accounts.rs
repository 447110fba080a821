//! The accounts of one partition, in pages.

use std::{hint::black_box, iter};

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

/// Accounts of one page.
#[derive(Debug, Default)]
pub struct Page {
    /// All are full but the last one.
    chunks: Vec<Chunk>,
    /// Positions, by [`spread`] hashes.
    index: HashTable<u32>,
}

/// Up to [`CHUNK`] accounts. Were a page in one piece, it would reserve more than it holds, and leave a
/// hole behind whenever it grows, as all pages do at about the same time: 10 to 25 bytes per account.
type Chunk = Vec<Account>;

/// A power of two, as vectors grow.
const CHUNK: usize = 64;

/// The hash that the index of a page sees. It tells entries apart by the highest bits, and these are
/// the same for all accounts of a page.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Page {
    /// The position of an account.
    pub fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        self.index.find(spread(hash), |&at| self.get(at as usize).name_bytes() == name).map(|&at| at as usize)
    }

    /// The position of an account that may be the one with this hash.
    pub fn candidate(&self, hash: u64) -> Option<usize> {
        self.index.find(spread(hash), |_| true).map(|&at| at as usize)
    }

    /// Whether the account at a position, if there is one, has this name.
    pub fn has(&self, at: usize, name: &[u8]) -> bool {
        at < self.len() && self.get(at).name_bytes() == name
    }

    /// Reads the place where the index most likely has an account with this hash, or would put it; a wrong
    /// guess costs time, nothing else.
    pub fn peek_index(&self, hash: u64) -> u64 {
        let mask = self.index.num_buckets().wrapping_sub(1);
        u64::from(self.index.get_bucket(spread(hash) as usize & mask).copied().unwrap_or(0))
    }

    /// Reads the end of the last chunk, behind which the next account comes.
    pub fn peek_end(&self) -> u64 {
        self.chunks.last().and_then(|chunk| chunk.last()).map_or(0, Account::peek_record)
    }

    /// The position of an account, which is made if it is not there.
    pub fn find_or_add(&mut self, hash: u64, name: &[u8], make: impl FnOnce() -> Account) -> usize {
        self.reserve(1);
        let (chunks, at) = (&mut self.chunks, self.index.len());
        let is_known = |&at: &u32| account_in(chunks, at as usize).name_bytes() == name;
        match self.index.entry(spread(hash), is_known, |&at| spread(hash_of(account_in(chunks, at as usize)))) {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(place) => {
                place.insert(at as u32);
                append(chunks, make);
                at
            }
        }
    }

    /// Makes room in the index for so many more accounts at once.
    pub fn reserve(&mut self, count: usize) {
        if self.index.capacity() - self.index.len() < count {
            self.grow(count);
        }
    }

    /// Reads the names of all first, which no cache holds, so that the processor waits for many of them at once.
    #[cold]
    fn grow(&mut self, count: usize) {
        black_box(self.accounts().fold(0, |sum: u64, account| sum.wrapping_add(account.peek_name())));
        let hashes: Vec<u64> = self.accounts().map(|account| spread(hash_of(account))).collect();
        self.index.reserve(count, |&at| hashes[at as usize]);
    }

    /// Removes the account at a position; the last one moves there.
    pub fn remove(&mut self, at: usize) {
        let (last, hash) = (self.len() - 1, hash_of(self.get(at)));
        if let Ok(entry) = self.index.find_entry(spread(hash), |&found| found as usize == at) {
            entry.remove();
        }
        if at != last {
            let moved = hash_of(self.get(last));
            if let Some(index) = self.index.find_mut(spread(moved), |&found| found as usize == last) {
                *index = at as u32;
            }
        }
        let moved = self.chunks.last_mut().and_then(Chunk::pop);
        if let Some(moved) = moved.filter(|_| at != last) {
            *self.get_mut(at) = moved;
        }
        self.chunks.pop_if(|chunk| chunk.is_empty());
    }

    /// Positions of the accounts with this hash: one, but for a collision of 64 bits.
    pub fn with_hash(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.index.iter_hash(spread(hash)).map(|&at| at as usize).filter(move |&at| hash_of(self.get(at)) == hash)
    }

    pub fn get(&self, at: usize) -> &Account {
        account_in(&self.chunks, at)
    }

    pub fn get_mut(&mut self, at: usize) -> &mut Account {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    /// How many accounts there are. Their positions go from 0 to one less.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// All accounts, in no particular order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.chunks.iter().flatten()
    }

    /// Bytes that the page takes.
    pub fn footprint(&self) -> usize {
        let chunks = self.chunks.capacity() * size_of::<Chunk>();
        let accounts: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<Account>()).sum();
        let words: usize = self.accounts().map(Account::heap_bytes).sum();
        chunks + accounts + words + self.index.allocation_size()
    }
}

fn account_in(chunks: &[Chunk], at: usize) -> &Account {
    &chunks[at / CHUNK][at % CHUNK]
}

fn append(chunks: &mut Vec<Chunk>, make: impl FnOnce() -> Account) {
    if chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
        // Most pages of a small table stay small.
        chunks.push(Chunk::with_capacity(if chunks.is_empty() { 4 } else { CHUNK / 4 }));
    }
    if let Some(chunk) = chunks.last_mut() {
        // Made where it stays: `push` would make it on the stack and copy it from there.
        chunk.extend(iter::once_with(make));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_the_index_true() {
        let mut page = Page::default();
        let names: Vec<String> = (0..4 * CHUNK).map(|i| format!("account-{i}")).collect();
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
