//! Measures the whole service beside a real Kafka, and the command `replay`: `cargo bench --bench system -- SCENARIO`,
//! and `--help` for what may be asked. It prints a table, and writes all figures, with raw histograms,
//! to `target/bench/SCENARIO-TIME.json`.
//!
//! CPU time is that of the service's process, its threads in the client library included, so that a
//! busy machine matters little. Needs Java 17 and Maven, as the tests do.

#[path = "../../tests/support/mod.rs"]
mod support;

mod catch_up;
mod drain;
mod lag;
mod meter;
mod numbers;
mod open_loop;
mod options;
mod oracle;
mod proc;
mod progress;
mod random;
mod reader;
mod replay;
mod report;
mod restore;
mod scrape;
mod sender;
mod stage;
mod stream;
mod timer_storm;
mod traffic;
mod written;

use std::process::ExitCode;

use clap::Parser;

use options::{Choice, Options, Parameters};
use report::Run;
use support::kafka::Broker;

/// One thing to measure.
struct Scenario {
    choice: Choice,
    name: &'static str,
    parameters: fn(&Options) -> Parameters,
    run: fn(&'static Broker, &str, Parameters, &Options) -> Run,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario { choice: Choice::Drain, name: "drain", parameters: drain::drain_parameters, run: drain::run },
    Scenario { choice: Choice::Memory, name: "memory", parameters: drain::memory_parameters, run: drain::run },
    Scenario { choice: Choice::OpenLoop, name: "open-loop", parameters: open_loop::parameters, run: open_loop::run },
    Scenario { choice: Choice::Restore, name: "restore", parameters: restore::parameters, run: restore::run },
    Scenario {
        choice: Choice::TimerStorm,
        name: "timer-storm",
        parameters: timer_storm::parameters,
        run: timer_storm::run,
    },
    Scenario { choice: Choice::CatchUp, name: "catch-up", parameters: catch_up::parameters, run: catch_up::run },
    Scenario { choice: Choice::Replay, name: "replay", parameters: replay::parameters, run: replay::run },
];

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(broker) = Broker::for_benchmarks(options.data.as_deref()) else { return ExitCode::SUCCESS };
    let asked = |scenario: &&Scenario| matches!(options.scenario, Choice::All) || options.scenario == scenario.choice;
    let void = SCENARIOS.iter().filter(asked).filter(|scenario| !measure(broker, scenario, &options)).count();
    if void == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario as often as asked, and tells; whether its figures may be quoted.
fn measure(broker: &'static Broker, scenario: &Scenario, options: &Options) -> bool {
    let parameters = (scenario.parameters)(options);
    let runs: Vec<Run> =
        (0..options.runs).map(|_| (scenario.run)(broker, scenario.name, parameters, options)).collect();
    report::print(scenario.name, &parameters, &runs);
    println!("  {}", report::write(scenario.name, &parameters, options, &runs).display());
    runs.iter().all(|run| !run.verdict.is_void())
}
