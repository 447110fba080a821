//! The state of one account: a compact, sorted run of cells.

use zerocopy::IntoBytes;

use super::{
    block::{Block, NOTE_BITS},
    layout::{Layout, Slot},
};
use crate::model::{EventId, MAX_ACCOUNT_BYTES, Model, TierId, Timestamp, words};

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

/// A field of an account's head: some bits of one of the two notes of its [`Block`].
struct Field<const NOTE: usize> {
    shift: u32,
    bits: u32,
}

impl<const NOTE: usize> Field<NOTE> {
    /// The field behind another one, or the first.
    const fn after(before: Option<&Self>, bits: u32) -> Self {
        let shift = if let Some(before) = before { before.shift + before.bits } else { 0 };
        assert!(shift + bits <= NOTE_BITS[NOTE]);
        Self { shift, bits }
    }

    const fn mask(&self) -> u64 {
        (1 << self.bits) - 1
    }

    fn get(&self, block: &Block) -> u64 {
        block.note::<NOTE>() >> self.shift & self.mask()
    }

    fn set(&self, block: &mut Block, value: u64) {
        debug_assert!(value <= self.mask());
        let others = block.note::<NOTE>() & !(self.mask() << self.shift);
        block.set_note::<NOTE>(others | value << self.shift);
    }

    /// A time, from 1970 on. What lies before is [`Timestamp::MIN`], and what lies beyond the field [`NEVER`].
    fn time(&self, block: &Block) -> Timestamp {
        // None before 1970 is 0, and the others are counted from 1.
        match self.get(block) {
            0 => Timestamp::MIN,
            beyond if beyond == self.mask() => NEVER,
            number => Timestamp::from_millis(number as i64 - 1),
        }
    }

    fn set_time(&self, block: &mut Block, time: Timestamp) {
        let number = match time.millis() {
            ..0 => 0,
            millis => (millis as u64 + 1).min(self.mask()),
        };
        self.set(block, number);
    }
}

/// Up to the year 3084: nothing is decided beyond the last moment that a record may carry.
const SETTLED: Field<0> = Field::after(None, 45);
const JUDGED: Field<0> = Field::after(Some(&SETTLED), 1);
/// Which byte is the last one of the name: names have 1 to [`MAX_ACCOUNT_BYTES`] bytes.
const NAME_LAST: Field<0> = Field::after(Some(&JUDGED), 8);
/// Up to the year 10889, which is further than RFC 3339 can say.
const ARMED: Field<1> = Field::after(None, 48);
/// All bits are set where there is none.
const TIER: Field<1> = Field::after(Some(&ARMED), 5);
/// The number of event ids.
const IDS: Field<1> = Field::after(Some(&TIER), 5);

const _: () = assert!(Model::MAX_TIERS as u64 <= TIER.mask() && IDS_KEPT as u64 <= IDS.mask());
const _: () = assert!(MAX_ACCOUNT_BYTES as u64 <= NAME_LAST.mask() + 1);
const _: () = assert!(cfg!(target_endian = "little"), "accounts are stored as they lie in memory");

/// One account: one piece of memory, of which the head has what every account has. Its words are first the name, then
/// the cells, sorted by slot and within a slot newest first, then the recent event ids, newest first.
/// There are millions of accounts, so every byte counts.
pub struct Account(Block);

/// Words that most accounts need soon: a sum, a person, and five event ids. To move an account costs a third of what an
/// event does, and leaves a hole; but there are many that only ever have one event or two.
const WORDS_AT_FIRST: usize = 9;

/// Words that a small account has room for at least after it had to move: its next event mostly brings an id and a
/// person, and blocks of larger ones differ by more anyway.
const WORDS_IN_RESERVE: usize = 2;
/// The most words of a small account.
const SMALL: usize = 12;

/// No timer is armed.
pub const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

impl Account {
    /// An account that nothing has touched.
    #[inline(always)]
    pub fn new(name: &[u8]) -> Self {
        Self::with_room(name, &[], WORDS_AT_FIRST)
    }

    /// An account as it was stored: `words` are its cells and then `ids` event ids, at most [`IDS_KEPT`].
    pub fn from_parts(name: &[u8], settled: Timestamp, tier: Option<TierId>, words: &[[u8; 8]], ids: u8) -> Self {
        let mut account = Self::with_room(name, words, 0);
        account.set_settled(settled);
        account.set_tier(tier);
        IDS.set(&mut account.0, u64::from(ids));
        account
    }

    /// An account with cells, and room for some more words.
    #[inline(always)]
    fn with_room(name: &[u8], cells: &[[u8; 8]], more: usize) -> Self {
        debug_assert!((1..=MAX_ACCOUNT_BYTES).contains(&name.len()));
        let name_words = name.len().div_ceil(8);
        let mut account = Self(Block::new(name_words + cells.len(), more));
        NAME_LAST.set(&mut account.0, name.len() as u64 - 1);
        account.set_armed(NEVER);
        account.set_tier(None);
        let words = account.0.words_mut();
        for (word, part) in words.iter_mut().zip(name.chunks(8)) {
            *word = words::head(part);
        }
        words[name_words..].as_mut_bytes().copy_from_slice(cells.as_flattened());
        account
    }

    /// Reads where the account is, and nothing of it.
    pub fn peek_place(&self) -> usize {
        self.0.peek_place()
    }

    /// Reads the beginning, which says how long the account is.
    pub fn peek_head(&self) -> u64 {
        self.0.peek_head()
    }

    /// Reads the beginning, and the end of the name.
    pub fn peek_name(&self) -> u64 {
        self.name_bytes().last().copied().map_or(0, u64::from)
    }

    /// Reads all of it, or nearly: a word of each cache line.
    pub fn peek(&self) -> u64 {
        self.0.peek()
    }

    /// Up to when the account's history is decided.
    pub fn settled(&self) -> Timestamp {
        SETTLED.time(&self.0)
    }

    /// The account's history is decided up to here.
    pub fn set_settled(&mut self, until: Timestamp) {
        SETTLED.set_time(&mut self.0, until);
    }

    /// The time of this account's valid entry in the timer queue, never later than its next change; or [`NEVER`].
    pub fn armed(&self) -> Timestamp {
        ARMED.time(&self.0)
    }

    /// The entry in the timer queue that is valid is now the one of this time, or with [`NEVER`] none.
    pub fn set_armed(&mut self, time: Timestamp) {
        ARMED.set_time(&mut self.0, time);
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        // It was text when it came in.
        std::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    /// The account's name, byte by byte.
    pub fn name_bytes(&self) -> &[u8] {
        &self.0.words().as_bytes()[..=self.name_last()]
    }

    fn name_last(&self) -> usize {
        NAME_LAST.get(&self.0) as usize
    }

    fn cell_start(&self) -> usize {
        self.name_last() / 8 + 1
    }

    /// The published tier.
    pub fn tier(&self) -> Option<TierId> {
        let tier = TIER.get(&self.0);
        (tier != TIER.mask()).then_some(TierId(tier as u8))
    }

    /// Sets the published tier.
    pub fn set_tier(&mut self, tier: Option<TierId>) {
        TIER.set(&mut self.0, tier.map_or(TIER.mask(), |tier| u64::from(tier.0)));
    }

    /// One bit for each segment that the account is in.
    pub fn members(&self, layout: &Layout) -> u32 {
        let (first, end) = layout.memberships();
        let cells = &self.cells()[self.seek(layout, first)..];
        let members = cells.iter().map(|word| Tag(*word).slot()).take_while(|slot| *slot < end);
        members.fold(0, |bits, slot| bits | 1 << (slot.0 - first.0))
    }

    /// Whether the account has a tier or is in a segment.
    pub fn stands(&self, layout: &Layout) -> bool {
        self.tier().is_some() || self.members(layout) != 0
    }

    /// All cells and event ids, for storing: words of little-endian bytes.
    pub fn words(&self) -> &[[u8; 8]] {
        self.0.words()[self.cell_start()..].as_bytes().as_chunks().0
    }

    /// How many of the words, at the end, are event ids.
    pub fn id_count(&self) -> u8 {
        IDS.get(&self.0) as u8
    }

    /// Whether the account is known to belong where it stands, at the moment that it is settled to:
    /// it was judged there, and not only loaded.
    pub fn is_judged(&self) -> bool {
        JUDGED.get(&self.0) != 0
    }

    /// Notes whether the account is known to belong where it stands.
    pub fn set_judged(&mut self, judged: bool) {
        JUDGED.set(&mut self.0, u64::from(judged));
    }

    /// Name and cells: all words before the event ids.
    fn cells(&self) -> &[u64] {
        let words = self.0.words();
        &words[..words.len() - usize::from(self.id_count())]
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// The runs of cells, slot by slot.
    pub fn runs<'a>(&'a self, layout: &'a Layout) -> Runs<'a> {
        Runs { cells: &self.cells()[self.cell_start()..], layout, end: Slot(u8::MAX) }
    }

    /// The runs that may be worth something.
    pub fn scores<'a>(&'a self, layout: &'a Layout) -> Runs<'a> {
        let (first, end) = layout.scoring();
        Runs { cells: &self.cells()[self.seek(layout, first)..], layout, end }
    }

    /// The cells of one slot.
    pub fn run(&self, layout: &Layout, slot: Slot) -> &[u64] {
        let (start, end) = self.span(layout, slot);
        &self.0.words()[start..end]
    }

    /// The first word of the n-th cell (from 0) of a slot.
    pub fn nth(&self, layout: &Layout, slot: Slot, n: usize) -> Option<Tag> {
        let at = self.seek(layout, slot) + n * layout.width(slot);
        let tag = self.cells().get(at).copied().map(Tag)?;
        (tag.slot() == slot).then_some(tag)
    }

    /// Where the cells of a slot are or would be.
    fn seek(&self, layout: &Layout, slot: Slot) -> usize {
        let mut at = self.cell_start();
        let cells = self.cells();
        while let Some(&word) = cells.get(at)
            && Tag(word).slot() < slot
        {
            at += layout.width(Tag(word).slot());
        }
        at
    }

    fn span(&self, layout: &Layout, slot: Slot) -> (usize, usize) {
        let start = self.seek(layout, slot);
        let cells = self.cells();
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
        let end = self.cells().len();
        let cell = self.0.words_mut()[at..end].first_chunk_mut().filter(|cell| Tag(cell[0]).slot() == slot);
        match cell {
            Some(cell) => *cell = change(Some(*cell)),
            None => self.insert(at, change(None)),
        }
    }

    /// Takes all cells of a slot away.
    pub fn clear(&mut self, layout: &Layout, slot: Slot) {
        let (start, end) = self.span(layout, slot);
        if start < end {
            let words = self.0.words_mut();
            let left = words.len() - (end - start);
            words.copy_within(end.., start);
            self.0.truncate(left);
        }
    }

    fn insert<const N: usize>(&mut self, at: usize, cell: [u64; N]) {
        let end = self.0.len() + N;
        self.0.extend(N, WORDS_IN_RESERVE.min(SMALL.saturating_sub(end)));
        self.displace(at, end, cell);
    }

    /// Puts a cell in, and moves those from there on along; the one that ends at `end` gives way.
    fn displace<const N: usize>(&mut self, at: usize, end: usize, cell: [u64; N]) {
        let words = self.0.words_mut();
        words.copy_within(at..end - N, at + N);
        words[at..at + N].copy_from_slice(&cell);
    }

    /// Adds an event time to a slot that keeps the `keep` newest.
    pub fn add_time(&mut self, layout: &Layout, slot: Slot, time: Timestamp, keep: u32) {
        let (start, end) = self.span(layout, slot);
        let tag = Tag::new(slot, 0, time);
        let at = start + self.0.words()[start..end].iter().take_while(|&&word| word > tag.0).count();
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
        let cells = self.0.words()[start..end].as_chunks().0;
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
        let (start, end) = (self.cells().len(), self.0.len());
        let ids = &self.0.words()[start..];
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
        IDS.set(&mut self.0, (end - start) as u64 + 1);
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
    fn a_field_gives_back_the_time_or_that_it_lies_beyond() {
        // The end of the year 9999.
        let sayable = Timestamp::from_millis(253_402_300_799_999);
        let mut account = Account::new(b"a");
        let mut given_back = |time| {
            account.set_settled(time);
            account.set_armed(time);
            [account.settled(), account.armed()]
        };
        for time in [Timestamp::EARLIEST, Timestamp::from_millis(1), Timestamp::LATEST] {
            assert_eq!(given_back(time), [time; 2]);
        }
        let last = Timestamp::from_millis((1 << 48) - 3);
        for beyond_one in [sayable, last] {
            assert_eq!(given_back(beyond_one), [NEVER, beyond_one]);
        }
        for before in [Timestamp::MIN, Timestamp::from_millis(-1)] {
            assert_eq!(given_back(before), [Timestamp::MIN; 2]);
        }
        for beyond in [Timestamp::from_millis(last.millis() + 1), NEVER] {
            assert_eq!(given_back(beyond), [NEVER; 2]);
        }
    }

    #[test]
    fn what_every_account_has_changes_alone() {
        let mut account = Account::from_parts(&[b'n'; 256], Timestamp::LATEST, Some(TierId(15)), &[[1; 8]; 17], 16);
        let is = |account: &Account| {
            let times = (account.settled(), account.armed());
            (times, account.tier().map(|tier| tier.0), account.id_count(), account.is_judged(), account.name().len())
        };
        assert_eq!(is(&account), ((Timestamp::LATEST, NEVER), Some(15), 16, false, 256));
        account.set_armed(Timestamp::EARLIEST);
        account.set_judged(true);
        assert_eq!(is(&account), ((Timestamp::LATEST, Timestamp::EARLIEST), Some(15), 16, true, 256));
        account.set_settled(Timestamp::EARLIEST);
        account.set_tier(None);
        assert_eq!(is(&account), ((Timestamp::EARLIEST, Timestamp::EARLIEST), None, 16, true, 256));
        assert_eq!(account.words(), [[1; 8]; 17]);
    }

    #[test]
    fn cells_outlive_every_change_of_their_block() {
        let layout = Layout::of(&crate::engine::tests::model());
        let (mut account, mut expected) = (Account::new(b"acme.example"), Vec::new());
        assert_eq!(account.heap_bytes(), 8 * 14, "two words of head, two of name, nine for cells, and one left over");
        for value in 0..400 {
            let time = Timestamp::from_millis(value as i64);
            account.insert(account.cell_start(), [Tag::new(Layout::STANDING, 0, time).0, value]);
            expected.splice(0..0, [Tag::new(Layout::STANDING, 0, time).0, value]);
            account.remember(EventId(value), time);
            assert_eq!(account.cells()[account.cell_start()..], expected, "{value}");
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
