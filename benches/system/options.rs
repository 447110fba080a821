//! What is asked on the command line, and what a scenario makes of it.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use serde::Serialize;
use tidemark::{
    model::{Span, Timestamp},
    wire::time::parse_span,
};

/// Measures the real service beside a real Kafka, both on this machine.
///
/// A run whose output differs from what `tidemark audit` recomputes from the log is void; one of `replay` if it differs
/// from what `--sort` brings.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench system --")]
pub struct Options {
    /// What to measure
    #[arg(value_enum, default_value = "drain")]
    pub scenario: Choice,
    /// Events that lie in the topic before the service starts, or in the file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Accounts that events are about
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    accounts: Option<u64>,
    /// Partitions of every topic
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Worker threads of the service
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// How events spread over the accounts
    #[arg(long, value_enum)]
    skew: Option<Skew>,
    /// About so many changes per thousand events; with `mixed`, those that busy accounts bring come on top
    #[arg(long, value_name = "PER_MILLE")]
    changes: Option<f64>,
    /// Events per second, where they are sent at a fixed rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The time that preloaded events are spread over, up to now [default: a millisecond each]
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    span: Option<Span>,
    /// How long events are sent (open-loop), the service is away (catch-up), or until the falls are due (timer-storm)
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_span)]
    period: Option<Span>,
    /// What the random numbers begin with
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Runs of each scenario; the table then has their median, least and most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Small numbers, to see that everything works; what is measured means nothing
    #[arg(long)]
    pub quick: bool,
    /// Leave out the comparison with what should come out
    #[arg(long)]
    pub no_oracle: bool,
    /// Where the broker keeps its logs, as /dev/shm: what the system writes to a disk, every half minute, takes time
    /// of the same processors [default: below target]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    pub data: Option<PathBuf>,
    /// Where to keep the configuration and the log of every process
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// One that is there: a broker that cannot start for want of it would only be skipped.
fn directory(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_dir() { Ok(path) } else { Err("there is no such directory".to_owned()) }
}

/// One scenario, or all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Choice {
    /// Works off a preloaded topic
    Drain,
    /// The same with ten million accounts of all sizes, for what they take in memory
    Memory,
    /// Latency at a fixed rate
    OpenLoop,
    /// Killed and started again: the time until it is live
    Restore,
    /// All accounts fall within one second
    TimerStorm,
    /// Away for a while: the time until it has caught up
    CatchUp,
    /// `tidemark replay` of a file
    Replay,
    /// All of them, one after the other
    All,
}

/// How events spread over accounts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Skew {
    /// Every account alike
    Uniform,
    /// The n-th account has one n-th of the first one's (Zipf with exponent 1)
    Zipf,
    /// Most have a few, some have hundreds, of several persons (log-normal)
    Mixed,
}

/// What a scenario runs with.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parameters {
    pub events: u64,
    pub accounts: u64,
    pub partitions: i32,
    pub workers: u32,
    pub skew: Skew,
    /// Changes that are aimed at, per thousand events.
    pub changes_per_mille: f64,
    /// Events per second.
    pub rate: u64,
    /// The time that preloaded events are spread over; by default a millisecond each.
    #[serde(rename = "span_ms", serialize_with = "millis")]
    pub span: Option<Span>,
    #[serde(rename = "period_ms", serialize_with = "duration_millis")]
    pub period: Duration,
    pub seed: u64,
}

fn millis<S: serde::Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(Span::millis).serialize(serializer)
}

fn duration_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_millis().serialize(serializer)
}

impl Parameters {
    /// When each of the events happens that lie ready before a run: evenly over their span up to `end`, or one a
    /// millisecond.
    pub fn times(&self, end: Timestamp) -> impl Fn(u64) -> Timestamp + use<> {
        let events = self.events;
        let span = self.span.map_or(events as i64, Span::millis);
        let start = end.millis() - span;
        move |event| {
            let after = (i128::from(span) * i128::from(event) / i128::from(events)) as i64;
            Timestamp::from_millis(start + after)
        }
    }

    /// What most scenarios begin with: in about three minutes on two cores.
    pub const USUAL: Self = Self {
        events: 4_000_000,
        accounts: 1_000_000,
        partitions: 8,
        workers: 2,
        skew: Skew::Uniform,
        changes_per_mille: 8.0,
        rate: 50_000,
        span: None,
        period: Duration::from_secs(30),
        seed: 7,
    };

    /// The same with what was said on the command line.
    pub fn with(self, options: &Options) -> Self {
        Self {
            events: options.events.unwrap_or(self.events),
            accounts: options.accounts.unwrap_or(self.accounts),
            partitions: options.partitions.unwrap_or(self.partitions),
            workers: options.workers.unwrap_or(self.workers),
            skew: options.skew.unwrap_or(self.skew),
            changes_per_mille: options.changes.unwrap_or(self.changes_per_mille),
            rate: options.rate.unwrap_or(self.rate),
            span: options.span.or(self.span),
            period: options.period.map_or(self.period, |span| Duration::from_millis(span.millis() as u64)),
            seed: options.seed,
        }
    }
}
