//! Reads plain JSON: the quick way into the fields of a record.
//!
//! Plain is what nearly all producers send: no escapes, no control characters (so all on one line),
//! no exponents, no deep nesting. Of a plain text the same fields are read as [`super::any`] would
//! read. Of any other, and of whatever is not sound, nothing is said but that it is not plain: the
//! careful way comes after, and also finds the words for what is wrong.

use std::{borrow::Cow, mem, ops::Range};

use super::{Place, Quotes, Slots, Wanted};
use crate::model::Field;

/// The deepest nesting within a field. What lies deeper is legal JSON up to a limit that is not ours.
const MAX_DEPTH: usize = 8;

/// The most digits of a number that is wanted: such numbers have an exact double before the decimal
/// point is put in its place, and a power of ten that has one too.
const MAX_DIGITS: usize = 15;

/// The powers of ten that put a decimal point in its place.
const POWERS: [f64; MAX_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Fills the slots from a JSON object; nothing if it is not plain, with some slots filled.
pub fn read<'r>(wanted: &mut Wanted, text: &'r str, slots: &mut Slots<'r>) -> Option<()> {
    let mut quotes = mem::take(&mut wanted.quotes);
    let is_plain = quotes.find(text.as_bytes());
    let read = if is_plain { Plain { text, quotes: &quotes }.record(wanted, slots) } else { None };
    wanted.quotes = quotes;
    read
}

/// A text without escapes and control characters. Reading goes from a place to the place behind what was read,
/// handed on instead of kept: so it stays in a register. There is none behind what is not plain.
#[derive(Clone, Copy)]
struct Plain<'r, 'q> {
    text: &'r str,
    quotes: &'q Quotes,
}

impl<'r> Plain<'r, '_> {
    fn record(self, wanted: &mut Wanted, slots: &mut Slots<'r>) -> Option<()> {
        let (mut members, mut has_properties) = (0, false);
        let end = self.object(0, |at| {
            let (place, at) = self.place(at, &mut members, wanted)?;
            match place {
                Place::Slot(slot) => self.value(at, slots, slot as usize),
                Place::Properties => {
                    if mem::replace(&mut has_properties, true) {
                        wanted.empty_properties(slots);
                    }
                    self.properties(at, &mut members, wanted, slots)
                }
                Place::Nowhere => self.pass(at),
            }
        })?;
        self.peek(end).is_none().then_some(())
    }

    /// The next byte that is not a space, and its place.
    #[inline]
    fn peek(self, mut at: usize) -> Option<(u8, usize)> {
        loop {
            match *self.text.as_bytes().get(at)? {
                b' ' => at += 1,
                byte => return Some((byte, at)),
            }
        }
    }

    /// Goes past this byte.
    #[inline]
    fn expect(self, at: usize, byte: u8) -> Option<usize> {
        let (next, at) = self.peek(at)?;
        (next == byte).then_some(at + 1)
    }

    /// Reads an object; `member` reads each name and its value.
    #[inline]
    fn object(self, at: usize, member: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
        self.items(at, *b"{}", member)
    }

    /// Reads what stands between brackets, with commas between the items.
    #[inline]
    fn items(self, at: usize, [open, close]: [u8; 2], mut item: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
        let mut at = self.expect(at, open)?;
        if let Some(end) = self.expect(at, close) {
            return Some(end);
        }
        loop {
            let (next, end) = self.peek(item(at)?)?;
            at = end + 1;
            if next != b',' {
                return (next == close).then_some(at);
            }
        }
    }

    /// Reads a name and the colon after it; says where its value goes.
    #[inline]
    fn place(self, at: usize, members: &mut usize, wanted: &mut Wanted) -> Option<(Place, usize)> {
        let index = *members;
        *members += 1;
        match wanted.order.expected(index, self.text.as_bytes().get(at..)?) {
            Some((place, len)) => Some((place, at + len)),
            None => self.unexpected(at, index, wanted),
        }
    }

    #[inline(never)]
    fn unexpected(self, from: usize, index: usize, wanted: &mut Wanted) -> Option<(Place, usize)> {
        let (name, at) = self.name(from)?;
        let place = wanted.place(name);
        wanted.order.keep(index, &self.text.as_bytes()[from..at], place);
        Some((place, at))
    }

    /// Reads a name and the colon after it.
    fn name(self, at: usize) -> Option<(&'r [u8], usize)> {
        let (first, at) = self.peek(at)?;
        (first == b'"').then_some(())?;
        let (name, at) = self.string(at)?;
        Some((self.text.as_bytes().get(name)?, self.expect(at, b':')?))
    }

    fn properties(self, at: usize, members: &mut usize, wanted: &mut Wanted, slots: &mut Slots<'r>) -> Option<usize> {
        if let Some((b'n', at)) = self.peek(at) {
            return self.word(at, "null");
        }
        self.object(at, |at| {
            let (place, at) = self.place(at, members, wanted)?;
            match wanted.slot_of_property(place) {
                Some(slot) => self.value(at, slots, slot),
                None => self.pass(at),
            }
        })
    }

    /// Reads a value into a slot. Always inlined: the compiler would rather not, and then a text costs a fifth more.
    #[inline(always)]
    fn value(self, at: usize, slots: &mut Slots<'r>, slot: usize) -> Option<usize> {
        let (first, at) = self.peek(at)?;
        if first != b'"' {
            return self.other(first, at, slots, slot);
        }
        let (text, end) = self.string(at)?;
        slots.put_text(slot, self.text.get(text)?);
        Some(end)
    }

    /// Reads a value that is not text into a slot.
    #[inline(never)]
    fn other(self, first: u8, at: usize, slots: &mut Slots<'r>, slot: usize) -> Option<usize> {
        let (field, end) = if first == b'[' { self.list(at)? } else { self.item(first, at)? };
        slots.put(slot, field);
        Some(end)
    }

    fn list(self, at: usize) -> Option<(Field<'r>, usize)> {
        let mut items = Vec::new();
        let end = self.items(at, *b"[]", |at| {
            let (first, at) = self.peek(at)?;
            let (item, end) = self.item(first, at)?;
            items.push(item);
            Some(end)
        })?;
        Some((Field::List(items), end))
    }

    /// Reads an element of a list as a field, by its first byte. No test looks into a list within a list.
    fn item(self, first: u8, at: usize) -> Option<(Field<'r>, usize)> {
        Some(match first {
            b'"' => {
                let (text, end) = self.string(at)?;
                (Field::Text(Cow::Borrowed(self.text.get(text)?)), end)
            }
            b'{' | b'[' => (Field::Other, self.skip(first, at, MAX_DEPTH)?),
            b't' => (Field::Bool(true), self.word(at, "true")?),
            b'f' => (Field::Bool(false), self.word(at, "false")?),
            b'n' => (Field::Absent, self.word(at, "null")?),
            _ => {
                let (number, end) = self.number(at)?;
                (Field::Number(number.value()?), end)
            }
        })
    }

    /// Goes past a value.
    #[inline]
    fn pass(self, at: usize) -> Option<usize> {
        match self.peek(at)? {
            (b'"', at) => self.string(at).map(|(_, end)| end),
            (other, at) => self.skip(other, at, MAX_DEPTH),
        }
    }

    /// Goes past a value, nested at most so deep, by its first byte.
    #[inline(never)]
    fn skip(self, first: u8, at: usize, depth: usize) -> Option<usize> {
        match first {
            b'"' => self.string(at).map(|(_, end)| end),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(at, |at| {
                    let (_, at) = self.name(at)?;
                    let (first, at) = self.peek(at)?;
                    self.skip(first, at, depth)
                })
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.items(at, *b"[]", |at| {
                    let (first, at) = self.peek(at)?;
                    self.skip(first, at, depth)
                })
            }
            b't' => self.word(at, "true"),
            b'f' => self.word(at, "false"),
            b'n' => self.word(at, "null"),
            _ => self.number(at).map(|(_, end)| end),
        }
    }

    /// Goes past a string, which begins here, and says where its text is.
    #[inline]
    fn string(self, at: usize) -> Option<(Range<usize>, usize)> {
        let end = self.quotes.next(at + 1)?;
        Some((at + 1..end, end + 1))
    }

    fn word(self, at: usize, word: &str) -> Option<usize> {
        self.text.as_bytes()[at..].starts_with(word.as_bytes()).then_some(at + word.len())
    }

    fn number(self, at: usize) -> Option<(Number, usize)> {
        let negative = self.text.as_bytes().get(at) == Some(&b'-');
        let first = at + usize::from(negative);
        let (mut digits, mut end) = self.digits(first, 0);
        let whole = end - first;
        let leading_zero = whole > 1 && self.text.as_bytes()[first] == b'0';
        let mut decimals = 0;
        if self.text.as_bytes().get(end) == Some(&b'.') {
            let point = end + 1;
            (digits, end) = self.digits(point, digits);
            decimals = end - point;
            (decimals > 0).then_some(())?;
        }
        (whole > 0 && !leading_zero).then_some((Number { negative, digits, whole, decimals }, end))
    }

    /// Goes on with a row of digits: the number that they make, and where they end.
    fn digits(self, mut at: usize, before: u64) -> (u64, usize) {
        let mut value = before;
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        (value, at)
    }
}

/// A number as it is written.
struct Number {
    negative: bool,
    /// All digits; has wrapped around if there are more than nineteen.
    digits: u64,
    whole: usize,
    decimals: usize,
}

impl Number {
    /// The nearest double, if that takes but one rounding.
    fn value(&self) -> Option<f64> {
        if self.whole + self.decimals > MAX_DIGITS {
            return None;
        }
        let value = self.digits as f64 / POWERS[self.decimals];
        Some(if self.negative { -value } else { value })
    }
}
