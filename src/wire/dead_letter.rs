//! Records that cannot be used, and how they go to the dead letters: key and value as received,
//! and headers that say why and where from.
//!
//! | header | value |
//! |---|---|
//! | `tidemark.error.reason` | a name of [`Fault`] |
//! | `tidemark.error.path` | JSON path of what is wrong: `$.time`; `key` for the record key |
//! | `tidemark.error.message` | what was expected, for a person |
//! | `tidemark.source.topic`, `.partition`, `.offset` | the record |
//! | `tidemark.source.time` | its record time, if it has one |
//! | `tidemark.source.value` | `omitted, N bytes`: the value would make the letter larger than a record may be; it is at the source. `tidemark.source.key` says the same of the key |

use std::fmt;

use super::time::format_rfc3339;
use crate::log::{Output, OutputTopic, Record};

/// Why a record cannot be used: a closed set, for headers and metrics.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// The value is not UTF-8 or not JSON.
    Malformed,
    /// A field (or the whole record) has another type than the contract says.
    WrongType,
    /// A required field is missing, `null` or empty.
    MissingField,
    /// The time is not RFC 3339, or before 1970 or after 2527.
    BadTime,
    /// The event is dated too far after the moment at which the log got it.
    FarFuture,
    /// The value is above the size limit.
    Oversize,
    /// The event matches a level signal but has no usable level.
    UnknownLevel,
    /// The account is empty, longer than the limit, or not UTF-8.
    BadAccount,
}

impl Fault {
    /// All faults, in the order of their numbers (`fault as usize`).
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::WrongType,
        Self::MissingField,
        Self::BadTime,
        Self::FarFuture,
        Self::Oversize,
        Self::UnknownLevel,
        Self::BadAccount,
    ];

    /// Its name in headers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::BadTime => "bad_time",
            Self::FarFuture => "far_future",
            Self::Oversize => "oversize",
            Self::UnknownLevel => "unknown_level",
            Self::BadAccount => "bad_account",
        }
    }
}

/// The most characters of a message.
const LONGEST_MESSAGE: usize = 300;

/// What is wrong with a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    pub fault: Fault,
    /// JSON path of what is wrong; `key` for the record key.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

impl Rejected {
    /// Something is wrong at `path`. The message may quote the record: it is cut to a length that
    /// fits a header, and control characters in it are escaped so that they cannot steer a terminal.
    pub fn new(fault: Fault, path: impl Into<String>, message: impl AsRef<str>) -> Self {
        let mut text = String::new();
        for (at, char) in message.as_ref().chars().enumerate() {
            match char {
                _ if at == LONGEST_MESSAGE => {
                    text.push('\u{2026}');
                    break;
                }
                char if char.is_control() => text.extend(char.escape_default()),
                char => text.push(char),
            }
        }
        Self { fault, path: path.into(), message: text }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.fault.name(), self.path, self.message)
    }
}

impl std::error::Error for Rejected {}

/// Says, with its length, that a letter goes without the record's value.
pub const VALUE_OMITTED: &str = "tidemark.source.value";
/// Says, with its length, that a letter goes without the record's key.
pub const KEY_OMITTED: &str = "tidemark.source.key";

/// The dead letter of a record of `topic`, bound for the partition that the record came from. The
/// letter is at most `bytes_max` bytes as a record: one that would be larger points to the record
/// instead of repeating it, or it could never be written and its partition would not move again.
pub fn dead_letter(record: &Record<'_>, topic: &str, rejected: &Rejected, bytes_max: usize) -> Output {
    let mut headers = vec![
        ("tidemark.error.reason", rejected.fault.name().into()),
        ("tidemark.error.path", rejected.path.clone().into_bytes()),
        ("tidemark.error.message", rejected.message.clone().into_bytes()),
        ("tidemark.source.topic", topic.into()),
        ("tidemark.source.partition", record.partition.0.to_string().into_bytes()),
        ("tidemark.source.offset", record.offset.0.to_string().into_bytes()),
    ];
    headers.extend(record.time.map(|time| ("tidemark.source.time", format_rfc3339(time).into_bytes())));
    let mut letter =
        Output { topic: OutputTopic::DeadLetters, partition: record.partition, key: None, value: None, headers };
    letter.key = carried(record.key, KEY_OMITTED, &mut letter, bytes_max / 2);
    letter.value = carried(record.value, VALUE_OMITTED, &mut letter, bytes_max);
    letter
}

/// A copy of the bytes if there is room for them in the letter; else the letter says how many it lacks.
fn carried(bytes: Option<&[u8]>, omitted: &'static str, letter: &mut Output, bytes_max: usize) -> Option<Vec<u8>> {
    let bytes = bytes?;
    if letter.bytes_at_most() + bytes.len() <= bytes_max {
        return Some(bytes.to_vec());
    }
    letter.headers.push((omitted, format!("omitted, {} bytes", bytes.len()).into_bytes()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{InputId, Offset, Partition},
        model::Timestamp,
    };

    #[test]
    fn a_dead_letter_keeps_the_bytes_and_says_where_from() {
        let record = Record {
            input: InputId(0),
            partition: Partition(3),
            offset: Offset(42),
            time: Some(Timestamp::from_millis(1_795_280_400_000)),
            key: Some(b"acme\xff"),
            value: Some(b"{\xff"),
        };
        let rejected = Rejected::new(Fault::Malformed, "$", "not UTF-8");
        let letter = dead_letter(&record, "intent.events", &rejected, 1000);
        assert_eq!((letter.topic, letter.partition), (OutputTopic::DeadLetters, Partition(3)));
        assert_eq!(letter.key.as_deref(), record.key);
        assert_eq!(letter.value.as_deref(), record.value);
        let headers: Vec<_> =
            letter.headers.iter().map(|(name, value)| (*name, str::from_utf8(value).unwrap())).collect();
        assert_eq!(
            headers,
            [
                ("tidemark.error.reason", "malformed"),
                ("tidemark.error.path", "$"),
                ("tidemark.error.message", "not UTF-8"),
                ("tidemark.source.topic", "intent.events"),
                ("tidemark.source.partition", "3"),
                ("tidemark.source.offset", "42"),
                ("tidemark.source.time", "2026-11-21T17:00:00.000Z"),
            ]
        );
        let without_time = dead_letter(&Record { time: None, key: None, ..record }, "t", &rejected, 1000);
        assert!(without_time.key.is_none() && without_time.headers.len() == 6);
    }

    #[test]
    fn a_letter_that_would_be_too_large_points_to_its_record() {
        let letter = |key: usize, value: usize| {
            let (key, value) = (vec![b'k'; key], vec![b'v'; value]);
            let (input, partition, offset) = (InputId(0), Partition(3), Offset(42));
            let record = Record { input, partition, offset, time: None, key: Some(&key), value: Some(&value) };
            dead_letter(&record, "intent.events", &Rejected::new(Fault::Oversize, "$", "too large"), 2000)
        };
        let said = |letter: &Output, name| {
            let header = letter.headers.iter().find(|(header, _)| *header == name);
            header.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        let room = 2000 - letter(0, 0).bytes_at_most();
        let (full, over) = (letter(0, room), letter(0, room + 1));
        assert_eq!((full.value.as_ref().map(Vec::len), said(&full, VALUE_OMITTED)), (Some(room), None));
        assert_eq!((&over.value, said(&over, VALUE_OMITTED)), (&None, Some(format!("omitted, {} bytes", room + 1))));
        assert!(over.key.is_some() && over.headers.len() == 7, "where from and why stay: {over:?}");
        let pointer = letter(5000, 5000);
        assert_eq!((&pointer.key, &pointer.value), (&None, &None));
        assert_eq!(said(&pointer, KEY_OMITTED).as_deref(), Some("omitted, 5000 bytes"));
        for letter in [full, over, pointer] {
            assert!(letter.bytes_at_most() <= 2000, "{}", letter.bytes_at_most());
        }
    }

    #[test]
    fn a_message_is_short_and_tame() {
        let message = |text: &str| Rejected::new(Fault::BadTime, "$.time", text).message;
        assert_eq!(message("`\u{1b}[2J\u{e4}`"), "`\\u{1b}[2J\u{e4}`");
        assert_eq!(message(&"x".repeat(300)), "x".repeat(300));
        assert_eq!(message(&"x".repeat(1000)), "x".repeat(300) + "\u{2026}");
    }

    #[test]
    fn faults_are_numbered_in_order() {
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, number, "{}", fault.name());
        }
    }
}
