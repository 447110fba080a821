//! `tidemark demo`.

use std::process::ExitCode;

use super::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn execute(_args: Args) -> Result<ExitCode, Failure> {
    Err(anyhow::anyhow!("not built yet").into())
}
