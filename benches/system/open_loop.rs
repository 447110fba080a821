//! Latency at a fixed rate, from the instant at which an event should be sent to the moment at which
//! a `read_committed` reader has the change.

use std::time::{Duration, Instant};

use tidemark::wire::time::format_rfc3339;

use crate::{
    lag::Lags,
    meter::Meter,
    options::{Options, Parameters},
    oracle::{self, Verdict},
    proc,
    reader::{self, Kind, Reader, Seen},
    report::Run,
    scrape::Scraped,
    stage::{self, GRACE_MS, LIMIT, Stage},
    stream::Stream,
    support::{kafka::Broker, tidemark::Running, wait_until},
};

/// The model of this scenario, and of others whose accounts shall rise and fall soon.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/system/flicker.yaml");

/// Not counted. The rate rises meanwhile: a broker whose code is yet to be compiled would fall seconds behind a high
/// one, and what reaches the log that late is beyond what is promised.
const WARM_UP: Duration = Duration::from_secs(20);
const QUICK_WARM_UP: Duration = Duration::from_secs(2);
/// Nor is the first minute at the full rate, in which the service still takes more of the kernel.
const SETTLING: Duration = Duration::from_secs(60);
/// Nor is what comes before the broker has taken so much CPU time, in seconds: its code is compiled as it
/// runs.
const BROKER_IS_WARM: f64 = 90.0;
/// Much longer than that takes.
const WARM_UP_LIMIT: Duration = Duration::from_secs(600);

/// Half a minute of steady traffic.
pub fn parameters(options: &Options) -> Parameters {
    let usual = Parameters { events: 0, accounts: 100_000, changes_per_mille: 20.0, ..Parameters::USUAL };
    let quick = Parameters { accounts: 10_000, rate: 5_000, period: Duration::from_secs(8), ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures while events come.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let stage = Stage::of_live_events(broker, name, parameters, MODEL);
    let mut service = stage.start();
    stage::await_ready(&mut service);
    let reader = Reader::start(&stage);
    let warm_up = if options.quick { QUICK_WARM_UP } else { WARM_UP };
    let stream = Stream::start(&stage, warm_up);
    await_warm(&stage, &mut service, warm_up, options);

    let (mut lags, changes_before, sent_before) = (Lags::default(), Scraped::of(&service).changes(), stream.sent());
    let (mut meter, from, began) = (Meter::start(&stage, &service), stage::now().millis(), Instant::now());
    lags.watch(&stage, &mut service, parameters.period);
    let (measured, to, took) = (meter.read(), stage::now().millis(), began.elapsed());
    let sent = stream.sent().since(sent_before, parameters.rate);
    let changes = Scraped::of(&service).changes() - changes_before;

    let Concluded { seen, mut verdict } = conclude(&stage, &mut service, &mut meter, stream, reader, options);
    lags.check(parameters.rate, options, &mut verdict);
    sent.check(options, &mut verdict);
    let events = (parameters.rate as f64 * took.as_secs_f64()) as u64;
    let mut run = Run::new(measured, verdict);
    run.about(events, changes);
    run.figure("events sent too late, %", sent.late() * 100.0);
    run.figure("lag at most, events", lags.most());
    run.histogram("rise, from the event's instant", reader::latencies(&seen, Kind::Rise, 0, from..to));
    run.histogram("fall, from when it was due", reader::latencies(&seen, Kind::Fall, GRACE_MS, from..to));
    stage.clear(options);
    run
}

fn await_warm(stage: &Stage, service: &mut Running, warm_up: Duration, options: &Options) {
    Lags::default().watch(stage, service, warm_up);
    if !options.quick {
        Lags::default().watch(stage, service, SETTLING);
        wait_until("the broker's code to be compiled", WARM_UP_LIMIT, || {
            assert!(service.is_running(), "{}", service.log());
            (proc::cpu_seconds(stage.broker().id()) >= BROKER_IS_WARM).then_some(())
        });
    }
}

/// What a stream of events came to.
pub struct Concluded {
    pub seen: Vec<Seen>,
    pub verdict: Verdict,
}

/// Ends the stream, lets every account fall that has risen, ends the service, and compares.
pub fn conclude(
    stage: &Stage,
    service: &mut Running,
    meter: &mut Meter,
    stream: Stream,
    reader: Reader,
    options: &Options,
) -> Concluded {
    stream.finish();
    stage.await_drained(service, meter);
    wait_until("the fall of every account that has risen", LIMIT, || (reader.risen() == 0).then_some(()));
    let until = format_rfc3339(stage::now());
    stage.stop(service);
    let verdict = oracle::judge(stage, options, &["--until", &until]);
    Concluded { seen: reader.finish(), verdict }
}
