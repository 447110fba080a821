//! A subscriber of both topics of changes, which sees what is committed, and when.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hdrhistogram::Histogram;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde::Deserialize;
use tidemark::{model::Timestamp, wire::time::Rfc3339};

use crate::{
    stage::Stage,
    support::topics::{self, Isolation},
};

/// The longest that the reader waits before it looks whether it shall end.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Longer than any run, in microseconds.
const LATENCY_MAX_US: u64 = 24 * 3_600_000_000;

/// Why a change was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An event brought it.
    Rise,
    /// Time brought it.
    Fall,
}

/// A change that the reader has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub kind: Kind,
    pub effective_at: Timestamp,
    /// When the reader had it, in microseconds since the epoch.
    pub at_us: i64,
}

/// Reads until it is told to end, on a thread of its own.
pub struct Reader {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<Seen>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: AtomicU64,
    risen: AtomicI64,
}

/// What the reader takes from a change.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    cause: Cow<'a, str>,
    effective_at: Rfc3339,
}

impl Reader {
    /// A reader of what is published from now on.
    pub fn start(stage: &Stage) -> Self {
        let consumer = subscribe(stage);
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || shared.read(&consumer))
        };
        Self { shared, thread }
    }

    /// Changes seen so far.
    pub fn count(&self) -> u64 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Rises that no fall has followed yet. Under a model of one tier: accounts that are up.
    pub fn risen(&self) -> i64 {
        self.shared.risen.load(Ordering::Relaxed)
    }

    /// Ends it, and gives what it has seen.
    pub fn finish(self) -> Vec<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader reads")
    }
}

impl Shared {
    fn read(&self, consumer: &BaseConsumer) -> Vec<Seen> {
        let mut all = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let Some(message) = consumer.poll(WAIT_MAX) else { continue };
            let at_us = chrono::Utc::now().timestamp_micros();
            let message = message.expect("the changes can be read");
            let value = message.payload().expect("a change has a value");
            let change: Change<'_> = serde_json::from_slice(value).expect("a change is JSON");
            let kind = if change.cause == "signal" { Kind::Rise } else { Kind::Fall };
            all.push(Seen { kind, effective_at: change.effective_at.0, at_us });
            self.risen.fetch_add(if kind == Kind::Rise { 1 } else { -1 }, Ordering::Relaxed);
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
        all
    }
}

fn subscribe(stage: &Stage) -> BaseConsumer {
    let broker = stage.broker();
    let mut config = broker.client();
    config
        .set("group.id", "reads-without-a-group")
        .set("enable.auto.commit", "false")
        .set("isolation.level", Isolation::Committed.level())
        // Soon, and without the pause that the client makes when it has many records.
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "1")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "1048576");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for topic in ["tier-changes", "segment-changes"].map(|name| stage.deployment.topic(name)) {
        for (partition, end) in (0..).zip(topics::ends(broker, &topic)) {
            assignment.add_partition_offset(&topic, partition, Offset::Offset(end)).expect("a valid offset");
        }
    }
    consumer.assign(&assignment).expect("the partitions exist");
    consumer
}

/// How long after they were due changes were seen, in microseconds: those of a kind whose due time,
/// `delay_ms` after they took effect, lies within these milliseconds.
pub fn latencies(seen: &[Seen], kind: Kind, delay_ms: i64, due_ms: std::ops::Range<i64>) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds of a histogram");
    for change in seen.iter().filter(|change| change.kind == kind) {
        let due = change.effective_at.millis() + delay_ms;
        if due_ms.contains(&due) {
            histogram.saturating_record((change.at_us - due * 1000).max(1) as u64);
        }
    }
    histogram
}
