//! The state of one account: a compact, sorted run of cells.

use std::mem;

use zerocopy::IntoBytes;

use super::layout::{Layout, Slot};
use crate::model::{EventId, MAX_ACCOUNT_BYTES, TierId, Timestamp, words};

/// How many recent event ids an account remembers.
pub const IDS_KEPT: usize = 16;

const TIME_BITS: u32 = 44;
const COUNT_BITS: u32 = 12;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const ID_HASH_BITS: u32 = 40;
/// 2^18 ms, about 4.4 minutes: 24 bits of them last for 139 years.
const ID_TIME_UNIT_BITS: u32 = 18;

/// The first word of a cell: slot (8 bits), count (12 bits), time (44 bits of milliseconds).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub u64);

impl Tag {
    /// A tag; the time must be representable, the count saturates at 4095.
    pub fn new(slot: Slot, count: u64, time: Timestamp) -> Self {
        debug_assert!(time.is_representable());
        let time = time.millis() as u64 & TIME_MASK;
        Self(u64::from(slot.0) << (TIME_BITS + COUNT_BITS) | count.min(COUNT_MAX) << TIME_BITS | time)
    }
    /// The slot that the cell belongs to.
    pub const fn slot(self) -> Slot {
        Slot((self.0 >> (TIME_BITS + COUNT_BITS)) as u8)
    }
    /// How many events went into the cell, up to 4095.
    pub const fn count(self) -> u64 {
        self.0 >> TIME_BITS & COUNT_MAX
    }
    /// The cell's time.
    pub const fn time(self) -> Timestamp {
        Timestamp::from_millis((self.0 & TIME_MASK) as i64)
    }
}

/// A time in six bytes: from 1970 to the year 10889, which is further than RFC 3339 can say. What lies before is
/// [`Timestamp::MIN`], and what lies beyond [`NEVER`].
#[derive(Clone, Copy, Debug)]
struct Moment([u8; 6]);

impl Moment {
    /// The last one that is a time.
    const LAST: i64 = (1 << 48) - 3;

    const fn new(time: Timestamp) -> Self {
        // None before 1970 is 0, and the others are counted from 1.
        let number = match time.millis() {
            ..0 => 0,
            millis @ 0..=Self::LAST => millis + 1,
            _ => Self::LAST + 2,
        };
        let [a, b, c, d, e, f, _, _] = number.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    const fn time(self) -> Timestamp {
        let [a, b, c, d, e, f] = self.0;
        match i64::from_le_bytes([a, b, c, d, e, f, 0, 0]) - 1 {
            ..0 => Timestamp::MIN,
            millis @ 0..=Self::LAST => Timestamp::from_millis(millis),
            _ => NEVER,
        }
    }
}

/// One account. Everything that varies lies in `words`, in one piece of memory: first the name, then
/// the cells, sorted by slot and within a slot newest first, then the recent event ids, newest first.
/// There are millions of accounts, so every byte counts. A cache line holds two of these and no part of a third, since
/// the blocks of memory that they come in have sizes that are powers of two, and allocators align such by their size.
#[derive(Clone, Debug)]
pub struct Account {
    words: Box<[u64]>,
    settled: Moment,
    armed: Moment,
    tier: u8,
    /// The number of event ids, and above it [`JUDGED`].
    ids: u8,
    /// Which byte is the last one of the name: names have 1 to [`MAX_ACCOUNT_BYTES`] bytes.
    name_last: u8,
    /// How many words, at the end, are free.
    spare: u8,
}

const _: () = assert!(size_of::<Account>() == 32 && MAX_ACCOUNT_BYTES <= 256);
const _: () = assert!(cfg!(target_endian = "little"), "accounts are stored as they lie in memory");

/// Words in a cache line.
const LINE_WORDS: usize = 8;

/// Words that nearly every account needs at once: a sum, a person, an event id.
const WORDS_AT_FIRST: usize = 5;

/// Words that a small account has room for at least after it had to move: its next event mostly brings an id and a
/// person, and blocks of larger ones differ by more anyway.
const WORDS_IN_RESERVE: usize = 2;
/// The largest block whose account is small, in words.
const SMALL: usize = 12;

/// The length of a block for so many words: the smallest of the sizes that allocators have, since what
/// they would round it up by is lost. These are steps of 2 words up to 16, then four steps from one power
/// of two to the next (mimalloc and jemalloc alike).
fn room_for(words: usize) -> usize {
    let step = (1 << words.saturating_sub(1).max(8).ilog2()) / 4;
    // A step is a power of two, so this is the next multiple; and not more is spare than can be said.
    ((words + step - 1) & !(step - 1)).min(words + usize::from(u8::MAX))
}

/// No timer is armed.
pub const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);
const NO_TIER: u8 = u8::MAX;
const JUDGED: u8 = 0x80;

impl Account {
    /// An account that nothing has touched.
    #[inline(always)]
    pub fn new(name: &[u8]) -> Self {
        Self::with_room(name, &[], WORDS_AT_FIRST)
    }

    /// An account as it was stored: `words` are its cells and then `ids` event ids, at most [`IDS_KEPT`].
    pub fn from_parts(name: &[u8], settled: Timestamp, tier: Option<TierId>, words: &[[u8; 8]], ids: u8) -> Self {
        let mut account = Self { settled: Moment::new(settled), ids, ..Self::with_room(name, words, 0) };
        account.set_tier(tier);
        account
    }

    /// An account with cells, and room for some more words.
    #[inline(always)]
    fn with_room(name: &[u8], cells: &[[u8; 8]], more: usize) -> Self {
        debug_assert!((1..=MAX_ACCOUNT_BYTES).contains(&name.len()));
        let used = name.len().div_ceil(8) + cells.len();
        let room = room_for(used + more);
        let mut words = Vec::with_capacity(room);
        words.extend(name.chunks(8).map(words::head));
        words.extend(cells.iter().map(|cell| u64::from_le_bytes(*cell)));
        words.resize(room, 0);
        Self {
            words: words.into_boxed_slice(),
            settled: Moment::new(Timestamp::MIN),
            armed: Moment::new(NEVER),
            spare: (room - used) as u8,
            tier: NO_TIER,
            ids: 0,
            name_last: (name.len() - 1) as u8,
        }
    }

    /// Reads a word of each cache line of the block of memory, or nearly.
    pub fn peek(&self) -> u64 {
        let lines = self.words.iter().step_by(LINE_WORDS).chain(self.words.last());
        lines.fold(0, |sum: u64, word| sum.wrapping_add(*word))
    }

    /// Reads the beginning of the name.
    pub fn peek_name(&self) -> u64 {
        self.words.first().copied().unwrap_or_default()
    }

    /// Reads of the record itself, not of what it refers to.
    pub fn peek_record(&self) -> u64 {
        u64::from(self.spare)
    }

    /// Up to when the account's history is decided.
    pub fn settled(&self) -> Timestamp {
        self.settled.time()
    }

    /// The account's history is decided up to here.
    pub fn set_settled(&mut self, until: Timestamp) {
        self.settled = Moment::new(until);
    }

    /// The time of this account's valid entry in the timer queue, never later than its next change; or [`NEVER`].
    pub fn armed(&self) -> Timestamp {
        self.armed.time()
    }

    /// The entry in the timer queue that is valid is now the one of this time, or with [`NEVER`] none.
    pub fn set_armed(&mut self, time: Timestamp) {
        self.armed = Moment::new(time);
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        // It was text when it came in.
        std::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    /// The account's name, byte by byte.
    pub fn name_bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..usize::from(self.name_last) + 1]
    }

    fn cell_start(&self) -> usize {
        usize::from(self.name_last) / 8 + 1
    }

    /// Where the words end that are in use.
    fn end(&self) -> usize {
        self.words.len() - usize::from(self.spare)
    }

    /// The published tier.
    pub fn tier(&self) -> Option<TierId> {
        (self.tier != NO_TIER).then_some(TierId(self.tier))
    }

    /// Sets the published tier.
    pub fn set_tier(&mut self, tier: Option<TierId>) {
        self.tier = tier.map_or(NO_TIER, |tier| tier.0);
    }

    /// One bit for each segment that the account is in.
    pub fn members(&self, layout: &Layout) -> u32 {
        let (first, end) = layout.memberships();
        let cells = &self.words[self.seek(layout, first)..self.cell_end()];
        let members = cells.iter().map(|word| Tag(*word).slot()).take_while(|slot| *slot < end);
        members.fold(0, |bits, slot| bits | 1 << (slot.0 - first.0))
    }

    /// Whether the account has a tier or is in a segment.
    pub fn stands(&self, layout: &Layout) -> bool {
        self.tier != NO_TIER || self.members(layout) != 0
    }

    /// All cells and event ids, for storing: words of little-endian bytes.
    pub fn words(&self) -> &[[u8; 8]] {
        self.words[self.cell_start()..self.end()].as_bytes().as_chunks().0
    }

    /// How many of the words, at the end, are event ids.
    pub fn id_count(&self) -> u8 {
        self.ids & !JUDGED
    }

    /// Whether the account is known to belong where it stands, at the moment that it is settled to:
    /// it was judged there, and not only loaded.
    pub fn is_judged(&self) -> bool {
        self.ids & JUDGED != 0
    }

    /// Notes whether the account is known to belong where it stands.
    pub fn set_judged(&mut self, judged: bool) {
        self.ids = if judged { self.ids | JUDGED } else { self.id_count() };
    }

    fn cell_end(&self) -> usize {
        self.end() - usize::from(self.id_count())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// The runs of cells, slot by slot.
    pub fn runs<'a>(&'a self, layout: &'a Layout) -> Runs<'a> {
        Runs { cells: &self.words[self.cell_start()..self.cell_end()], layout, end: Slot(u8::MAX) }
    }

    /// The runs that may be worth something.
    pub fn scores<'a>(&'a self, layout: &'a Layout) -> Runs<'a> {
        let (first, end) = layout.scoring();
        Runs { cells: &self.words[self.seek(layout, first)..self.cell_end()], layout, end }
    }

    /// The cells of one slot.
    pub fn run(&self, layout: &Layout, slot: Slot) -> &[u64] {
        let (start, end) = self.span(layout, slot);
        &self.words[start..end]
    }

    /// The first word of the n-th cell (from 0) of a slot.
    pub fn nth(&self, layout: &Layout, slot: Slot, n: usize) -> Option<Tag> {
        let at = self.seek(layout, slot) + n * layout.width(slot);
        let tag = self.words[..self.cell_end()].get(at).copied().map(Tag)?;
        (tag.slot() == slot).then_some(tag)
    }

    /// Where the cells of a slot are or would be.
    fn seek(&self, layout: &Layout, slot: Slot) -> usize {
        let mut at = self.cell_start();
        let cells = &self.words[..self.cell_end()];
        while let Some(&word) = cells.get(at)
            && Tag(word).slot() < slot
        {
            at += layout.width(Tag(word).slot());
        }
        at
    }

    fn span(&self, layout: &Layout, slot: Slot) -> (usize, usize) {
        let start = self.seek(layout, slot);
        let cells = &self.words[..self.cell_end()];
        let mut end = start;
        while cells.get(end).is_some_and(|&word| Tag(word).slot() == slot) {
            end += layout.width(slot);
        }
        (start, end)
    }

    /// Replaces the only cell of a slot, or adds it.
    pub fn put<const N: usize>(&mut self, layout: &Layout, slot: Slot, cell: [u64; N]) {
        self.update(layout, slot, |_| cell);
    }

    /// Makes the only cell of a slot anew from what it was.
    pub fn update<const N: usize>(
        &mut self,
        layout: &Layout,
        slot: Slot,
        change: impl FnOnce(Option<[u64; N]>) -> [u64; N],
    ) {
        let at = self.seek(layout, slot);
        let end = self.cell_end();
        let cell = self.words[at..end].first_chunk_mut().filter(|cell| Tag(cell[0]).slot() == slot);
        match cell {
            Some(cell) => *cell = change(Some(*cell)),
            None => self.insert(at, change(None)),
        }
    }

    /// Takes all cells of a slot away.
    pub fn clear(&mut self, layout: &Layout, slot: Slot) {
        let (start, end) = self.span(layout, slot);
        if start < end {
            let left = self.end() - (end - start);
            self.words.copy_within(end..self.end(), start);
            self.resize(left, 0);
        }
    }

    fn insert<const N: usize>(&mut self, at: usize, cell: [u64; N]) {
        let end = self.end() + N;
        match usize::from(self.spare).checked_sub(N) {
            Some(spare) => self.spare = spare as u8,
            None => self.resize(end, WORDS_IN_RESERVE.min(SMALL.saturating_sub(end))),
        }
        self.displace(at, end, cell);
    }

    /// Puts a cell in, and moves those from there on along; the one that ends at `end` gives way.
    fn displace<const N: usize>(&mut self, at: usize, end: usize, cell: [u64; N]) {
        self.words.copy_within(at..end - N, at + N);
        self.words[at..at + N].copy_from_slice(&cell);
    }

    /// Moves to a block of memory that holds so many words, and some more.
    fn resize(&mut self, used: usize, more: usize) {
        let room = room_for(used + more);
        let mut words = mem::take(&mut self.words).into_vec();
        words.truncate(room);
        words.reserve_exact(room - words.len());
        words.resize(room, 0);
        self.words = words.into_boxed_slice();
        self.spare = (room - used) as u8;
    }

    /// Adds an event time to a slot that keeps the `keep` newest.
    pub fn add_time(&mut self, layout: &Layout, slot: Slot, time: Timestamp, keep: u32) {
        let (start, end) = self.span(layout, slot);
        let tag = Tag::new(slot, 0, time);
        let at = start + self.words[start..end].iter().take_while(|&&word| word > tag.0).count();
        if end - start < keep as usize {
            self.insert(at, [tag.0]);
        } else if at < end {
            self.displace(at, end, [tag.0]);
        }
    }

    /// Notes that a value was seen, in a slot that keeps the `keep` newest distinct ones.
    pub fn add_seen(&mut self, layout: &Layout, slot: Slot, time: Timestamp, value: u64, keep: u32) {
        let (start, end) = self.span(layout, slot);
        let cell = [Tag::new(slot, 0, time).0, value];
        let cells = self.words[start..end].as_chunks().0;
        // Newest first; of two at the same time the larger hash, so that order of arrival does not matter.
        let at = start + 2 * cells.iter().take_while(|&&known| known > cell).count();
        match cells.iter().position(|known| known[1] == value) {
            Some(known) if cells[known] >= cell => {}
            Some(known) => self.displace(at, start + 2 * known + 2, cell),
            None if cells.len() < keep as usize => self.insert(at, cell),
            None if at < end => self.displace(at, end, cell),
            None => {}
        }
    }

    /// Whether the event was seen before; remembers it if not. Ids are kept newest first by the
    /// time of their event (in steps of 4.4 minutes), so that what is remembered does not depend on
    /// the order of arrival. Of an id 40 bits are kept: among 16, one event in 69 billion is taken
    /// for a duplicate wrongly.
    pub fn remember(&mut self, id: EventId, time: Timestamp) -> bool {
        const HASH_MASK: u64 = (1 << ID_HASH_BITS) - 1;
        let hash = id.0 & HASH_MASK;
        let word = (time.millis() as u64 >> ID_TIME_UNIT_BITS) << ID_HASH_BITS | hash;
        let end = self.end();
        let start = end - usize::from(self.id_count());
        let ids = &self.words[start..end];
        let is_known = |id: &u64| id & HASH_MASK == hash;
        // Nearly always none is, so several are compared at once.
        let (fours, rest) = ids.as_chunks::<4>();
        if fours.iter().any(|four| four.iter().fold(false, |known, id| known | is_known(id)))
            || rest.iter().any(is_known)
        {
            return false;
        }
        let at = start + ids.iter().take_while(|&&known| known > word).count();
        if at - start >= IDS_KEPT {
            return true;
        }
        if usize::from(self.id_count()) == IDS_KEPT {
            self.displace(at, end, [word]);
            return true;
        }
        self.insert(at, [word]);
        self.ids += 1;
        true
    }
}

/// Iterates over the cells of an account, one slot after the other.
#[derive(Clone)]
pub struct Runs<'a> {
    cells: &'a [u64],
    layout: &'a Layout,
    end: Slot,
}

impl<'a> Iterator for Runs<'a> {
    type Item = (Slot, &'a [u64]);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = Tag(*self.cells.first()?).slot();
        if slot >= self.end {
            return None;
        }
        let width = self.layout.width(slot);
        let mut end = width;
        while self.cells.get(end).is_some_and(|&word| Tag(word).slot() == slot) {
            end += width;
        }
        let (run, rest) = self.cells.split_at(end.min(self.cells.len()));
        self.cells = rest;
        Some((slot, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_back_what_it_was_made_of() {
        let time = Timestamp::from_millis(1_795_000_000_123);
        let tag = Tag::new(Slot(209), 77, time);
        assert_eq!((tag.slot(), tag.count(), tag.time()), (Slot(209), 77, time));
        assert_eq!(Tag::new(Slot(1), 9999, Timestamp::LATEST).count(), 4095);
        assert_eq!(Tag::new(Slot(1), 9999, Timestamp::LATEST).time(), Timestamp::LATEST);
    }

    #[test]
    fn a_moment_gives_back_the_time_or_that_it_lies_beyond() {
        let given_back = |time| Moment::new(time).time();
        // The end of the year 9999.
        let sayable = Timestamp::from_millis(253_402_300_799_999);
        let last = Timestamp::from_millis(Moment::LAST);
        for time in [Timestamp::EARLIEST, Timestamp::from_millis(1), Timestamp::LATEST, sayable, last] {
            assert_eq!(given_back(time), time);
        }
        for before in [Timestamp::MIN, Timestamp::from_millis(-1)] {
            assert_eq!(given_back(before), Timestamp::MIN);
        }
        for beyond in [Timestamp::from_millis(Moment::LAST + 1), NEVER] {
            assert_eq!(given_back(beyond), NEVER);
        }
    }

    #[test]
    fn blocks_have_the_sizes_of_the_allocator() {
        let sizes = [0, 1, 2, 3, 12, 13, 16, 17, 20, 21, 60, 65, 5000].map(room_for);
        assert_eq!(sizes, [0, 2, 2, 4, 12, 14, 16, 20, 20, 24, 64, 80, 5120]);
        assert_eq!(room_for(5121), 5121 + 255, "as much as can be said");
    }

    #[test]
    fn cells_outlive_every_change_of_their_block() {
        let layout = Layout::of(&crate::engine::tests::model());
        let (mut account, mut expected) = (Account::new(b"acme.example"), Vec::new());
        assert_eq!(account.heap_bytes(), 8 * 8, "two words of name, five for cells");
        for value in 0..400 {
            let time = Timestamp::from_millis(value as i64);
            account.insert(account.cell_start(), [Tag::new(Layout::STANDING, 0, time).0, value]);
            expected.splice(0..0, [Tag::new(Layout::STANDING, 0, time).0, value]);
            account.remember(EventId(value), time);
            assert_eq!(account.words[account.cell_start()..account.cell_end()], expected, "{value}");
        }
        assert_eq!((account.name(), usize::from(account.id_count())), ("acme.example", IDS_KEPT));
        let stored = Account::from_parts(b"acme.example", account.settled(), None, account.words(), account.id_count());
        assert_eq!((stored.words(), stored.name()), (account.words(), "acme.example"));
        account.clear(&layout, Layout::STANDING);
        assert_eq!(
            (account.words().len(), account.heap_bytes()),
            (IDS_KEPT, 8 * 20),
            "it gives back what it needs no more"
        );
    }

    #[test]
    fn ids_are_remembered_newest_first_whatever_the_order() {
        let minutes = |m: i64| Timestamp::from_millis(1_700_000_000_000 + m * 600_000);
        let (mut forward, mut backward) = (Account::new(b"a"), Account::new(b"a"));
        for i in 0..40 {
            assert!(forward.remember(EventId(1000 + i), minutes(i as i64)));
            assert!(backward.remember(EventId(1039 - i), minutes(39 - i as i64)));
        }
        assert_eq!(forward.words(), backward.words());
        assert_eq!(usize::from(forward.id_count()), IDS_KEPT);
        assert!(!forward.remember(EventId(1039), minutes(39)), "the newest is known");
        assert!(forward.remember(EventId(1000), minutes(0)), "the oldest is forgotten");
    }
}
