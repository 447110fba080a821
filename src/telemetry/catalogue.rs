//! Every metric: its name, what kind it is, its labels, and what it means. Dashboards, alerts and
//! documents may name these and no others; tests hold them to it.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only rises while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classic buckets; exposes `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Entry {
    Entry { name, kind: Kind::Histogram, labels: &[], help }
}

pub const EVENTS: Entry = counter(
    "tidemark_events_total",
    &["outcome"],
    "Event records committed, by what became of them: applied in time, late (applied, but older than the grace), \
     duplicate, ignored, dead_lettered.",
);
pub const EVENTS_IGNORED: Entry =
    counter("tidemark_ignored_events_total", &["reason"], "Events that touched nothing, by why.");
pub const ATTRIBUTES: Entry = counter(
    "tidemark_attribute_records_total",
    &["outcome"],
    "Account attribute records committed, by what became of them: applied, dead_lettered.",
);
pub const DEAD_LETTERS: Entry =
    counter("tidemark_dead_letters_total", &["reason"], "Records written to the dead letters, by why.");
pub const TIER_CHANGES: Entry = counter(
    "tidemark_tier_changes_total",
    &["from", "to", "direction", "cause"],
    "Tier changes published; `none` stands for no tier.",
);
pub const SEGMENT_CHANGES: Entry =
    counter("tidemark_segment_changes_total", &["segment", "op", "cause"], "Segment entries and exits published.");
pub const TIMERS_FIRED: Entry = counter(
    "tidemark_timers_fired_total",
    &[],
    "Timers that fell due, those included whose account no longer needed them.",
);
pub const EVICTIONS: Entry = counter(
    "tidemark_evictions_total",
    &[],
    "Accounts dropped from memory because nothing of them could matter again.",
);
pub const COMMITS: Entry = counter("tidemark_commits_total", &["outcome"], "Transactions, by how they ended.");
pub const COMMITTED_PAGES: Entry =
    counter("tidemark_committed_pages_total", &[], "Pages of account state written by committed transactions.");
pub const COMMITTED_PAGE_BYTES: Entry =
    counter("tidemark_committed_page_bytes_total", &[], "Bytes of account state written by committed transactions.");
pub const RESTORED_RECORDS: Entry =
    counter("tidemark_restored_records_total", &[], "State and standing records read to restore partitions.");

pub const COMMIT_DURATION: Entry = histogram(
    "tidemark_commit_duration_seconds",
    "Time from the begin of a transaction to the acknowledgement of its commit.",
);
pub const RESTORE_DURATION: Entry =
    histogram("tidemark_restore_duration_seconds", "Time to restore one partition's state and standings.");
pub const EVENT_FRESHNESS: Entry = histogram(
    "tidemark_event_freshness_seconds",
    "Age of events by their own time when what they caused was committed; a sample of the events.",
);
pub const CHANGE_DELAY: Entry = histogram(
    "tidemark_change_delay_seconds",
    "Time from the moment a change took effect to the commit that published it.",
);
pub const CHANGE_COMMIT_DELAY: Entry = histogram(
    "tidemark_change_commit_delay_seconds",
    "Time from the moment a change was detected to the commit that published it.",
);

pub const ACCOUNTS: Entry = gauge(
    "tidemark_accounts",
    &["tier"],
    "Accounts with a published standing, by tier; `none` stands for no tier. In market are those with a tier.",
);
pub const SUPPRESSED_ACCOUNTS: Entry =
    gauge("tidemark_suppressed_accounts", &[], "Accounts whose tier and segments are masked by a suppression.");
pub const STATE_ACCOUNTS: Entry =
    gauge("tidemark_state_accounts", &[], "Accounts whose state is held in memory, with or without a standing.");
pub const TIMERS_PENDING: Entry = gauge("tidemark_timers_pending", &[], "Timers armed for accounts.");
pub const CONSUMER_LAG: Entry = gauge(
    "tidemark_consumer_lag_records",
    &["topic", "partition"],
    "Records of an assigned input partition that are yet to be delivered.",
);
pub const PARTITIONS: Entry = gauge("tidemark_partitions", &["phase"], "Assigned partitions, by phase.");
pub const LAST_COMMIT: Entry = gauge(
    "tidemark_last_commit_timestamp_seconds",
    &[],
    "When a transaction was last committed, in seconds since the epoch; 0 before the first.",
);
pub const BUILD_INFO: Entry = gauge("tidemark_build_info", &["version"], "Always 1; says which build this is.");
pub const MODEL_INFO: Entry =
    gauge("tidemark_model_info", &["name", "version", "digest"], "Always 1; says which model is in force.");

/// All metrics of our own; `process_*` of the process collector come on top.
pub static ALL: [Entry; 26] = [
    EVENTS,
    EVENTS_IGNORED,
    ATTRIBUTES,
    DEAD_LETTERS,
    TIER_CHANGES,
    SEGMENT_CHANGES,
    TIMERS_FIRED,
    EVICTIONS,
    COMMITS,
    COMMITTED_PAGES,
    COMMITTED_PAGE_BYTES,
    RESTORED_RECORDS,
    COMMIT_DURATION,
    RESTORE_DURATION,
    EVENT_FRESHNESS,
    CHANGE_DELAY,
    CHANGE_COMMIT_DELAY,
    ACCOUNTS,
    SUPPRESSED_ACCOUNTS,
    STATE_ACCOUNTS,
    TIMERS_PENDING,
    CONSUMER_LAG,
    PARTITIONS,
    LAST_COMMIT,
    BUILD_INFO,
    MODEL_INFO,
];

/// The metric that a series name belongs to, whatever its histogram suffix.
pub fn find(series: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| match entry.kind {
        Kind::Histogram => {
            series.strip_prefix(entry.name).is_some_and(|suffix| matches!(suffix, "_bucket" | "_sum" | "_count"))
        }
        Kind::Counter | Kind::Gauge => series == entry.name,
    })
}
