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
    }
}
