//! What a record says and whether a `match` of the model agrees with it.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::words;

/// The name of a field that a `match` reads, as an index into [`super::Keys`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub u16);

/// What a record has under one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<'a> {
    /// The record lacks the key, or it is `null`.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(f64),
    Bool(bool),
    /// A list matches when any of its elements does.
    List(Vec<Field<'a>>),
    /// Present, but of a shape that no test reads (an object).
    Other,
}

/// What is known of a condition: the three values of Kleene's logic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    False,
    Unknown,
    True,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;
    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

/// A text pattern in which `*` stands for any run of characters, `/` included. Case-sensitive.
#[derive(Clone, Debug)]
pub struct Glob {
    pattern: Box<str>,
    /// What comes before the first star, or all there is.
    start: Box<[u8]>,
    /// The first bytes of that as a word, and which bits of a text's first word they are.
    head: u64,
    mask: u64,
    stars: Stars,
}

/// What follows the start of a pattern.
#[derive(Clone, Debug)]
enum Stars {
    /// Nothing: the pattern is a fixed text.
    None,
    /// One star, at the end.
    Last,
    /// Stars, with these texts after each but the last one, and this text after that.
    More(Box<[Finder<'static>]>, Box<[u8]>),
}

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        let (start, rest) = pattern.split_at(pattern.find('*').unwrap_or(pattern.len()));
        let start = start.as_bytes();
        let stars = match rest {
            "" => Stars::None,
            "*" => Stars::Last,
            more => {
                let mut texts: Vec<&str> = more.split('*').skip(1).collect();
                let end = texts.pop().unwrap_or_default();
                let middle = texts.iter().map(|text| Finder::new(text).into_owned()).collect();
                Stars::More(middle, end.as_bytes().into())
            }
        };
        let mask = words::head(&vec![0xff; start.len()]);
        Self { pattern: pattern.into(), start: start.into(), head: words::head(start), mask, stars }
    }

    /// The text it was made from.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The only text that fits, of a pattern without stars.
    pub fn fixed(&self) -> Option<&str> {
        matches!(self.stars, Stars::None).then_some(&*self.pattern)
    }

    /// Whether the whole of `text` fits the pattern. Linear in both lengths.
    #[inline]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_with(head(text), text)
    }

    /// The same for a text whose head is known. Texts that differ nearly always do so there.
    #[inline]
    fn matches_with(&self, head: u64, text: &str) -> bool {
        head & self.mask == self.head && self.matches_beyond(text.as_bytes())
    }

    fn matches_beyond(&self, text: &[u8]) -> bool {
        let Some(rest) = text.strip_prefix(&*self.start) else { return false };
        match &self.stars {
            Stars::None => rest.is_empty(),
            Stars::Last => true,
            Stars::More(middle, end) => fits(middle, end, rest),
        }
    }
}

/// All else follows from the pattern.
impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

/// The first bytes of a text as a word.
#[inline]
fn head(text: &str) -> u64 {
    words::head(text.as_bytes())
}

/// Whether these texts lie within `text` one after the other, and `end` ends it. The first place of
/// each is as good as any later one: it leaves the most for those that follow.
fn fits(middle: &[Finder<'_>], end: &[u8], mut text: &[u8]) -> bool {
    for wanted in middle {
        let Some(at) = wanted.find(text) else { return false };
        text = &text[at + wanted.needle().len()..];
    }
    text.ends_with(end)
}

/// One test of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Text(Glob),
    Number(f64),
    Bool(bool),
    /// Both bounds are inclusive.
    Range {
        min: Option<f64>,
        max: Option<f64>,
    },
    AnyOf(Vec<Test>),
    Not(Box<Test>),
    Exists(bool),
}

impl Test {
    /// Kleene truth over what the record has: an absent field leaves all but `exists` unknown.
    pub fn of(&self, field: &Field<'_>) -> Truth {
        match (self, field) {
            (Self::Exists(wanted), field) => (*wanted != matches!(field, Field::Absent)).into(),
            (Self::Not(inner), field) => !inner.of(field),
            // A test for absence may stand among others.
            (Self::AnyOf(tests), field) => tests.iter().map(|test| test.of(field)).fold(Truth::False, or),
            (_, Field::Absent) => Truth::Unknown,
            (test, field) => test.agrees(field).into(),
        }
    }

    /// The same over a field of which there is nothing more to know: a missing one fails a test and
    /// passes the `not` of one.
    fn decided(&self, field: &Field<'_>) -> bool {
        match (self, field) {
            // By far the most frequent pair, here and in lists: without a detour.
            (Self::Text(glob), Field::Text(text)) => glob.matches(text),
            (Self::AnyOf(tests), Field::Text(text)) => {
                let head = head(text);
                tests.iter().any(|test| match test {
                    Self::Text(glob) => glob.matches_with(head, text),
                    test => test.decided(field),
                })
            }
            (Self::AnyOf(tests), field) => tests.iter().any(|test| test.decided(field)),
            (Self::Not(inner), field) => !inner.decided(field),
            (Self::Exists(wanted), field) => *wanted != matches!(field, Field::Absent),
            (test, field) => test.agrees(field),
        }
    }

    fn agrees(&self, field: &Field<'_>) -> bool {
        match field {
            Field::List(items) => items.iter().any(|item| self.holds(item)),
            field => self.holds(field),
        }
    }

    fn holds(&self, field: &Field<'_>) -> bool {
        match (self, field) {
            (Self::Text(glob), Field::Text(text)) => glob.matches(text),
            (Self::Number(wanted), Field::Number(number)) => wanted == number,
            (Self::Bool(wanted), Field::Bool(value)) => wanted == value,
            (Self::Range { min, max }, Field::Number(number)) => {
                min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max)
            }
            _ => false,
        }
    }
}

fn or(a: Truth, b: Truth) -> Truth {
    match (a, b) {
        (Truth::True, _) | (_, Truth::True) => Truth::True,
        (Truth::False, Truth::False) => Truth::False,
        _ => Truth::Unknown,
    }
}

/// A `match`: every key must agree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matcher(pub Vec<(KeyId, Test)>);

impl Matcher {
    /// Kleene truth over a record's fields, indexed by [`KeyId`]: false as soon as one key
    /// disagrees, unknown while one is missing, else true.
    pub fn truth(&self, fields: &[Field<'_>]) -> Truth {
        let mut truth = Truth::True;
        for (key, test) in &self.0 {
            match test.of(&fields[usize::from(key.0)]) {
                Truth::False => return Truth::False,
                Truth::Unknown => truth = Truth::Unknown,
                Truth::True => {}
            }
        }
        truth
    }

    /// Whether an event matches. An event is all there is to know of itself, so a missing field
    /// is not unknown: it fails a test and passes the `not` of one.
    pub fn matches(&self, fields: &[Field<'_>]) -> bool {
        self.0.iter().all(|(key, test)| test.decided(&fields[usize::from(key.0)]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, text, expected) in [
            ("/pricing", "/pricing", true),
            ("/pricing", "/pricing/", false),
            ("/pricing*", "/pricing/enterprise", true),
            ("*pricing*", "/eu/pricing/x", true),
            ("*.pdf", "/a.pdf.html", false),
            ("a*b*c", "a-bb-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
            ("/Pricing", "/pricing", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("**", "", true),
            ("/*/pricing*", "/de/pricing/x", true),
            ("/*/pricing*", "/pricing", false),
            ("*a*", "", false),
            ("*a**b*", "xaxxbx", true),
            ("*a*b*", "ba", false),
            ("/pricing/eu", "/pricing/eu", true),
            ("/pricing/eu", "/pricing/us", false),
            ("/pricing/eu*", "/pricing/", false),
            ("a\0", "a", false),
            ("a\0*", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    proptest! {
        #[test]
        fn a_glob_fits_what_its_definition_says(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            fn fits(pattern: &str, text: &str) -> bool {
                match pattern.split_at_checked(1) {
                    None => text.is_empty(),
                    Some(("*", rest)) => (0..=text.len()).any(|swallowed| fits(rest, &text[swallowed..])),
                    Some((byte, rest)) => text.strip_prefix(byte).is_some_and(|text| fits(rest, text)),
                }
            }
            prop_assert_eq!(Glob::new(&pattern).matches(&text), fits(&pattern, &text));
        }
    }

    #[test]
    fn a_missing_field_is_unknown_to_an_attribute_and_decided_for_an_event() {
        let fields =
            [Field::Absent, Field::Number(70.0), Field::List(vec![Field::Text("a".into()), Field::Text("b".into())])];
        let text = |key, text: &str| (KeyId(key), Test::Text(Glob::new(text)));
        let range = (KeyId(1), Test::Range { min: Some(70.0), max: None });
        let missing = Matcher(vec![text(0, "x"), range.clone()]);
        assert_eq!(missing.truth(&fields), Truth::Unknown);
        assert!(!missing.matches(&fields));
        let not_missing = Matcher(vec![(KeyId(0), Test::Not(Box::new(Test::Text(Glob::new("x")))))]);
        assert_eq!(not_missing.truth(&fields), Truth::Unknown);
        assert!(not_missing.matches(&fields));
        assert_eq!(Matcher(vec![text(0, "x"), text(2, "c")]).truth(&fields), Truth::False);
        assert!(Matcher(vec![text(2, "b"), range]).matches(&fields), "any element of a list");
    }
}
