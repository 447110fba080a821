//! How far the service is behind, while it goes.

use std::time::{Duration, Instant};

use crate::{
    numbers, options::Options, oracle::Verdict, stage::Stage, support::poll_until, support::tidemark::Running,
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The lags that were seen, in events, the first one first.
#[derive(Default)]
pub struct Lags(Vec<f64>);

impl Lags {
    /// Looks for so long.
    ///
    /// # Panics
    /// If the service ends.
    pub fn watch(&mut self, stage: &Stage, service: &mut Running, period: Duration) {
        let mut looked = Instant::now();
        // Its end is that the time is over.
        poll_until(period, || {
            assert!(service.is_running(), "{}", service.log());
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.0.extend(stage.lag());
            }
            None::<()>
        });
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// Says so if the lag has grown over the last third by more than half a second's events.
    pub fn check(&self, rate: u64, options: &Options, verdict: &mut Verdict) {
        let third = &self.0[self.0.len() * 2 / 3..];
        let (earlier, later) = third.split_at(third.len() / 2);
        if earlier.is_empty() {
            return verdict.unsteady(options, "the run was too short to tell whether the lag grows".to_owned());
        }
        let growth = numbers::median(later) - numbers::median(earlier);
        if growth > rate as f64 / 2.0 {
            verdict.unsteady(options, format!("the lag grew by {growth:.0} events over the last third"));
        }
    }
}
