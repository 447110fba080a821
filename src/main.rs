use std::process::ExitCode;

use clap::Parser;

#[cfg(target_os = "linux")]
mod allocator;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    allocator::set_up();
    tidemark::commands::run(tidemark::commands::Cli::parse())
}
