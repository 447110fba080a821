//! Which account an event is about.

use std::f64::consts::{SQRT_2, TAU};

use fastrand::Rng;

use crate::options::Skew;

/// The spread of the logarithm of an account's events: with three events per account on average the
/// median account has two, and the largest of ten million some hundreds.
const SIGMA: f64 = 0.9;

/// Whom an event is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub account: u64,
    /// The person, numbered within the account.
    pub person: u64,
}

/// Draws accounts, each as often as the skew says.
pub struct Subjects {
    skew: Skew,
    accounts: u64,
}

impl Subjects {
    /// So many accounts.
    pub fn new(skew: Skew, accounts: u64) -> Self {
        Self { skew, accounts }
    }

    /// Whom the next event is about.
    pub fn draw(&self, random: &mut Rng) -> Subject {
        match self.skew {
            Skew::Uniform => Subject { account: random.u64(0..self.accounts), person: 0 },
            Skew::Zipf => {
                // The continuous form of the law, inverted: the rank is N^u.
                let rank = (self.accounts as f64).powf(random.f64());
                Subject { account: (rank as u64 - 1).min(self.accounts - 1), person: 0 }
            }
            Skew::Mixed => self.draw_mixed(random),
        }
    }

    /// Account number `i` of `n` has the weight of the log-normal law's quantile `i / n`. Drawn by
    /// weight, that law is itself again, shifted by sigma: no table of ten million weights is needed.
    fn draw_mixed(&self, random: &mut Rng) -> Subject {
        let shifted = normal(random) + SIGMA;
        let quantile = 0.5 * libm::erfc(-shifted / SQRT_2);
        let account = ((quantile * self.accounts as f64) as u64).min(self.accounts - 1);
        // Busy accounts have several: one more for every three times what the median account has.
        let persons = ((SIGMA * shifted).exp() / 3.0).clamp(1.0, 20.0) as u64;
        Subject { account, person: random.u64(0..persons) }
    }
}

/// A number of the standard normal law, by the method of Box and Muller.
fn normal(random: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (TAU * random.f64()).cos()
}
