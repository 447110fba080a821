//! The metrics: counters and histograms are counted here after each commit, gauges are read from
//! the view and the workers' status when somebody scrapes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector, process_collector::ProcessCollector,
};

use super::{
    Tally,
    catalogue::{self, Entry},
};
use crate::{
    engine::{Stats, Step},
    model::{Cause, Change, Model, Op, Timestamp, Transition},
    view::{Phase, Status, View, WorkerSummary},
};

/// Stands for an account without a tier.
const NONE: &str = "none";

/// Seconds; around the commit interval of 25 ms and the limit of a transaction.
const COMMIT_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Seconds; from an empty partition to a big one.
const RESTORE_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
/// Seconds; from live traffic to the backlog of a day.
const DELAY_BUCKETS: [f64; 16] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];

/// The values that labels may take, so that every series exists from the start, at 0.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    pub model: &'a Model,
    /// Why an event may be ignored.
    pub ignored: &'a [&'static str],
    /// Why a record may be dead-lettered.
    pub dead_letters: &'a [&'static str],
}

/// Why metrics could not be set up or rendered. Not for a person to mend: names are constants.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// All metrics of the process; workers share it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    applied: IntCounter,
    late: IntCounter,
    duplicate: IntCounter,
    ignored: IntCounter,
    dead_lettered: IntCounter,
    ignored_by_reason: IntCounterVec,
    dead_letters: IntCounterVec,
    attributes: IntCounter,
    dead_attributes: IntCounter,
    tier_changes: IntCounterVec,
    segment_changes: IntCounterVec,
    timers_fired: IntCounter,
    evictions: IntCounter,
    committed: IntCounter,
    failed: IntCounter,
    committed_pages: IntCounter,
    committed_page_bytes: IntCounter,
    restored_records: IntCounter,
    commit_duration: Histogram,
    restore_duration: Histogram,
    event_freshness: Histogram,
    change_delay: Histogram,
    change_commit_delay: Histogram,
    last_commit: Gauge,
    scraped: Mutex<Scraped>,
}

/// Gauges that are set when somebody scrapes; one scrape at a time.
#[derive(Debug)]
struct Scraped {
    tiers: Vec<Arc<str>>,
    accounts: IntGaugeVec,
    suppressed_accounts: IntGauge,
    state_accounts: IntGauge,
    timers_pending: IntGauge,
    consumer_lag: IntGaugeVec,
    partitions: IntGaugeVec,
}

impl Metrics {
    /// The metrics of a process that runs this model, all at 0.
    pub fn new(vocabulary: Vocabulary<'_>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let new = Register(&registry);
        new.infos(vocabulary.model)?;
        let events = new.counters(&catalogue::EVENTS)?;
        let attributes = new.counters(&catalogue::ATTRIBUTES)?;
        let commits = new.counters(&catalogue::COMMITS)?;
        let metrics = Self {
            applied: events.with_label_values(&["applied"]),
            late: events.with_label_values(&["late"]),
            duplicate: events.with_label_values(&["duplicate"]),
            ignored: events.with_label_values(&["ignored"]),
            dead_lettered: events.with_label_values(&["dead_lettered"]),
            ignored_by_reason: new.counters(&catalogue::EVENTS_IGNORED)?,
            dead_letters: new.counters(&catalogue::DEAD_LETTERS)?,
            attributes: attributes.with_label_values(&["applied"]),
            dead_attributes: attributes.with_label_values(&["dead_lettered"]),
            tier_changes: new.counters(&catalogue::TIER_CHANGES)?,
            segment_changes: new.counters(&catalogue::SEGMENT_CHANGES)?,
            timers_fired: new.counter(&catalogue::TIMERS_FIRED)?,
            evictions: new.counter(&catalogue::EVICTIONS)?,
            committed: commits.with_label_values(&["committed"]),
            failed: commits.with_label_values(&["failed"]),
            committed_pages: new.counter(&catalogue::COMMITTED_PAGES)?,
            committed_page_bytes: new.counter(&catalogue::COMMITTED_PAGE_BYTES)?,
            restored_records: new.counter(&catalogue::RESTORED_RECORDS)?,
            commit_duration: new.histogram(&catalogue::COMMIT_DURATION, &COMMIT_BUCKETS)?,
            restore_duration: new.histogram(&catalogue::RESTORE_DURATION, &RESTORE_BUCKETS)?,
            event_freshness: new.histogram(&catalogue::EVENT_FRESHNESS, &DELAY_BUCKETS)?,
            change_delay: new.histogram(&catalogue::CHANGE_DELAY, &DELAY_BUCKETS)?,
            change_commit_delay: new.histogram(&catalogue::CHANGE_COMMIT_DELAY, &DELAY_BUCKETS)?,
            last_commit: new.add(Gauge::new(catalogue::LAST_COMMIT.name, catalogue::LAST_COMMIT.help)?)?,
            scraped: Mutex::new(Scraped::new(&new, vocabulary.model)?),
            registry,
        };
        metrics.create_series(vocabulary);
        Ok(metrics)
    }

    /// A transaction was committed just now.
    pub fn committed(&self, took: Duration) {
        self.committed.inc();
        self.commit_duration.observe(took.as_secs_f64());
        // Prometheus compares it with its own clock, so the worker's, which may run faster, will not do.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_commit.set(since_epoch.as_secs_f64());
    }

    /// A transaction failed or was aborted.
    pub fn commit_failed(&self) {
        self.failed.inc();
    }

    /// What one partition had in a transaction that was committed at `at`.
    pub fn record(&self, step: &Step, tally: &Tally, at: Timestamp) {
        self.record_stats(&step.stats);
        self.record_tally(tally, at);
        for change in &step.changes {
            self.record_change(change, at);
        }
    }

    /// One partition's tables were read back.
    pub fn restored(&self, took: Duration, records: u64) {
        self.restore_duration.observe(took.as_secs_f64());
        self.restored_records.inc_by(records);
    }

    /// All metrics in Prometheus' text format, gauges as of now.
    pub fn render(&self, view: &View, status: &Status, now: Instant) -> Result<String, MetricsError> {
        // Held until the text is made: two scrapes at once would see each other's half-set gauges.
        let scraped = self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        scraped.show_accounts(view);
        scraped.show_workers(&status.summaries(now));
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    fn record_stats(&self, stats: &Stats) {
        self.applied.inc_by(stats.applied - stats.late);
        self.late.inc_by(stats.late);
        self.duplicate.inc_by(stats.duplicates);
        self.attributes.inc_by(stats.attributes);
        self.timers_fired.inc_by(stats.timers_fired);
        self.evictions.inc_by(stats.evicted);
    }

    fn record_tally(&self, tally: &Tally, at: Timestamp) {
        for (reason, &count) in tally.ignored() {
            self.ignored.inc_by(count);
            self.ignored_by_reason.with_label_values(&[reason]).inc_by(count);
        }
        self.dead_lettered.inc_by(tally.dead_events());
        self.dead_attributes.inc_by(tally.dead_attributes());
        for (reason, &count) in tally.dead_letters() {
            self.dead_letters.with_label_values(&[reason]).inc_by(count);
        }
        self.committed_pages.inc_by(tally.pages);
        self.committed_page_bytes.inc_by(tally.page_bytes);
        for &time in tally.sample() {
            self.event_freshness.observe(seconds(at - time));
        }
    }

    fn record_change(&self, change: &Change, at: Timestamp) {
        let cause = change.cause.name();
        match &change.transition {
            Transition::Tier { from, to, up } => {
                let (from, to) = (tier_label(from.as_deref()), tier_label(to.as_deref()));
                self.tier_changes.with_label_values(&[from, to, direction(*up), cause]).inc();
            }
            Transition::Segment { name, op } => {
                self.segment_changes.with_label_values(&[name, op_label(*op), cause]).inc();
            }
        }
        self.change_delay.observe(seconds(at - change.effective_at));
        self.change_commit_delay.observe(seconds(at - change.detected_at));
    }

    /// A counter that first appears with its first count is one that `rate()` cannot see rise.
    fn create_series(&self, Vocabulary { model, ignored, dead_letters }: Vocabulary<'_>) {
        for reason in ignored {
            self.ignored_by_reason.with_label_values(&[reason]);
        }
        for reason in dead_letters {
            self.dead_letters.with_label_values(&[reason]);
        }
        for cause in Cause::ALL {
            self.create_tier_series(model, cause.name());
            for segment in model.segments() {
                for op in [Op::Enter, Op::Exit] {
                    self.segment_changes.with_label_values(&[&segment.name, op_label(op), cause.name()]);
                }
            }
        }
    }

    fn create_tier_series(&self, model: &Model, cause: &str) {
        let rungs: Vec<&str> = model.tiers().iter().map(|tier| &*tier.name).chain([NONE]).collect();
        for (higher, upper) in rungs.iter().enumerate() {
            for lower in &rungs[higher + 1..] {
                self.tier_changes.with_label_values(&[upper, lower, direction(false), cause]);
                self.tier_changes.with_label_values(&[lower, upper, direction(true), cause]);
            }
        }
    }
}

impl Scraped {
    fn new(new: &Register<'_>, model: &Model) -> Result<Self, MetricsError> {
        Ok(Self {
            tiers: model.tiers().iter().map(|tier| tier.name.clone()).collect(),
            accounts: new.gauges(&catalogue::ACCOUNTS)?,
            suppressed_accounts: new.gauge(&catalogue::SUPPRESSED_ACCOUNTS)?,
            state_accounts: new.gauge(&catalogue::STATE_ACCOUNTS)?,
            timers_pending: new.gauge(&catalogue::TIMERS_PENDING)?,
            consumer_lag: new.gauges(&catalogue::CONSUMER_LAG)?,
            partitions: new.gauges(&catalogue::PARTITIONS)?,
        })
    }

    /// Starts the tiers over each time: one that only an earlier model had goes when its last
    /// account does.
    fn show_accounts(&self, view: &View) {
        let counts = view.counts();
        self.accounts.reset();
        for tier in self.tiers.iter().map(|tier| &**tier).chain([NONE]) {
            self.accounts.with_label_values(&[tier]);
        }
        for (tier, count) in &counts.by_tier {
            self.accounts.with_label_values(&[tier_label(tier.as_deref())]).set(gauge_value(*count as u64));
        }
        self.suppressed_accounts.set(gauge_value(counts.suppressed as u64));
    }

    /// Starts lag over each time: two members that both report a partition would be added up.
    fn show_workers(&self, workers: &[WorkerSummary]) {
        self.consumer_lag.reset();
        for ((topic, partition), lag) in workers.iter().flat_map(|worker| &worker.lag) {
            self.consumer_lag.with_label_values(&[&**topic, &partition.0.to_string()]).set(gauge_value(*lag));
        }
        for phase in Phase::ALL {
            let phases = workers.iter().flat_map(|worker| worker.phases.values());
            let count = phases.filter(|&&other| other == phase).count();
            self.partitions.with_label_values(&[phase.name()]).set(gauge_value(count as u64));
        }
        self.state_accounts.set(gauge_value(workers.iter().map(|worker| worker.accounts).sum()));
        self.timers_pending.set(gauge_value(workers.iter().map(|worker| worker.timers).sum()));
    }
}

/// Makes metrics from the catalogue and registers them.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricsError> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, entry: &Entry) -> Result<IntCounter, MetricsError> {
        self.add(IntCounter::new(entry.name, entry.help)?)
    }

    fn counters(&self, entry: &Entry) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(Opts::new(entry.name, entry.help), entry.labels)?)
    }

    fn gauge(&self, entry: &Entry) -> Result<IntGauge, MetricsError> {
        self.add(IntGauge::new(entry.name, entry.help)?)
    }

    fn gauges(&self, entry: &Entry) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(Opts::new(entry.name, entry.help), entry.labels)?)
    }

    fn histogram(&self, entry: &Entry, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        let options = HistogramOpts::new(entry.name, entry.help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    fn infos(&self, model: &Model) -> Result<(), MetricsError> {
        let build = self.gauges(&catalogue::BUILD_INFO)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let id = model.id();
        let info = self.gauges(&catalogue::MODEL_INFO)?;
        info.with_label_values(&[&*id.name, &id.version.to_string(), &id.digest]).set(1);
        Ok(())
    }
}

fn tier_label(tier: Option<&str>) -> &str {
    tier.unwrap_or(NONE)
}

fn direction(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn op_label(op: Op) -> &'static str {
    match op {
        Op::Enter => "enter",
        Op::Exit => "exit",
    }
}

/// An event time may lie ahead of the clock by the allowed skew; a negative age would spoil a sum.
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
