//! Time that runs faster, so that weeks of fading fit into minutes.

use std::time::{Duration, Instant};

use crate::{
    model::{Span, Timestamp},
    runtime::{Clock, SystemClock},
};

/// A wall clock that starts now and runs at a multiple of the real speed. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct FastClock {
    start: Timestamp,
    began: Instant,
    speed: u32,
}

impl FastClock {
    /// A clock at `speed` times the real speed; at least 1.
    pub fn new(speed: u32) -> Self {
        Self { start: SystemClock::default().wall(), began: Instant::now(), speed: speed.max(1) }
    }

    /// How much of its time passes in `real` time.
    pub fn span(&self, real: Duration) -> Span {
        let millis = real.as_millis().saturating_mul(u128::from(self.speed));
        Span::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)).unwrap_or_default()
    }

    /// When it started, on itself.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    fn at(&self, elapsed: Duration) -> Timestamp {
        let micros = elapsed.as_micros().saturating_mul(u128::from(self.speed));
        let passed = Span::from_millis(i64::try_from(micros / 1000).unwrap_or(i64::MAX));
        self.start + passed.unwrap_or_default()
    }
}

impl Clock for FastClock {
    fn wall(&self) -> Timestamp {
        self.at(self.began.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn until(&self, time: Timestamp) -> Duration {
        let millis = u64::try_from(time - self.wall()).unwrap_or(0);
        Duration::from_millis(millis) / self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_eight_hours_at_28800() {
        let clock = FastClock::new(28_800);
        assert_eq!(clock.at(Duration::from_secs(1)) - clock.start(), 8 * 3_600_000);
        assert_eq!(clock.at(Duration::from_micros(500)) - clock.start(), 14_400, "finer than a real millisecond");
        assert_eq!(clock.span(Duration::from_secs(2)), Span::seconds(16 * 3600));
        let wait = clock.until(clock.wall() + Span::days(1));
        assert!((Duration::from_millis(2_900)..=Duration::from_secs(3)).contains(&wait), "{wait:?}");
        assert_eq!(clock.until(clock.start()), Duration::ZERO);
    }
}
