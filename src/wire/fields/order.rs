//! What the members of a record are expected to be called.

use super::Place;

/// The most members of a record that are kept in mind.
const MOST: usize = 32;

/// The names of the members of earlier records, in their order: a producer sends the same ones again and
/// again. Each is kept as the bytes that came before the value, from the last brace or comma to the
/// colon, and these alone say where the value goes: so nothing depends on what is kept, but the time.
#[derive(Debug, Default)]
pub struct Order(Vec<Member>);

#[derive(Clone, Copy, Debug)]
struct Member {
    /// The bytes, as one number.
    text: u128,
    /// Which bits of sixteen bytes they are.
    mask: u128,
    len: usize,
    place: Place,
}

/// What no plain text begins with: a byte that is zero.
const NOTHING: Member = Member { text: 0, mask: 0xff, len: 1, place: Place::Nowhere };

impl Order {
    /// Where the value of the member at an index goes and how much comes before it, if the text begins as
    /// an earlier record's did there.
    #[inline]
    pub fn expected(&self, index: usize, text: &[u8]) -> Option<(Place, usize)> {
        let member = self.0.get(index)?;
        let is_same = match text.first_chunk() {
            Some(text) => u128::from_le_bytes(*text) & member.mask == member.text,
            None => text.starts_with(&member.text.to_le_bytes()[..member.len]),
        };
        is_same.then_some((member.place, member.len))
    }

    /// Keeps in mind what came before the value of the member at an index, if that is not too long.
    #[inline(never)]
    pub fn keep(&mut self, index: usize, text: &[u8], place: Place) {
        let mut bytes = [0; size_of::<u128>()];
        let Some(start) = bytes.get_mut(..text.len()) else { return };
        if index >= MOST {
            return;
        }
        start.copy_from_slice(text);
        let mask = u128::MAX.checked_shr(u128::BITS - 8 * text.len() as u32).unwrap_or_default();
        self.0.resize(self.0.len().max(index + 1), NOTHING);
        self.0[index] = Member { text: u128::from_le_bytes(bytes), mask, len: text.len(), place };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_expected() {
        let mut order = Order::default();
        let place = Place::Slot(3);
        order.keep(1, br#" "type":"#, place);
        for (index, text, expected) in [
            (0, &br#" "type":"page_view"}"#[..], None),
            (1, br#" "type":"page_view"}"#, Some((place, 8))),
            (1, br#" "type": "page_view"}"#, Some((place, 8))),
            (1, br#""type": "page_view"}"#, None),
            (1, br#" "typ": "page_view"}"#, None),
            (1, br#" "type":1}"#, Some((place, 8))),
            (1, br#" "type""#, None),
            (0, b"", None),
            (2, br#" "type":"page_view"}"#, None),
        ] {
            assert_eq!(order.expected(index, text), expected, "{index} {}", text.escape_ascii());
        }
    }

    #[test]
    fn the_newest_is_kept_unless_it_is_long() {
        let mut order = Order::default();
        let value = |name: &str| format!("{name}{:16}", "1,");
        for (name, place, expected) in [
            (r#""id":"#, Place::Nowhere, Some((Place::Nowhere, 5))),
            (r#""of_13_letters":"#, Place::Properties, Some((Place::Properties, 16))),
            (r#""of_14_letters_":"#, Place::Slot(1), None),
        ] {
            order.keep(0, name.as_bytes(), place);
            assert_eq!(order.expected(0, value(name).as_bytes()), expected, "{name}");
        }
        order.keep(MOST, b"\"id\":", Place::Nowhere);
        assert_eq!(order.expected(MOST, value(r#""id":"#).as_bytes()), None, "there is an end");
    }
}
