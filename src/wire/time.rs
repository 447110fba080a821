//! Times and durations as text: RFC 3339 outside, whole milliseconds inside.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::{Span, Timestamp};

const DAY_MS: i64 = 86_400_000;

/// Reads an RFC 3339 date-time with any offset, such as `2026-11-21T17:00:00.5Z`. What is finer
/// than a millisecond is cut off. Nothing if the text is anything else.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let text = text.as_bytes();
    if let Some(time) = usual(text) {
        return Some(time);
    }
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators = [date_time[4], date_time[7], date_time[10], date_time[13], date_time[16]];
    if !matches!(separators, [b'-', b'-', b'T' | b't' | b' ', b':', b':']) {
        return None;
    }
    let date = [number(&date_time[..4])?, number(&date_time[5..7])?, number(&date_time[8..10])?];
    let time = [number(&date_time[11..13])?, number(&date_time[14..16])?, number(&date_time[17..])?];
    let (fraction_ms, rest) = fraction(rest)?;
    moment(date, time, fraction_ms - offset_minutes(rest)? * 60_000)
}

/// What bounds the bytes of a time that is written as nearly all are, eight at a time.
const USUAL: [[[u8; 8]; 2]; 3] =
    [[*b"0000-00-", *b"9999-99-"], [*b"00T00:00", *b"99T99:99"], [*b":00.000Z", *b":99.999Z"]];

/// Reads a time that is written as usual.
fn usual(text: &[u8]) -> Option<Timestamp> {
    let ([first, second, third], []) = text.as_chunks() else { return None };
    let date = digits(*first, USUAL[0])?;
    let minutes = digits(*second, USUAL[1])?;
    let seconds = digits(*third, USUAL[2])?;
    let date_of_day = [date.pair(0) * 100 + date.pair(2), date.pair(5), minutes.pair(0)];
    moment(date_of_day, [minutes.pair(3), minutes.pair(6), seconds.pair(1)], seconds.pair(4) * 10 + seconds.one(6))
}

/// Eight bytes that are values of digits, or zero, the first one lowest.
struct Digits(u64);

impl Digits {
    fn one(&self, at: usize) -> i64 {
        (self.0 >> (8 * at) & 0xff) as i64
    }

    /// The number that two of them make.
    fn pair(&self, at: usize) -> i64 {
        self.one(at) * 10 + self.one(at + 1)
    }
}

/// The digits of a text whose other bytes are those of both bounds.
#[inline]
fn digits(text: [u8; 8], [lowest, highest]: [[u8; 8]; 2]) -> Option<Digits> {
    const EACH: u64 = u64::MAX / 0xff;
    let (lowest, highest) = (u64::from_le_bytes(lowest), u64::from_le_bytes(highest));
    let digits = u64::from_le_bytes(text) ^ lowest;
    // Takes a byte over 0x7f if it is more than it may be. One that overflows into the next was over it
    // itself.
    let above = EACH * 0x7f - (highest ^ lowest);
    let odd = (digits.wrapping_add(above) | digits) & (EACH << 7);
    (odd == 0).then_some(Digits(digits))
}

/// The moment of year, month and day at hour, minute and second and some milliseconds, if there is one.
fn moment([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3], millis: i64) -> Option<Timestamp> {
    // A leap second (60) is legal; Unix time has none, so it becomes the second after.
    if !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(Timestamp::from_millis(days_from_civil(year, month, day) * DAY_MS + seconds * 1000 + millis))
}

/// Writes a moment as RFC 3339 in UTC, always with milliseconds: `2026-11-21T17:00:00.000Z`.
pub fn format_rfc3339(time: Timestamp) -> String {
    Rfc3339(time).to_string()
}

/// A moment that reads and writes itself as RFC 3339; see [`format_rfc3339`] and [`parse_rfc3339`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rfc3339(pub Timestamp);

impl Rfc3339 {
    /// A moment of the far future, if RFC 3339 can say it: its years have four digits.
    pub fn of_four_digits(time: Timestamp) -> Option<Self> {
        /// 31 December 9999, 23:59:59.999.
        const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);
        (time <= LAST).then_some(Self(time))
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.millis().div_euclid(DAY_MS), self.0.millis().rem_euclid(DAY_MS));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        let of_ten_thousand = year.rem_euclid(10_000);
        let pairs =
            [of_ten_thousand / 100, of_ten_thousand % 100, month, day, hour, minute, second, millis % 1000 / 10];
        // Digit by digit: every change says several times, and to format them took three times as long.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (at, pair) in [0, 2, 5, 8, 11, 14, 17, 20].into_iter().zip(pairs) {
            text[at] += (pair / 10) as u8;
            text[at + 1] += (pair % 10) as u8;
        }
        text[22] += (millis % 10) as u8;
        if (0..=9999).contains(&year) {
            return f.write_str(str::from_utf8(&text).unwrap_or_default());
        }
        write!(f, "{year:04}{}", str::from_utf8(&text[4..]).unwrap_or_default())
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Rfc3339;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time such as 2026-11-21T17:00:00.000Z")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rfc3339, E> {
                parse_rfc3339(text).map(Rfc3339).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpanError {
    #[error(
        "`{0}` is not a duration: write amounts with their units (ms, s, m, h, d, w), the largest first, like 10d or 1d12h"
    )]
    Form(String),
    #[error("`{0}` is not a whole number of milliseconds")]
    TooFine(String),
    #[error("`{0}` is longer than 500 years")]
    TooLong(String),
}

/// Units of a duration, the largest first, in milliseconds.
const UNITS: [(&str, i64); 6] =
    [("w", 7 * DAY_MS), ("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Longer than any two times that records may carry are apart, and far from overflow.
const LONGEST_MS: i64 = 500 * 366 * DAY_MS;

/// Reads a duration: amounts (decimals if they give whole milliseconds) each with its unit, the
/// largest unit first: `10d`, `1.5h`, `1d12h`.
pub fn parse_span(text: &str) -> Result<Span, SpanError> {
    let form = || SpanError::Form(text.to_owned());
    let (mut rest, mut total, mut units) = (text, 0, &UNITS[..]);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
        let (amount, tail) = rest.split_at(unit_at);
        let next = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        let index = units.iter().position(|(name, _)| *name == unit).ok_or_else(form)?;
        total += amount_ms(text, amount, units[index].1)?;
        if total > LONGEST_MS {
            return Err(SpanError::TooLong(text.to_owned()));
        }
        (rest, units) = (tail, &units[index + 1..]);
    }
    // An empty text has no amount at all.
    Span::from_millis(total).filter(|_| !text.is_empty()).ok_or_else(form)
}

/// Writes a duration as [`parse_span`] reads it, in days and smaller units: `14d`, `1d12h`, `0s`.
pub fn format_span(span: Span) -> String {
    let mut millis = span.millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in &UNITS[1..] {
        if millis >= *length {
            text += &format!("{}{unit}", millis / length);
            millis %= length;
        }
    }
    text
}

/// `amount` units in milliseconds; `text` is the whole duration, for the error.
fn amount_ms(text: &str, amount: &str, unit_ms: i64) -> Result<i64, SpanError> {
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
        return Err(SpanError::Form(text.to_owned()));
    }
    let too_long = || SpanError::TooLong(text.to_owned());
    let too_fine = || SpanError::TooFine(text.to_owned());
    let decimals = decimals.trim_end_matches('0');
    // A week has ten factors of two: more decimals than that never give whole milliseconds.
    let scale = u32::try_from(decimals.len()).ok().filter(|len| *len <= 10).ok_or_else(too_fine)?;
    let scale = 10_i128.pow(scale);
    let whole: i64 = whole.parse().map_err(|_| too_long())?;
    let part: i64 = if decimals.is_empty() { 0 } else { decimals.parse().map_err(|_| too_fine())? };
    let scaled = (i128::from(whole) * scale + i128::from(part)) * i128::from(unit_ms);
    if scaled % scale != 0 {
        return Err(too_fine());
    }
    i64::try_from(scaled / scale).ok().filter(|millis| *millis <= LONGEST_MS).ok_or_else(too_long)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// The whole milliseconds of an optional `.123456`, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else {
        return Some((0, text));
    };
    let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = digits.split_at(len);
    let millis = (0..3).fold(0, |millis, at| millis * 10 + digits.get(at).map_or(0, |byte| i64::from(byte - b'0')));
    (len > 0).then_some((millis, rest))
}

fn offset_minutes(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let offset = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the Unix epoch of a date in the proleptic Gregorian calendar; no year is negative. Counts
/// in years that start on 1 March, so that the leap day is the last of its year (H. Hinnant,
/// "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // One era of 400 years more, as January of year 0 belongs to the year before.
    let year = (year + 400 - i64::from(month <= 2)) as u32;
    let month = month as u32;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    i64::from(days) + day - (146_097 + 719_469)
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let (era, day_of_era) = ((days + 719_468).div_euclid(146_097), (days + 719_468).rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn years_of_five_digits_are_left_unsaid() {
        let last = parse_rfc3339("9999-12-31T23:59:59.999Z").unwrap();
        assert_eq!(Rfc3339::of_four_digits(last), Some(Rfc3339(last)));
        assert_eq!(Rfc3339::of_four_digits(last + Span::seconds(1)), None);
    }

    #[test]
    fn times_are_read_to_the_millisecond() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("2026-11-21T17:00:00.000Z", 1_795_280_400_000),
            ("2026-11-21T17:00:00.1239999Z", 1_795_280_400_123),
            ("2026-11-21t17:00:00.5z", 1_795_280_400_500),
            ("2026-11-21 17:00:00Z", 1_795_280_400_000),
            ("2026-11-21T18:30:00+01:30", 1_795_280_400_000),
            ("2026-11-21T16:00:00-01:00", 1_795_280_400_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse_rfc3339(text), Some(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T17:00:00",
            "2026-11-21T17:00:00.Z",
            "2026-11-21T17:00:00.1",
            "2026-11-21T17:00:00+0100",
            "2026-11-21T17:00:00Z ",
            "2026-11-21T24:00:00Z",
            "2026-11-21T17:60:00Z",
            "2026-11-21T17:00:61Z",
            "2026-13-21T17:00:00Z",
            "2026-02-29T17:00:00Z",
            "1900-02-29T17:00:00Z",
            "2026-11-00T17:00:00Z",
            "+026-11-21T17:00:00Z",
            "2026-11-21T17:00:00+24:00",
            "2026-11-21T17:00:0\u{00e9}",
            "1795280400000",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn any_moment_can_be_written() {
        assert_eq!(format_rfc3339(Timestamp::EARLIEST), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_rfc3339(Timestamp::LATEST), "2527-06-23T06:20:44.415Z");
        for extreme in [Timestamp::MIN, Timestamp::from_millis(i64::MAX)] {
            assert!(format_rfc3339(extreme).ends_with('Z'));
        }
        assert_eq!(
            format_rfc3339(parse_rfc3339("9999-12-31T23:59:59.999Z").unwrap() + Span::seconds(1)),
            "10000-01-01T00:00:00.999Z"
        );
        assert_eq!(format_rfc3339(Timestamp::from_millis(-62_167_219_200_001)), "-001-12-31T23:59:59.999Z");
    }

    #[test]
    fn durations_add_up_their_units() {
        for (text, millis, written) in [
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "1m30s"),
            ("1.5h", 5_400_000, "1h30m"),
            ("0.001s", 1, "1ms"),
            ("10d", 864_000_000, "10d"),
            ("2w", 1_209_600_000, "14d"),
            ("1d12h", 129_600_000, "1d12h"),
            ("1m1ms", 60_001, "1m1ms"),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!(span.millis(), millis, "{text}");
            assert_eq!(format_span(span), written);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in
            ["", "10", "d", "10 d", "10days", "-1d", "1d1d", "12h1d", "1.d", ".5d", "1.2.3d", "1D", "1\u{00b5}s"]
        {
            assert_eq!(parse_span(text), Err(SpanError::Form(text.to_owned())));
        }
        for text in ["0.5ms", "0.0001s", "0.33333333333333333333h"] {
            assert_eq!(parse_span(text), Err(SpanError::TooFine(text.to_owned())));
        }
        for text in ["27000w", "100000000000000000000d", "9223372036854775807w"] {
            assert_eq!(parse_span(text), Err(SpanError::TooLong(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn times_survive_being_written(millis in -62_167_219_200_000_i64..=253_402_300_799_999) {
            let time = Timestamp::from_millis(millis);
            let text = format_rfc3339(time);
            prop_assert_eq!(parse_rfc3339(&text), Some(time));
            // chrono is the second opinion on the calendar.
            let second_opinion = chrono::DateTime::parse_from_rfc3339(&text).unwrap();
            prop_assert_eq!(second_opinion.timestamp_millis(), millis);
        }

        #[test]
        fn the_quick_way_reads_what_the_general_one_reads(
            millis in -62_167_219_200_000_i64..=253_402_300_799_999,
            damage in prop::option::of((0_usize..23, prop::sample::select(&b"0123459:-.TZ/\x7f\0"[..]))),
        ) {
            let mut text = format_rfc3339(Timestamp::from_millis(millis)).into_bytes();
            if let Some((at, byte)) = damage {
                text[at] = byte;
            }
            let text = String::from_utf8(text).unwrap();
            // One digit more is for the general way, and is cut off.
            prop_assert_eq!(parse_rfc3339(&text), parse_rfc3339(&text.replace('Z', "0Z")), "{}", text);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|[0-9T:.Z+-]{19,30}|[0-9.]*[a-z]{0,3}[0-9.]*[a-z]{0,3}") {
            if let Some(time) = parse_rfc3339(&text) {
                prop_assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
            }
            if let Ok(span) = parse_span(&text) {
                prop_assert_eq!(parse_span(&format_span(span)), Ok(span));
            }
        }
    }
}
