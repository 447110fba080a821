//! Whole milliseconds: moments and spans.

use std::ops::{Add, Sub};

/// A moment: whole milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before everything: what an account that nothing has touched is settled to.
    pub const MIN: Self = Self(i64::MIN);
    /// The first moment that a record may carry: the Unix epoch.
    pub const EARLIEST: Self = Self(0);
    /// The last moment that a record may carry (44 bits of milliseconds, in the year 2527).
    /// Account state packs a time into this many bits.
    pub const LATEST: Self = Self((1 << 44) - 1);

    /// `millis` since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whether a record may carry this time; see [`Self::EARLIEST`] and [`Self::LATEST`].
    pub fn is_representable(self) -> bool {
        (Self::EARLIEST..=Self::LATEST).contains(&self)
    }

    /// This moment moved back by `span`, stopping at [`Self::MIN`].
    pub const fn back(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Timestamp {
    type Output = i64;
    /// Milliseconds from `earlier` to `self`; negative when `earlier` is the later one.
    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A length of time in whole milliseconds, never negative.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `millis`, or nothing if that is negative.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        if millis >= 0 { Some(Self(millis)) } else { None }
    }

    /// A span of whole seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self(seconds as i64 * 1000)
    }

    /// A span of whole days of 24 hours.
    pub const fn days(days: u32) -> Self {
        Self(days as i64 * 86_400_000)
    }

    /// Its length in milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Half of it.
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// Whether it has no length.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// The time in which a score loses half its value. Never zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HalfLife(Span);

impl HalfLife {
    /// A half-life of `span`, or nothing if that is zero.
    pub fn new(span: Span) -> Option<Self> {
        (!span.is_zero()).then_some(Self(span))
    }

    /// Its length.
    pub const fn span(self) -> Span {
        self.0
    }
}
