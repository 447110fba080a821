//! `tidemark demo`: the real service over an embedded broker, with synthetic traffic on a fast clock.

use std::{
    io::{self, IsTerminal},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::builder::RangedU64ValueParser;

use super::{
    Failure,
    service::{Door, Host},
};
use crate::{
    log::kafka::{KafkaConfig, KafkaLog, Properties, TopicNames, Topics},
    model::Span,
    runtime::WorkerSettings,
    settings::StartFrom,
    telemetry::{self, LogFilter, LogFormat},
    wire::{
        event::PersonKey,
        model_file::{self, LoadedModel},
        time::parse_span,
    },
};

mod broker;
mod clock;
mod companies;
mod events;
mod journeys;
mod print;
mod random;
mod show;
#[cfg(test)]
mod tests;
mod traffic;

use self::{
    broker::{Broker, Feed, Subscriber},
    clock::FastClock,
    print::Colour,
    show::Show,
    traffic::Traffic,
};

const DEFAULT_MODEL: &str = include_str!("../../../config/models/default.yaml");
const GROUP: &str = "tidemark-demo";
/// How late a record may reach its worker, in real time: what the way through the broker takes,
/// with a margin for a busy machine.
const GRACE: Duration = Duration::from_millis(1500);
const NO_WAY_BACK: &str = "the embedded broker forgets offsets, so the demo cannot resume: start it again";
/// The length of the history for up to so many accounts.
const HISTORY_HOURS: usize = 24 * 24;
const HISTORY_ACCOUNTS: usize = 400;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How much faster time runs; at 43200 a second is half a day
    #[arg(long, default_value_t = 43_200, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    speed: u32,
    /// Companies in the synthetic traffic
    #[arg(long, default_value_t = 240, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    accounts: usize,
    /// Another seed is another story; the same seed tells the same one again
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Where to serve HTTP on the loopback address; another port is taken if this one is in use
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// End after this time, such as 60s; without it, Ctrl-C ends the demo
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    duration: Option<Span>,
    /// A model file to score with instead of the built-in default
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Runs the demo until it is told to end.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let host = Host::new()?;
    let LoadedModel { model, .. } = load_model(&args)?;
    telemetry::init(LogFormat::Text, &LogFilter::warnings());
    let topics = Topics::try_from(TopicNames::default()).map_err(Failure::config)?;
    let door = Door { listener: listen(args.port)?, token: None };
    // First in, last out: everything below talks to it.
    let broker = Broker::start(&topics)?;
    let clock = FastClock::new(args.speed);
    let mut show = Show {
        feed: Feed::new(broker.address(), &topics)?,
        subscriber: Subscriber::new(broker.address(), &topics, &show::HEARD)?,
        traffic: Traffic::new(args.seed, args.accounts, clock.start().back(history(args.accounts))),
        clock,
        tiers: model.tiers().iter().map(|tier| tier.name.clone()).collect(),
        colour: colour(),
        ends_after: args.duration.map(|span| Duration::from_millis(span.millis().unsigned_abs())),
        progress: show::Progress::default(),
    };
    let settings = worker_settings(&topics, &clock);
    let kafka = Arc::new(kafka_config(&broker, topics));
    let connect = move |worker| KafkaLog::connect(kafka.clone(), worker);
    let running = host.start(1, model, settings, &clock, door, connect)?;
    show.begin()?;
    show.open(args.accounts, running.address)?;
    let mut outcome = Ok(());
    let waited = running.wait(|| match show.turn() {
        Ok(over) => over,
        Err(error) => {
            outcome = Err(error);
            true
        }
    });
    waited.map_err(|Failure { code, error }| Failure { code, error: error.context(NO_WAY_BACK) })?;
    outcome.and_then(|()| show.close()).or_else(unless_unread)?;
    Ok(ExitCode::SUCCESS)
}

/// The traffic before the start, so that there is something to see at once. The broker holds a few
/// megabytes a partition until the worker is there to read them, so many accounts have less of it.
fn history(accounts: usize) -> Span {
    let hours = HISTORY_HOURS * HISTORY_ACCOUNTS / accounts.max(HISTORY_ACCOUNTS);
    Span::seconds(u32::try_from(hours * 3600).unwrap_or(0))
}

fn load_model(args: &Args) -> Result<LoadedModel, Failure> {
    match &args.model {
        Some(path) => model_file::load(path),
        None => model_file::parse(DEFAULT_MODEL, "config/models/default.yaml"),
    }
    .map_err(Failure::config)
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address(port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(address(0)).context("no port is free to serve HTTP on")?;
            eprintln!("port {port} is in use: serving HTTP on port {} instead", listener.local_addr()?.port());
            Ok(listener)
        }
        outcome => outcome.with_context(|| format!("`--port`: cannot serve HTTP on port {port}")),
    }
}

fn colour() -> Colour {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { Colour::On } else { Colour::Off }
}

fn kafka_config(broker: &Broker, topics: Topics) -> KafkaConfig {
    KafkaConfig {
        brokers: broker.address().to_owned(),
        group: GROUP.into(),
        instance: "demo".into(),
        topics,
        properties: Properties::default(),
    }
}

fn worker_settings(topics: &Topics, clock: &FastClock) -> WorkerSettings {
    WorkerSettings {
        inputs: topics.inputs().clone(),
        partitions: broker::PARTITIONS,
        grace: clock.span(GRACE),
        max_future_skew: Span::seconds(300),
        person_key: PersonKey::from_secret(GROUP),
        start_from: StartFrom::Earliest,
        checkpoint_interval: Duration::from_secs(60),
        commit_interval: Duration::from_millis(250),
        commit_interval_min: Duration::from_millis(25),
        commit_records_max: 10_000,
        page_bytes_max: 900_000,
        letter_bytes_max: 1_000_000,
        source: GROUP.into(),
        run: GROUP.into(),
    }
}

/// Nobody reads on (as after `| head`): that is an end like any other.
fn unless_unread(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}
