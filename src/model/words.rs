//! Texts looked at several bytes at a time: as numbers, with the first byte lowest.

/// The first eight bytes of a text. What a shorter one lacks is zero.
#[inline]
pub fn head(text: &[u8]) -> u64 {
    text.first_chunk().map_or_else(|| short(text), |head| u64::from_le_bytes(*head))
}

/// A text of less than eight bytes as a word.
fn short(text: &[u8]) -> u64 {
    match (text.first_chunk(), text.last_chunk()) {
        // The two overlap where they say the same.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Where the first byte is, from some point on, that is one of `wanted`.
#[inline]
pub fn find<const N: usize>(text: &[u8], from: usize, wanted: [u8; N]) -> Option<usize> {
    let (chunks, rest) = text.get(from..)?.as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        if has_any(chunk, wanted) {
            return Some(from + 16 * index + first_of(u128::from_le_bytes(*chunk), wanted));
        }
    }
    let in_rest = rest.iter().position(|byte| wanted.contains(byte))?;
    Some(from + 16 * chunks.len() + in_rest)
}

fn has_any<const N: usize>(chunk: &[u8; 16], wanted: [u8; N]) -> bool {
    // Without an early end these loops take the sixteen bytes together.
    chunk.iter().fold(false, |any, byte| wanted.iter().fold(any, |any, wanted| any | (byte == wanted)))
}

/// Where the first byte is that is one of `wanted`, of which there is one.
fn first_of<const N: usize>(chunk: u128, wanted: [u8; N]) -> usize {
    /// The lowest bit of each byte.
    const EACH: u128 = u128::MAX / 0xff;
    let found = wanted.iter().fold(0, |found, byte| {
        // The lowest byte that is zero here is the first such byte (H. Warren, "Hacker's Delight", 6-1).
        let odd = chunk ^ (EACH * u128::from(*byte));
        found | odd.wrapping_sub(EACH) & !odd & (EACH << 7)
    });
    found.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_is_the_first_eight_bytes(text in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut first = [0; 8];
            first.iter_mut().zip(&text).for_each(|(first, byte)| *first = *byte);
            prop_assert_eq!(head(&text), u64::from_le_bytes(first));
        }

        #[test]
        fn the_first_of_some_bytes_is_found(text in "[ !#-%\u{e1}\u{e2}\u{a2}\u{7f}\u{0}]{0,40}[!-$\u{e1}\u{e2}\u{a2}\u{7f}\u{0}]{0,20}", from in 0_usize..64) {
            let expected = |wanted: &[u8]| {
                text.bytes().enumerate().skip(from).find(|(_, byte)| wanted.contains(byte)).map(|(at, _)| at)
            };
            prop_assert_eq!(find(text.as_bytes(), from, [b'"']), expected(b"\""));
            prop_assert_eq!(find(text.as_bytes(), from, [b'"', b'$', b'\x7f']), expected(b"\"$\x7f"));
        }
    }
}
