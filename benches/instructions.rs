//! What the parts of an event's way cost in instructions and allocations, against what is kept in
//! `instructions.txt`: a guard against slowness that does not depend on how busy the machine is.
//!
//! `cargo bench --bench instructions [-- PART_OF_A_NAME]` runs each workload under Callgrind, and
//! fails if one has moved by more than 5 %, up or down; `TIDEMARK_UPDATE=1` keeps what was found.
//! Without valgrind it is skipped, or fails if `TIDEMARK_REQUIRE_VALGRIND` is set.

#[path = "instructions/allocations.rs"]
mod allocations;
#[path = "instructions/callgrind.rs"]
mod callgrind;
#[path = "instructions/kept.rs"]
mod kept;
#[path = "instructions/workloads.rs"]
mod workloads;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.as_slice() {
        [command, name] if command == "run" => callgrind::run(name),
        filter => kept::compare(filter.first().map_or("", String::as_str)),
    }
}
