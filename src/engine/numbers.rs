//! The arithmetic that must agree bit for bit between two machines: one pinned pure-Rust
//! implementation of the elementary functions, and the rounding that conditions compare after.

use crate::model::HalfLife;

/// Points below which a contribution counts as gone: it can no longer show in a score that is
/// compared after rounding to 1e-9, even when every signal leaves as much behind.
pub const FADED_POINTS: f64 = 1e-12;

/// What is left of 1 after `elapsed_ms` of fading: `2^(-elapsed / half_life)`, the weight of
/// forward decay (Cormode et al., "Forward Decay", ICDE 2009) between two moments.
pub fn fade(elapsed_ms: i64, half_life: HalfLife) -> f64 {
    libm::exp2(-(elapsed_ms as f64) / half_life.span().millis() as f64)
}

/// How often `from` must halve to come to `to`; negative if it is less. Both are positive.
pub fn halvings(from: f64, to: f64) -> f64 {
    libm::log2(from / to)
}

/// Milliseconds, rounded up, until `from` has faded to `to`; 0 if it already has. Both are positive.
pub fn time_to_fade(from: f64, to: f64, half_life: HalfLife) -> i64 {
    let halvings = halvings(from, to);
    if halvings <= 0.0 { 0 } else { libm::ceil(halvings * half_life.span().millis() as f64) as i64 }
}

/// Whether a score reaches a mark, both rounded to 1e-9 points.
pub fn reaches(score: f64, mark: f64) -> bool {
    // Multiplying and rounding keep the order of two numbers.
    if score >= mark {
        return true;
    }
    // Below a million points, products err by less than a tenth: two that are nearly 2 apart do not
    // round to the same.
    if mark.abs() < 1e6 && mark - score > 2e-9 {
        return false;
    }
    libm::round(score * 1e9) >= libm::round(mark * 1e9)
}

/// The least score that reaches a mark, but for the last digits.
pub fn least_reaching(mark: f64) -> f64 {
    (libm::round(mark * 1e9) - 0.5) / 1e9
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Span;

    #[test]
    fn a_half_life_halves() {
        let week = HalfLife::new(Span::days(7)).unwrap();
        assert_eq!(fade(0, week), 1.0);
        assert_eq!(fade(Span::days(7).millis(), week), 0.5);
        assert_eq!(fade(Span::days(21).millis(), week), 0.125);
        assert_eq!(time_to_fade(8.0, 1.0, week), Span::days(21).millis());
        assert_eq!(time_to_fade(1.0, 8.0, week), 0);
    }

    #[test]
    fn exp2_and_log2_are_the_pinned_ones() {
        // Bit patterns of this implementation: a change of them would make old changes unrepeatable.
        assert_eq!(libm::exp2(-0.1).to_bits(), 4_606_579_233_611_295_506u64);
        assert_eq!(libm::log2(10.0).to_bits(), 0x400a_934f_0979_a371u64);
    }

    #[test]
    fn a_mark_is_reached_within_half_a_billionth() {
        assert!(reaches(45.0, 45.0));
        assert!(reaches(44.999_999_999_6, 45.0));
        assert!(!reaches(44.999_999_999, 45.0));
    }

    proptest! {
        #[test]
        fn the_short_ways_of_comparing_agree_with_rounding_both(
            mark in prop_oneof![-100.0..1000.0f64, 1e-9..1e-6, 9.9e5..1.1e6, 1e-9..1e15],
            billionths in prop_oneof![-4.0..4.0f64, -1e4..1e4, -1e12..1e12],
        ) {
            for mark in [mark, mark.round()] {
                for score in [mark + billionths * 1e-9, mark + billionths.round() * 0.5e-9, billionths] {
                    let rounded = libm::round(score * 1e9) >= libm::round(mark * 1e9);
                    prop_assert_eq!(reaches(score, mark), rounded, "{} against {}", score, mark);
                }
            }
        }

        #[test]
        fn the_least_score_that_reaches_a_mark_is_the_boundary(mark in 1e-9..1e5f64) {
            let least = least_reaching(mark);
            prop_assert!(reaches(least + 1e-11 * (1.0 + mark), mark));
            prop_assert!(!reaches(least - 1e-11 * (1.0 + mark), mark));
        }
    }
}
