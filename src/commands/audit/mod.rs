//! `tidemark audit`: is what was published what the inputs imply?
//!
//! `plan` finds out how far to read, `pass` reads inputs and outputs of a partition side by side,
//! `recompute` decides the inputs again, `ledger` and `letters` set that against what is there,
//! `changes` compares two of a kind, `alone` is for what has no inputs to be compared with, and `findings` and `report` tell of what differs.

use std::{collections::BTreeSet, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use super::{Failure, exit, replay, topics};
use crate::{
    log::{LogError, Partition},
    model::{Span, Timestamp},
    settings::{Settings, StartFrom},
    telemetry::{self, LogFilter, LogFormat},
    wire::{event::PersonKey, model_file, time::parse_span},
};

mod alone;
mod changes;
mod findings;
mod ledger;
mod letters;
mod partition;
mod pass;
mod plan;
mod recompute;
mod report;
#[cfg(test)]
mod tests;

use findings::Findings;
use partition::{Auditor, Question};
use recompute::Rules;
use report::Report;

/// What the options do not tell.
const HELP: &str = "\
Re-reads inputs, changes, standings and dead letters, recomputes from the start of the inputs, and reports per account \
what is missing, doubled, out of order, different, or unexpected.

It only reads: it joins no group, commits no offsets and writes nothing, so it may run beside the service. It needs the \
configuration of the service, its person key included, and inputs from which retention has removed nothing.

Records below the group's committed offsets must have had their effect. A fall that time brings must be there once it is \
due for longer than the grace and --settle, if the service runs and has read its inputs; with a backlog, once the \
records have passed it. If the group has no members, falls must be there until shortly before the last one that was \
published, or until --until. What need not be there yet counts as pending.

Two things depend on when the service read its inputs, and may show as differences: records that come later than the \
grace, and records of two inputs about one account within a minute of each other.

Exit codes: 0 clean, 1 differences, 65 what is retained does not suffice, 69 no Kafka, 78 wrong configuration.";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The configuration of the service
    #[arg(short, long, value_name = "FILE", env = "TIDEMARK_CONFIG", default_value = "config/tidemark.yaml")]
    config: PathBuf,
    /// Another model than the configuration's: to audit what came before a change of the model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// A partition to audit; may be repeated [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Report what takes effect at this time (RFC 3339) or later; what came before is still recomputed
    #[arg(long, value_name = "TIME", value_parser = replay::time)]
    from: Option<Timestamp>,
    /// Leave out what takes effect after this time; of a stopped service, all falls up to it must be there
    #[arg(long, value_name = "TIME", value_parser = replay::time)]
    until: Option<Timestamp>,
    /// How long a service that runs may take to publish a fall
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_span)]
    settle: Span,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Accounts to tell of; differences of the others are only counted
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&args.config).map_err(Failure::config)?;
    telemetry::init(settings.log.format.unwrap_or_else(LogFormat::detect), &LogFilter::warnings());
    if settings.start_from == StartFrom::Latest {
        return Err(Failure::refused(anyhow::anyhow!(
            "`start_from: latest` lets the service begin in the midst of the inputs, and nothing tells where that was: \
             what it publishes cannot be recomputed"
        )));
    }
    let report = audit(&args, settings)?;
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Text => writeln!(out, "{report}")?,
        Format::Json => writeln!(out, "{}", report.json())?,
    }
    Ok(match (report.findings.is_clean(), report.is_refused()) {
        (false, _) => ExitCode::from(exit::FAILED),
        (true, true) => ExitCode::from(exit::REFUSED),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn audit(args: &Args, settings: Settings) -> Result<Report, Failure> {
    let model = model_file::load(args.model.as_ref().unwrap_or(&settings.model)).map_err(Failure::config)?.model;
    let partitions = partitions(args, topics::counted_partitions(&settings)?)?;
    let question = Question {
        from: args.from.unwrap_or(Timestamp::MIN),
        until: args.until,
        settle: args.settle,
        accounts_told: args.limit,
    };
    let rules = Rules {
        grace: settings.grace,
        max_future_skew: settings.max_future_skew,
        person_key: PersonKey::from_secret(settings.person_key.expose()),
    };
    let findings = Findings::new(question.accounts_told, question.from);
    let mut auditor = Auditor::new(Arc::new(settings.kafka), model, rules, question).map_err(failure)?;
    let outcomes = partitions.into_iter().map(|partition| auditor.audit(Partition(partition)).map_err(failure));
    Ok(Report::new(findings, outcomes.collect::<Result<_, _>>()?))
}

fn partitions(args: &Args, count: i32) -> Result<BTreeSet<i32>, Failure> {
    if args.partition.is_empty() {
        return Ok((0..count).collect());
    }
    match args.partition.iter().find(|partition| **partition >= count) {
        Some(beyond) => Err(Failure::config(anyhow::anyhow!(
            "there is no partition {beyond}: the topics have {count}, numbered from 0"
        ))),
        None => Ok(args.partition.iter().copied().collect()),
    }
}

fn failure(error: LogError) -> Failure {
    match error {
        LogError::Passing(_) => Failure::unavailable(error),
        LogError::Refused(_) => Failure::refused(error),
    }
}
