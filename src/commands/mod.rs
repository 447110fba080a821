//! The command line: one file per command, wiring only.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod audit;
pub mod demo;
pub mod replay;
pub mod run;
mod service;
mod signals;
pub mod test;
pub mod topics;
pub mod validate;

/// Account intent that fades, and tier changes that go out exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job on an embedded broker, with synthetic traffic; no Kafka needed
    Demo(demo::Args),
    /// Consume events from Kafka and publish tier and segment changes
    Run(run::Args),
    /// Compare the topics with what `run` needs, and create what is missing
    Topics(topics::Args),
    /// Check that what is published is what the inputs imply; only reads
    Audit(audit::Args),
    /// Run a model over files of events and print the changes
    Replay(replay::Args),
    /// Run the tests that model files carry
    Test(test::Args),
    /// Check the configuration and the model
    Validate(validate::Args),
}

/// Exit codes beyond 0 (as asked) and 2 (wrong usage).
pub mod exit {
    /// A check failed, or nothing of the input could be used.
    pub const FAILED: u8 = 1;
    /// State and log contradict each other, and a person must decide (`EX_DATAERR` of sysexits).
    pub const REFUSED: u8 = 65;
    /// Kafka, or a server, could not be reached.
    pub const UNAVAILABLE: u8 = 69;
    /// The configuration or the model is wrong (`EX_CONFIG` of sysexits).
    pub const CONFIG: u8 = 78;
}

/// Runs the command and says how the process should exit.
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Demo(args) => demo::execute(args),
        Command::Run(args) => run::execute(args),
        Command::Topics(args) => topics::execute(args),
        Command::Audit(args) => audit::execute(args),
        Command::Replay(args) => replay::execute(args),
        Command::Test(args) => test::execute(args),
        Command::Validate(args) => validate::execute(args),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}

/// Why a command stopped: the exit code, and what to tell the person.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The configuration or model is at fault.
    pub fn config(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit::CONFIG, error: error.into() }
    }

    /// Something that the process needs is not there.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit::UNAVAILABLE, error: error.into() }
    }

    /// The log contradicts itself, or what it holds cannot be trusted.
    pub fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit::REFUSED, error: error.into() }
    }

    fn report(self) -> ExitCode {
        eprintln!("error: {:#}", self.error);
        ExitCode::from(self.code)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: exit::FAILED, error: error.into() }
    }
}
