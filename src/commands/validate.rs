//! `tidemark validate`: is what people wrote sound?

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Failure, exit};
use crate::wire::model_file::{self, LoadedModel};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model file to check; may be repeated
    #[arg(long, value_name = "FILE", default_value = model_file::DEFAULT_PATH)]
    model: Vec<PathBuf>,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    deny_warnings: bool,
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let verdicts = args.model.iter().map(|path| check_model(path));
    let worst = verdicts.max().unwrap_or(Verdict::Sound);
    Ok(match worst {
        Verdict::Sound => ExitCode::SUCCESS,
        Verdict::Warned if args.deny_warnings => ExitCode::from(exit::FAILED),
        Verdict::Warned => ExitCode::SUCCESS,
        Verdict::Wrong => ExitCode::from(exit::CONFIG),
    })
}

/// What a check found, the worst last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Sound,
    Warned,
    Wrong,
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
