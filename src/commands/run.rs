//! `tidemark run`: the service.

use std::{net::TcpListener, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;

use super::{
    Failure,
    service::{Door, Host},
    topics,
};
use crate::{
    log::kafka::KafkaLog,
    runtime::{SystemClock, WorkerSettings},
    settings::Settings,
    telemetry::{self, LogFormat},
    wire::{event::PersonKey, model_file},
};

/// State pages above this are split: well below the record size that brokers allow by default.
const PAGE_BYTES_MAX: usize = 900_000;
/// The tenth of the largest record that is left for what a page has beside its accounts.
const PAGE_ROOM: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service configuration
    #[arg(short, long, default_value = "config/tidemark.yaml", env = "TIDEMARK_CONFIG")]
    config: PathBuf,
    /// Worker threads, each with the partitions that the group gives it [default: one per core]
    #[arg(long)]
    workers: Option<usize>,
}

/// Runs the service until it is told to stop.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let host = Host::new()?;
    let mut settings = Settings::load(&args.config).map_err(Failure::config)?;
    if let Some(workers) = args.workers {
        settings.workers = workers.max(1);
    }
    let format = settings.log.format.unwrap_or_else(LogFormat::detect);
    telemetry::init(format, &settings.log.level);
    let loaded = model_file::load(&settings.model).map_err(Failure::config)?;
    for warning in settings.warnings() {
        tracing::warn!(target: "start", "{warning}");
    }
    let listen = settings.http.listen;
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("`http.listen`: cannot listen on {listen}"))
        .map_err(Failure::config)?;
    let address = listener.local_addr()?;
    let id = loaded.model.id();
    tracing::info!(
        target: "start",
        model = %id.name, version = id.version, digest = %id.digest, workers = settings.workers,
        http = %address, brokers = %settings.kafka.brokers, group = %settings.kafka.group,
        "tidemark {}", env!("CARGO_PKG_VERSION")
    );
    let worker_settings = worker_settings(&settings, topics::agreed_partitions(&settings)?);
    let door = Door { listener, token: settings.http.token };
    let kafka = Arc::new(settings.kafka);
    let connect = move |worker| KafkaLog::connect(kafka.clone(), worker);
    let running =
        host.start(settings.workers, loaded.model, worker_settings, &SystemClock::default(), door, connect)?;
    running.wait(|| false)?;
    tracing::info!(target: "start", "stopped");
    Ok(ExitCode::SUCCESS)
}

fn worker_settings(settings: &Settings, partitions: i32) -> WorkerSettings {
    let started = chrono::Utc::now().timestamp_micros();
    let record_bytes_max = usize::try_from(settings.kafka.record_bytes_max()).unwrap_or(usize::MAX);
    WorkerSettings {
        inputs: settings.kafka.topics.inputs().clone(),
        partitions,
        grace: settings.grace,
        max_future_skew: settings.max_future_skew,
        person_key: PersonKey::from_secret(settings.person_key.expose()),
        start_from: settings.start_from,
        checkpoint_interval: settings.checkpoint_interval,
        commit_interval: settings.commit.interval,
        commit_interval_min: settings.commit.min_interval,
        commit_records_max: settings.commit.max_records,
        page_bytes_max: PAGE_BYTES_MAX.min(record_bytes_max - record_bytes_max / PAGE_ROOM),
        letter_bytes_max: record_bytes_max,
        source: format!("/tidemark/{}", settings.kafka.group).into(),
        run: format!("{:x}-{started:x}", std::process::id()).into(),
    }
}
