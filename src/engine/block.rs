//! The memory of one account: one piece that knows its own length.
#![expect(unsafe_code, reason = "a slice with its length in its own memory has no type in the language")]

use std::{ptr::NonNull, slice};

/// A list of words behind a head of two, each of which has some bits for notes of the owner's ([`NOTE_BITS`]). It is a
/// `Vec<u64>` whose length and capacity lie in front of its elements, in what the notes leave of the head: to refer to
/// it takes 8 bytes instead of 24, and to follow it one miss of the caches instead of two.
///
/// The high bits of the first word of the head are the number of words in use, and those of the second the [`size`] of
/// the block. Of one that is too large for that the former are [`LARGE`], and a third word of the head says both: the
/// number of words in use (low 32 bits) and the words of the block (high 32 bits).
pub struct Block(NonNull<u64>);

// SAFETY: nothing else refers to the memory, as with a box.
unsafe impl Send for Block {}
// SAFETY: what is shared is only read, as with a box.
unsafe impl Sync for Block {}

/// How many bits of each of the two words of the head are the owner's.
pub const NOTE_BITS: [u32; 2] = [54, 59];

const LEN_AT: u32 = NOTE_BITS[0];
const SIZE_AT: u32 = NOTE_BITS[1];
const SIZES: usize = 1 << (64 - SIZE_AT);
const LARGE: u64 = (1 << (64 - LEN_AT)) - 1;
const HEAD_WORDS: usize = 2;
const LARGE_HEAD_WORDS: usize = 3;

const _: () = assert!(size(SIZES - 1) - HEAD_WORDS < LARGE as usize, "how many words are in use can be said");

/// Words in a cache line.
const LINE_WORDS: usize = 8;

/// The n-th (from 0) of the sizes that blocks have, in words: those that allocators have, since what they would round
/// up by is lost. These are steps of 2 words up to 16, then four steps from one power of two to the next (mimalloc
/// and jemalloc alike).
const fn size(n: usize) -> usize {
    if n < 8 { 2 * (n + 1) } else { (5 + n % 4) << (n / 4) }
}

/// Which is the smallest size for at least so many words.
const fn size_for(words: usize) -> usize {
    let last = words.saturating_sub(1);
    if last < 16 {
        return last / 2;
    }
    let power = last.ilog2() as usize;
    4 * (power - 2) + (last >> (power - 2)) % 4
}

impl Block {
    /// One with so many words in use, and room for at least so many more. All are 0, and so are the notes.
    pub fn new(len: usize, more: usize) -> Self {
        let n = size_for(HEAD_WORDS + len + more);
        if n < SIZES {
            return Self::with_head(size(n), &[(len as u64) << LEN_AT, (n as u64) << SIZE_AT]);
        }
        let words = size(size_for(LARGE_HEAD_WORDS + len + more));
        assert!(u32::try_from(words).is_ok(), "an account of {words} words");
        Self::with_head(words, &[LARGE << LEN_AT, 0, len as u64 | (words as u64) << 32])
    }

    fn with_head(words: usize, head: &[u64]) -> Self {
        let mut block = vec![0; words].into_boxed_slice();
        block[..head.len()].copy_from_slice(head);
        Self(NonNull::from(Box::leak(block)).cast())
    }

    /// A word of the head: 0 or 1, or 2 in a large block.
    fn head(&self, at: usize) -> u64 {
        // SAFETY: each block begins with its head, which was written when it was made.
        unsafe { self.0.add(at).read() }
    }

    /// The same, to be written.
    fn set_head(&mut self, at: usize, word: u64) {
        // SAFETY: as in `head`, and the block is ours alone.
        unsafe { self.0.add(at).write(word) }
    }

    /// The owner's note, the first (0) or the second one (1): so many bits as [`NOTE_BITS`] says.
    pub fn note<const AT: usize>(&self) -> u64 {
        self.head(AT) & const { (1 << NOTE_BITS[AT]) - 1 }
    }

    /// Replaces a note; more than its bits are not kept.
    pub fn set_note<const AT: usize>(&mut self, note: u64) {
        let mask = const { (1 << NOTE_BITS[AT]) - 1 };
        self.set_head(AT, self.head(AT) & !mask | note & mask);
    }

    /// How long the head is, and how many words in use follow it.
    #[inline(always)]
    fn extent(&self) -> (usize, usize) {
        match self.head(0) >> LEN_AT {
            LARGE => self.large_extent(),
            len => (HEAD_WORDS, len as usize),
        }
    }

    #[cold]
    #[inline(never)]
    fn large_extent(&self) -> (usize, usize) {
        (LARGE_HEAD_WORDS, self.head(2) as u32 as usize)
    }

    /// The words of the block, head included.
    fn size(&self) -> usize {
        match self.head(0) >> LEN_AT {
            LARGE => (self.head(2) >> 32) as usize,
            _ => size((self.head(1) >> SIZE_AT) as usize),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.size() * size_of::<u64>()
    }

    /// How many words are in use.
    pub fn len(&self) -> usize {
        self.extent().1
    }

    /// The words in use.
    pub fn words(&self) -> &[u64] {
        let (head, len) = self.extent();
        // SAFETY: the words in use follow the head and lie within the block, all of which was written when it was made.
        unsafe { slice::from_raw_parts(self.0.add(head).as_ptr(), len) }
    }

    /// The words in use.
    pub fn words_mut(&mut self) -> &mut [u64] {
        let (head, len) = self.extent();
        // SAFETY: as in `words`, and the block is ours alone.
        unsafe { slice::from_raw_parts_mut(self.0.add(head).as_ptr(), len) }
    }

    /// Takes so many more words into use, of which nothing is known but that they are words. If it must move for that,
    /// it has room for at least `reserve` more then.
    pub fn extend(&mut self, by: usize, reserve: usize) {
        let (head, len) = self.extent();
        let len = len + by;
        if head + len > self.size() {
            self.move_to(len, reserve);
        } else if head == LARGE_HEAD_WORDS {
            self.set_head(2, self.head(2) >> 32 << 32 | len as u64);
        } else {
            self.set_head(0, self.note::<0>() | (len as u64) << LEN_AT);
        }
    }

    /// Keeps the first words, and gives back what it needs no more.
    pub fn truncate(&mut self, len: usize) {
        self.move_to(len.min(self.len()), 0);
    }

    fn move_to(&mut self, len: usize, more: usize) {
        let mut moved = Self::new(len, more);
        let kept = len.min(self.len());
        moved.words_mut()[..kept].copy_from_slice(&self.words()[..kept]);
        moved.set_note::<0>(self.note::<0>());
        moved.set_note::<1>(self.note::<1>());
        *self = moved;
    }

    /// Reads where the block is, and nothing of it.
    pub fn peek_place(&self) -> usize {
        self.0.addr().get()
    }

    /// Reads the head, which says how long the block is.
    pub fn peek_head(&self) -> u64 {
        self.head(0)
    }

    /// Reads a word of each cache line of the words in use, or nearly.
    pub fn peek(&self) -> u64 {
        let words = self.words();
        let lines = words.iter().step_by(LINE_WORDS).chain(words.last());
        lines.fold(0, |sum: u64, word| sum.wrapping_add(*word))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let words = NonNull::slice_from_raw_parts(self.0, self.size());
        // SAFETY: it was made of a box of this length, which nothing else refers to.
        drop(unsafe { Box::from_raw(words.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_sizes_of_the_allocator() {
        let sizes = [1, 2, 3, 12, 13, 16, 17, 20, 21, 60, 65, 5000].map(|words| size(size_for(words)));
        assert_eq!(sizes, [2, 2, 4, 12, 14, 16, 20, 20, 24, 64, 80, 5120]);
        for n in 0..100 {
            assert_eq!((size_for(size(n)), size_for(size(n) + 1)), (n, n + 1));
        }
    }

    /// A block and a vector go the same way, in steps of all sizes, from small to large and back.
    #[test]
    fn a_block_is_a_list_of_words_with_two_notes() {
        let (mut block, mut expected, mut notes) = (Block::new(1, 3), vec![0], [0; 2]);
        let mut random = fastrand::Rng::with_seed(7);
        // Miri is some thousand times slower.
        for round in 0..if cfg!(miri) { 200 } else { 2000 } {
            // Up to some 1,500 words, then down again.
            let known = expected.len();
            if round % 100 < 80 {
                block.extend(random.usize(0..40), random.usize(0..4));
            } else {
                block.truncate(random.usize(0..=known));
            }
            let kept = known.min(block.len());
            assert_eq!(block.words()[..kept], expected[..kept], "round {round}");
            let known_notes = [(notes[0], block.note::<0>(), 54), (notes[1], block.note::<1>(), 59)];
            assert!(known_notes.iter().all(|(note, is, bits)| *is == note & ((1 << bits) - 1)), "{known_notes:?}");

            notes = [random.u64(..), random.u64(..)];
            block.set_note::<0>(notes[0]);
            block.set_note::<1>(notes[1]);
            expected = block.words().iter().map(|_| random.u64(..)).collect();
            block.words_mut().copy_from_slice(&expected);
            assert_eq!(block.words(), expected, "round {round}");
            let (head, len) = block.extent();
            assert!((head + len..=2 * len + 8).contains(&block.size()), "{} for {len} words", block.size());
            std::hint::black_box((block.peek_head(), block.peek()));
        }
    }
}
