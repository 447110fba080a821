use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tidemark::commands::run(tidemark::commands::Cli::parse())
}
