//! The service's own metrics, as it exposes them.

use crate::support::tidemark::Running;

/// All series with their values, at one moment.
pub struct Scraped(Vec<(String, f64)>);

impl Scraped {
    /// Asks the process.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn of(process: &Running) -> Self {
        let (status, text) = process.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let series = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// The sum over all labels of a metric; nothing if there is no such metric.
    pub fn sum(&self, metric: &str) -> Option<f64> {
        let of_metric =
            |name: &str| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        let mut values = self.0.iter().filter(|(name, _)| of_metric(name)).map(|(_, value)| *value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// Changes that were published.
    pub fn changes(&self) -> f64 {
        ["tidemark_tier_changes_total", "tidemark_segment_changes_total"]
            .iter()
            .filter_map(|metric| self.sum(metric))
            .sum()
    }
}
