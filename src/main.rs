use std::process::ExitCode;

use clap::Parser;

#[cfg(target_os = "linux")]
mod allocator;

fn main() -> ExitCode {
    // While accounts are restored or come anew, what is free is needed again soon: to give it back in between costs
    // twice, and takes huge pages apart: restores that never gave any back took a fifth less CPU time.
    #[cfg(target_os = "linux")]
    allocator::keep_free_memory_for(5_000);
    tidemark::commands::run(tidemark::commands::Cli::parse())
}
