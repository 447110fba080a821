//! Chance that repeats itself: the same seed gives the same numbers on every machine.

/// A SplitMix64 generator; good enough to vary a story, not to keep a secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low + 1) as f64) as i64
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of several, of which there must be at least one.
    pub fn pick<T: Copy>(&mut self, several: &[T]) -> T {
        several[self.between(0, several.len() as i64 - 1) as usize]
    }

    /// The time to the next of events that happen once per `mean` on average, independently;
    /// at least 1.
    pub fn gap(&mut self, mean: i64) -> i64 {
        // The standard library's logarithm may differ between machines.
        ((-libm::log(1.0 - self.unit()) * mean as f64) as i64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_ranges_and_means() {
        let mut random = Random::new(7);
        let drawn: Vec<i64> = (0..10_000).map(|_| random.between(-1, 2)).collect();
        for number in -1..=2 {
            let share = drawn.iter().filter(|drawn| **drawn == number).count();
            assert!((2_300..2_700).contains(&share), "{number} came {share} times");
        }
        assert!(drawn.iter().all(|number| (-1..=2).contains(number)));
        let total: i64 = (0..10_000).map(|_| random.gap(1_000)).sum();
        assert!((9_500_000..10_500_000).contains(&total), "{total}");
    }

    #[test]
    fn a_seed_is_a_story() {
        assert_eq!(Random::new(1).bits(), 0x910a_2dec_8902_5cc1, "the reference implementation's first number");
    }
}
