//! Works off a preloaded topic under exactly-once: events per second of CPU time, and memory.

use crate::{
    meter::Meter,
    options::{Options, Parameters, Skew},
    oracle,
    report::Run,
    scrape::Scraped,
    stage::Stage,
    support::kafka::Broker,
};

/// A drain of a few million events.
pub fn drain_parameters(options: &Options) -> Parameters {
    let usual = Parameters::USUAL;
    let quick = Parameters { events: 100_000, accounts: 20_000, ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// A month of ten million accounts of all sizes: so many of the fourteen million have an event in it.
pub fn memory_parameters(options: &Options) -> Parameters {
    let span = tidemark::wire::time::parse_span("30d").ok();
    let usual = Parameters {
        events: 42_000_000,
        accounts: 14_000_000,
        skew: Skew::Mixed,
        changes_per_mille: 5.0,
        span,
        ..Parameters::USUAL
    };
    let quick = Parameters { events: 60_000, accounts: 20_000, ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures from the start of the service until it has committed everything.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let stage = Stage::new(broker, name, parameters, "");
    stage.preload();
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    stage.await_drained(&mut service, &mut meter);
    let (measured, scraped) = (meter.read(), Scraped::of(&service));
    stage.stop(&mut service);
    let (events, wall, cpu) = (parameters.events as f64, measured.wall.as_secs_f64(), measured.cpu);
    let (accounts, resident) = (scraped.sum("tidemark_state_accounts"), measured.memory.map(|memory| memory.resident));
    let verdict = oracle::judge(&stage, options, &[]);
    let mut run = Run::new(measured, verdict);
    run.about(parameters.events, scraped.changes());
    run.figure("events per CPU-second", events / cpu);
    run.figure("events per second of wall time", events / wall);
    if let Some(commits) = scraped.sum("tidemark_commits_total").filter(|commits| *commits > 0.0) {
        run.figure("events per commit", events / commits);
    }
    if let (Some(accounts), Some(resident)) = (accounts.filter(|count| *count > 0.0), resident) {
        run.figure("accounts in memory", accounts);
        run.figure("resident bytes per account", resident as f64 / accounts);
    }
    stage.clear(options);
    run
}
