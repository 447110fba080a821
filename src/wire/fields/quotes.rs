//! Where the quotes of a text are.

use wide::u8x16;

/// How many bytes are looked at together: a word has a bit for each.
const BLOCK: usize = u64::BITS as usize;

/// The quotes of a text, one bit per byte. A record has dozens of them, a few bytes apart: to look at all
/// of its bytes once is cheaper than to search from each one for the next.
#[derive(Debug, Default)]
pub struct Quotes(Vec<u64>);

impl Quotes {
    /// Finds the quotes of a text; says no if it has a backslash or a control character.
    pub fn find(&mut self, text: &[u8]) -> bool {
        let (blocks, rest) = text.as_chunks();
        let mut is_plain = true;
        let mut look = |block: &[u8; BLOCK]| {
            let (quotes, plain) = look(block);
            is_plain &= plain;
            quotes
        };
        self.0.clear();
        self.0.reserve(blocks.len() + 1);
        self.0.extend(blocks.iter().map(&mut look));
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.0.push(look(&last));
        is_plain
    }

    /// The first quote that is not before `from`.
    #[inline]
    pub fn next(&self, from: usize) -> Option<usize> {
        let mut block = from / BLOCK;
        let mut bits = self.0.get(block)? & (!0 << (from % BLOCK));
        while bits == 0 {
            block += 1;
            bits = *self.0.get(block)?;
        }
        Some(block * BLOCK + bits.trailing_zeros() as usize)
    }
}

/// The quotes of a block, and whether it is free of backslashes and control characters.
#[inline]
fn look(block: &[u8; BLOCK]) -> (u64, bool) {
    let (parts, _) = block.as_chunks();
    let (mut quotes, mut odd) = (0, u8x16::ZERO);
    for (at, part) in parts.iter().enumerate() {
        let part = u8x16::new(*part);
        quotes |= u64::from(part.simd_eq(u8x16::splat(b'"')).to_bitmask()) << (at * u8x16::LANES as usize);
        let is_control = part.min(u8x16::splat(b' ' - 1)).simd_eq(part);
        odd |= is_control | part.simd_eq(u8x16::splat(b'\\'));
    }
    (quotes, !odd.any())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes among which quotes and what is odd are frequent, or not.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let near_the_borders = prop::sample::select(&b"\"\"!#[]\x20\x7f\x80\xa2\xff"[..]);
        let rare = prop::sample::select(&b"\\\0\x1f\n"[..]);
        let of = |odd| prop::collection::vec(prop_oneof![200 => near_the_borders.clone(), odd => rare.clone()], 0..300);
        prop_oneof![of(1), prop::collection::vec(Just(b'a'), 0..300)]
    }

    proptest! {
        #[test]
        fn quotes_are_found_one_after_the_other(texts in prop::collection::vec(text(), 1..3)) {
            let mut quotes = Quotes::default();
            for text in texts {
                let is_plain = quotes.find(&text);
                prop_assert_eq!(is_plain, text.iter().all(|byte| *byte >= b' ' && *byte != b'\\'));
                for from in 0..text.len() + 2 * BLOCK {
                    let expected = text.iter().skip(from).position(|byte| *byte == b'"').map(|at| from + at);
                    prop_assert_eq!(quotes.next(from), expected, "from {} of {}", from, text.escape_ascii());
                }
            }
        }
    }
}
