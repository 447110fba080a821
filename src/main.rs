use std::process::ExitCode;

use clap::Parser;

/// The client library allocates each fetched record on a thread of its own and frees it on ours; where
/// that is the allocator of the C library, millions of accounts among them end up in a memory of holes.
/// The library uses this one too: the feature `override` of the crate replaces `malloc` and `free`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidemark::commands::run(tidemark::commands::Cli::parse())
}
