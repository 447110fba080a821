//! `tidemark test`: runs the tests that model files carry, on a virtual clock.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod case;

use super::{Failure, exit};
use crate::wire::model_file::{self, LoadedModel, ModelTest};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model files
    #[arg(value_name = "MODEL", default_value = model_file::DEFAULT_PATH)]
    models: Vec<PathBuf>,
    /// Run only the tests whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let (mut passed, mut failed) = (0, 0);
    for path in &args.models {
        let loaded = model_file::load(path).map_err(Failure::config)?;
        let chosen = |test: &&ModelTest| args.filter.as_ref().is_none_or(|text| test.name.contains(text));
        let tests: Vec<&ModelTest> = loaded.tests.iter().filter(chosen).collect();
        let failures = run_all(path, &loaded, &tests);
        passed += tests.len() - failures;
        failed += failures;
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Runs tests of one model, tells of each, then shows what went wrong; returns how many failed.
fn run_all(path: &Path, loaded: &LoadedModel, tests: &[&ModelTest]) -> usize {
    let (path, id) = (path.display(), loaded.model.id());
    println!("running {} tests of {path} (model {}, digest {})", tests.len(), id.name, id.digest);
    let mut failed = Vec::new();
    for test in tests {
        let differences = case::run(test, &loaded.model);
        println!("test {} ... {}", test.name, if differences.is_empty() { "ok" } else { "FAILED" });
        if !differences.is_empty() {
            failed.push((test, differences));
        }
    }
    for (test, differences) in &failed {
        println!("\n---- {} ({path}:{}) ----", test.name, test.line);
        differences.iter().for_each(|difference| println!("{difference}"));
    }
    println!();
    failed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_model_passes_its_own_tests() {
        let text = include_str!("../../../config/models/default.yaml");
        let loaded = model_file::parse(text, "config/models/default.yaml").unwrap_or_else(|error| panic!("{error}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        let scorecard: f64 = loaded.model.fit().criteria.iter().map(|criterion| criterion.points).sum();
        assert_eq!(scorecard, 100.0);
        for test in &loaded.tests {
            let differences = case::run(test, &loaded.model);
            assert!(differences.is_empty(), "{}\n{}", test.name, differences.join("\n"));
        }
    }
}
