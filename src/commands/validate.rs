//! `tidemark validate`: is what people wrote sound?

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Failure, exit, topics};
use crate::{
    settings::Settings,
    wire::model_file::{self, LoadedModel},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration to check, with the model that it names
    #[arg(short, long, value_name = "FILE", env = "TIDEMARK_CONFIG", default_value = "config/tidemark.yaml")]
    config: PathBuf,
    /// Model file to check instead of the configuration and its model; may be repeated
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// Also check the broker and the topics that the configuration names
    #[arg(long)]
    environment: bool,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    deny_warnings: bool,
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let Args { config, model, environment, deny_warnings } = args;
    let mut worst = model.iter().map(|path| check_model(path)).max().unwrap_or(Verdict::Sound);
    if model.is_empty() || environment {
        worst = worst.max(check_config(&config, model.is_empty(), environment)?);
    }
    Ok(match worst {
        Verdict::Sound => ExitCode::SUCCESS,
        Verdict::Warned if deny_warnings => ExitCode::from(exit::FAILED),
        Verdict::Warned => ExitCode::SUCCESS,
        Verdict::Unfit => ExitCode::from(exit::FAILED),
        Verdict::Wrong => ExitCode::from(exit::CONFIG),
    })
}

/// What a check found, the worst last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Sound,
    Warned,
    /// The files are sound, but the topics are not as they must be.
    Unfit,
    Wrong,
}

/// Checks a configuration file, and on request its model and its environment.
fn check_config(path: &Path, model: bool, environment: bool) -> Result<Verdict, Failure> {
    let settings = match Settings::load(path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}\n");
            return Ok(Verdict::Wrong);
        }
    };
    let warnings = settings.warnings();
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}\n"));
    let (kafka, path) = (&settings.kafka, path.display());
    println!("{path}: group {} at {}, {} workers", kafka.group, kafka.brokers, settings.workers);
    let mut worst = if warnings.is_empty() { Verdict::Sound } else { Verdict::Warned };
    if model {
        worst = worst.max(check_model(&settings.model));
    }
    if environment && !topics::report(&settings)? {
        worst = worst.max(Verdict::Unfit);
    }
    Ok(worst)
}

/// Checks one model file and tells what it found.
fn check_model(path: &Path) -> Verdict {
    match model_file::load(path) {
        Ok(LoadedModel { model, tests, warnings }) => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}\n"));
            let (id, path) = (model.id(), path.display());
            let (signals, tiers, segments) = (model.signals().len(), model.tiers().len(), model.segments().len());
            println!("{path}: model {} version {}, digest {}", id.name, id.version, id.digest);
            println!("{path}: {signals} signals, {tiers} tiers, {segments} segments, {} tests", tests.len());
            if warnings.is_empty() { Verdict::Sound } else { Verdict::Warned }
        }
        Err(error) => {
            eprintln!("error: {error}\n");
            Verdict::Wrong
        }
    }
}
