use std::process::ExitCode;

use clap::Parser;

/// The client library allocates each fetched record on a thread of its own and frees it on ours; where
/// that is the allocator of the C library, millions of accounts among them end up in a memory of holes.
/// The library uses this one too: the feature `override` of the crate replaces `malloc` and `free`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the allocator keeps memory that is free before it gives it back to the system, in milliseconds; by
/// default a second. While accounts are restored or come anew, what is free is needed again soon: to give it back in
/// between costs twice, and takes huge pages apart. A restore takes a fifth less CPU time for that.
#[cfg(target_os = "linux")]
const PURGE_DELAY_MS: std::ffi::c_long = 5_000;

/// `mi_option_purge_delay`, which the crate has no name for.
#[cfg(target_os = "linux")]
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the allocator's settings are only to be had from C")]
fn set_up_memory() {
    // SAFETY: sets a number, before other threads read it; what the environment says stands.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(not(target_os = "linux"))]
fn set_up_memory() {}

fn main() -> ExitCode {
    set_up_memory();
    tidemark::commands::run(tidemark::commands::Cli::parse())
}
