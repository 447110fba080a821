//! What the demo does while the service runs: it plays the traffic, and prints what a subscriber hears.

use std::{
    io::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    broker::{Feed, Subscriber},
    clock::FastClock,
    print::{Change, Colour, DIM, Day, HEADER, Heard},
    traffic::{Topic, Traffic},
};
use crate::{log::OutputTopic, model::Timestamp, runtime::Clock, wire::time::format_span};

/// The topics that the subscriber reads.
pub const HEARD: [OutputTopic; 3] = [OutputTopic::TierChanges, OutputTopic::SegmentChanges, OutputTopic::DeadLetters];
const DISCLAIMER: &str = "\
The broker runs inside this process (the mock cluster of the Kafka client library). It stores nothing
and its transactions are not real, so this demo promises nothing about exactly once. All else is
the real service: consumer, engine, producer, HTTP.";
const BEFORE: &str = "\
The topics hold traffic of the days before; what it changed is counted but not shown.
The consumer group forms within three seconds or so.";
/// Records reach the broker this much after their own time, in real time. The worker would refuse a
/// record that is more than an hour ahead of its clock, and on a fast clock an hour is soon over.
const FEED_LAG: Duration = Duration::from_millis(250);
/// Between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
/// For the last changes to arrive, after the workers have ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The running demo, but for the service itself.
pub struct Show {
    pub feed: Feed,
    pub subscriber: Subscriber,
    pub traffic: Traffic,
    pub clock: FastClock,
    /// Names of the tiers, highest first.
    pub tiers: Vec<Arc<str>>,
    pub colour: Colour,
    /// In real time; nothing for no end.
    pub ends_after: Option<Duration>,
    pub progress: Progress,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Progress {
    heard: Heard,
    events: u64,
    attributes: u64,
    summary: Option<(Instant, u64)>,
}

impl Show {
    /// Says what this is and where to look.
    pub fn open(&self, accounts: usize, address: SocketAddr) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let second = format_span(self.clock.span(Duration::from_secs(1)));
        writeln!(out, "tidemark demo: {accounts} invented companies; one second is {second}.\n\n{DISCLAIMER}\n")?;
        writeln!(out, "  http://{address}/\n  http://{address}/metrics")?;
        if let Some(tier) = self.tiers.first() {
            writeln!(out, "  http://{address}/api/v1/accounts?tier={tier}")?;
        }
        writeln!(out, "  http://{address}/api/v1/accounts/{}\n", self.traffic.first_account())?;
        let end = if self.ends_after.is_none() { " Ctrl-C ends the demo." } else { "" };
        writeln!(out, "{BEFORE}{end}\n\n{}", self.colour.paint(DIM, HEADER))?;
        Ok(())
    }

    /// Puts into the topics what happened before the clock started.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.play(self.clock.start())?;
        Ok(self.feed.flush()?)
    }

    /// Plays the traffic up to now and prints what was heard. Returns whether the time is over.
    pub fn turn(&mut self) -> anyhow::Result<bool> {
        self.play(self.clock.wall().back(self.clock.span(FEED_LAG)))?;
        self.print(Duration::ZERO)?;
        self.summarise()?;
        Ok(self.ends_after.is_some_and(|end| self.clock.monotonic() >= end))
    }

    fn play(&mut self, until: Timestamp) -> anyhow::Result<()> {
        for record in self.traffic.next_until(until) {
            match record.topic {
                Topic::Events => self.progress.events += 1,
                Topic::Accounts => self.progress.attributes += 1,
            }
            self.feed.send(&record)?;
        }
        Ok(())
    }

    /// Prints what can be heard, until nothing comes for `wait`. Partitions are read in turn, so what
    /// comes at once is put in the order of time first.
    fn print(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        while let Some(heard) = self.hear(wait)? {
            changes.extend(heard);
        }
        changes.sort_by_key(Change::order);
        let mut out = std::io::stdout().lock();
        for change in changes {
            self.progress.heard.take(&change);
            if change.order().0 >= self.clock.start() {
                writeln!(out, "{}", change.line(self.colour))?;
            }
        }
        Ok(())
    }

    /// The next record, if one comes: a change, or a dead letter, which is only counted.
    fn hear(&mut self, wait: Duration) -> anyhow::Result<Option<Option<Change>>> {
        let mut change = Ok(None);
        let received = self.subscriber.receive(wait, |record| match record.topic {
            OutputTopic::DeadLetters => self.progress.heard.dead_letters += 1,
            _ => change = serde_json::from_slice(record.value).map(Some),
        })?;
        Ok(if received { Some(change.context("a change that cannot be read")?) } else { None })
    }

    fn summarise(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let (since, events) = *self.progress.summary.get_or_insert((now, self.progress.events));
        let passed = now.duration_since(since);
        if passed < SUMMARY_EVERY {
            return Ok(());
        }
        self.progress.summary = Some((now, self.progress.events));
        let rate = (self.progress.events - events) as f64 / passed.as_secs_f64();
        let text = format!("{}  = {}; {rate:.0} events/s", Day(self.clock.wall()), self.accounts());
        writeln!(std::io::stdout(), "{}", self.colour.paint(DIM, text))?;
        Ok(())
    }

    fn accounts(&self) -> String {
        let tiers: Vec<&str> = self.tiers.iter().map(|tier| &**tier).collect();
        self.progress.heard.accounts(&tiers)
    }

    /// Prints what is left to hear, the sums, and how to go on.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.print(LAST_WORDS)?;
        let passed = self.clock.wall() - self.clock.start();
        let accounts = self.accounts();
        let Heard { rises, falls, entries, exits, dead_letters, .. } = self.progress.heard;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "\n{:.0} s in which {:.0} days passed: {} events, {} records of attributes, {dead_letters} dead letters",
            self.clock.monotonic().as_secs_f64(),
            passed as f64 / 86_400_000.0,
            self.progress.events,
            self.progress.attributes,
        )?;
        writeln!(out, "{rises} rises, {falls} falls, {entries} segment entries, {exits} segment exits")?;
        writeln!(out, "accounts at the end: {accounts}")?;
        writeln!(out, "\nWith your own Kafka, after a look at config/tidemark.yaml:\n")?;
        writeln!(out, "  tidemark topics --create\n  tidemark run")?;
        Ok(())
    }
}
