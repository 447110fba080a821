//! Latency at a fixed rate, from the instant at which an event should be sent to the moment at which
//! a `read_committed` reader has the change.

use std::time::{Duration, Instant};

use tidemark::wire::time::format_rfc3339;

use crate::{
    lag::Lags,
    meter::Meter,
    options::{Options, Parameters},
    oracle,
    reader::{self, Kind, Reader},
    report::Run,
    scrape::Scraped,
    stage::{self, GRACE_MS, LIMIT, Stage},
    stream::Stream,
    support::{kafka::Broker, wait_until},
};

/// The model of this scenario, and of others whose accounts shall rise and fall soon.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/system/flicker.yaml");

/// Not counted.
const WARM_UP: Duration = Duration::from_secs(10);
const QUICK_WARM_UP: Duration = Duration::from_secs(2);

/// Half a minute of steady traffic.
pub fn parameters(options: &Options) -> Parameters {
    let usual = Parameters { events: 0, accounts: 100_000, changes_per_mille: 20.0, ..Parameters::USUAL };
    let quick = Parameters { accounts: 10_000, rate: 5_000, period: Duration::from_secs(8), ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures while events come.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let stage = Stage::with(broker, name, parameters, MODEL, "");
    let mut service = stage.start();
    stage::await_ready(&mut service);
    let reader = Reader::start(&stage);
    let stream = Stream::start(&stage);
    let mut lags = Lags::default();
    lags.watch(&stage, &mut service, if options.quick { QUICK_WARM_UP } else { WARM_UP });

    let (mut lags, changes_before) = (Lags::default(), Scraped::of(&service).changes());
    let (mut meter, from, began) = (Meter::start(&stage, &service), stage::now().millis(), Instant::now());
    lags.watch(&stage, &mut service, parameters.period);
    let (measured, to, took) = (meter.read(), stage::now().millis(), began.elapsed());
    let changes = Scraped::of(&service).changes() - changes_before;

    let sent = stream.finish();
    stage.await_drained(&mut service, &mut meter);
    wait_until("the fall of every account that has risen", LIMIT, || (reader.risen() == 0).then_some(()));
    let until = format_rfc3339(stage::now());
    stage.stop(&mut service);
    let seen = reader.finish();

    let mut verdict = oracle::judge(&stage, options, &["--until", &until]);
    sent.check(options, &mut verdict);
    lags.check(parameters.rate, options, &mut verdict);
    let events = (parameters.rate as f64 * took.as_secs_f64()) as u64;
    let mut run = Run::new(measured, verdict);
    run.about(events, changes);
    run.figure("events sent too late, %", sent.missed as f64 * 100.0 / sent.events as f64);
    run.figure("lag at most, events", lags.most());
    run.histogram("rise, from the event's instant", reader::latencies(&seen, Kind::Rise, 0, from..to));
    run.histogram("fall, from when it was due", reader::latencies(&seen, Kind::Fall, GRACE_MS, from..to));
    stage.clear(options);
    run
}
