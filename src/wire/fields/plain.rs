//! Reads plain JSON: the quick way into the fields of a record.
//!
//! Plain is what nearly all producers send: no escapes, no control characters (so all on one line),
//! no exponents, no deep nesting. Of a plain text the same fields are read as [`super::any`] would
//! read. Of any other, and of whatever is not sound, nothing is said but that it is not plain: the
//! careful way comes after, and also finds the words for what is wrong.

use std::{borrow::Cow, mem, ops::Range};

use memchr::memchr;

use super::{Place, Slots, Wanted};
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
    let mut plain = Plain::new(text)?;
    let mut has_properties = false;
    plain.object(|plain| match plain.place(wanted)? {
        Place::Slot(slot) => plain.value(slots, slot as usize),
        Place::Properties => {
            if mem::replace(&mut has_properties, true) {
                wanted.empty_properties(slots);
            }
            plain.properties(wanted, slots)
        }
        Place::Nowhere => plain.skip(MAX_DEPTH),
    })?;
    plain.end()
}

/// What is left of a plain text. All methods give nothing on what is not plain.
struct Plain<'r> {
    text: &'r str,
    /// The next byte; always at the border of a character.
    at: usize,
    /// How many members of the record and its properties were read.
    members: usize,
}

impl<'r> Plain<'r> {
    fn new(text: &'r str) -> Option<Self> {
        // Without an early end this loop takes sixteen bytes at a time.
        let odd = text.bytes().fold(false, |odd, byte| odd | (byte < b' ') | (byte == b'\\'));
        (!odd).then_some(Self { text, at: 0, members: 0 })
    }

    fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// The next byte that is not a space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Goes past the byte if it is the next one.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// Reads an object; `member` reads each name and its value.
    #[inline]
    fn object(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            member(self)?;
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Reads a name and the colon after it; says where its value goes.
    #[inline]
    fn place(&mut self, wanted: &mut Wanted) -> Option<Place> {
        let index = self.members;
        self.members += 1;
        match wanted.order.expected(index, self.text.as_bytes().get(self.at..)?) {
            Some((place, len)) => {
                self.at += len;
                Some(place)
            }
            None => self.unexpected(wanted, index),
        }
    }

    #[inline(never)]
    fn unexpected(&mut self, wanted: &mut Wanted, index: usize) -> Option<Place> {
        let from = self.at;
        let name = self.name()?;
        let place = wanted.place(name);
        wanted.order.keep(index, &self.text.as_bytes()[from..self.at], place);
        Some(place)
    }

    /// Reads a name and the colon after it.
    fn name(&mut self) -> Option<&'r [u8]> {
        (self.peek()? == b'"').then_some(())?;
        let name = self.string()?;
        self.expect(b':')?;
        self.text.as_bytes().get(name)
    }

    /// Reads a list; `item` reads each item.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Some(());
        }
        loop {
            item(self)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    fn properties(&mut self, wanted: &mut Wanted, slots: &mut Slots<'r>) -> Option<()> {
        if self.peek() == Some(b'n') {
            return self.word("null");
        }
        self.object(|plain| {
            let place = plain.place(wanted)?;
            match wanted.slot_of_property(place) {
                Some(slot) => plain.value(slots, slot),
                None => plain.skip(MAX_DEPTH),
            }
        })
    }

    /// Reads a value into a slot.
    fn value(&mut self, slots: &mut Slots<'r>, slot: usize) -> Option<()> {
        match self.peek()? {
            b'"' => slots.put_text(slot, self.text()?),
            other => self.other(other, slots, slot)?,
        }
        Some(())
    }

    /// Reads a value that is not text into a slot.
    #[inline(never)]
    fn other(&mut self, first: u8, slots: &mut Slots<'r>, slot: usize) -> Option<()> {
        let field = if first == b'[' { self.items()? } else { self.item(first)? };
        slots.put(slot, field);
        Some(())
    }

    fn items(&mut self) -> Option<Field<'r>> {
        let mut items = Vec::new();
        self.list(|plain| {
            let first = plain.peek()?;
            items.push(plain.item(first)?);
            Some(())
        })?;
        Some(Field::List(items))
    }

    /// Reads an element of a list as a field, by its first byte. No test looks into a list within a list.
    fn item(&mut self, first: u8) -> Option<Field<'r>> {
        match first {
            b'"' => self.text().map(|text| Field::Text(Cow::Borrowed(text))),
            b'{' | b'[' => self.skip(MAX_DEPTH).map(|()| Field::Other),
            b't' => self.word("true").map(|()| Field::Bool(true)),
            b'f' => self.word("false").map(|()| Field::Bool(false)),
            b'n' => self.word("null").map(|()| Field::Absent),
            _ => self.number()?.value().map(Field::Number),
        }
    }

    #[inline]
    fn text(&mut self) -> Option<&'r str> {
        let range = self.string()?;
        self.text.get(range)
    }

    /// Goes past a value, nested at most so deep.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(|plain| plain.name().and_then(|_| plain.skip(depth)))
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.list(|plain| plain.skip(depth))
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    /// Goes past a string, of which the next byte is the quote, and says where its text is.
    #[inline]
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let end = start + memchr(b'"', self.text.as_bytes().get(start..)?)?;
        self.at = end + 1;
        Some(start..end)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(())
    }

    fn number(&mut self) -> Option<Number> {
        let negative = self.take(b'-');
        let first = self.at;
        let (mut digits, whole) = self.digits(0);
        let leading_zero = whole > 1 && self.text.as_bytes()[first] == b'0';
        let mut decimals = 0;
        if self.text.as_bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            (digits, decimals) = self.digits(digits);
            (decimals > 0).then_some(())?;
        }
        (whole > 0 && !leading_zero).then_some(Number { negative, digits, whole, decimals })
    }

    /// Goes on with a row of digits: the number that they make, and how many they are.
    fn digits(&mut self, before: u64) -> (u64, usize) {
        let (mut value, start) = (before, self.at);
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (value, self.at - start)
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
