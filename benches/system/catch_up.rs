//! The service is away for a while, and events come all the same: how soon it is there again, and
//! how late changes are meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    lag::Lags,
    meter::Meter,
    open_loop::{Concluded, MODEL, conclude},
    options::{Options, Parameters},
    reader::{self, Kind, Reader},
    report::Run,
    stage::{self, GRACE_MS, LIMIT, Stage},
    stream::Stream,
    support::{kafka::Broker, wait_until},
};

/// Traffic before the service goes, and after it has caught up.
const STEADY: Duration = Duration::from_secs(10);
const QUICK_STEADY: Duration = Duration::from_secs(2);

/// A minute of backlog.
pub fn parameters(options: &Options) -> Parameters {
    let period = Duration::from_secs(60);
    let usual =
        Parameters { events: 0, accounts: 100_000, changes_per_mille: 20.0, rate: 20_000, period, ..Parameters::USUAL };
    let quick = Parameters { accounts: 10_000, rate: 5_000, period: Duration::from_secs(4), ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures from the second start of the service until it is less than a second behind.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let steady = if options.quick { QUICK_STEADY } else { STEADY };
    let stage = Stage::of_live_events(broker, name, parameters, MODEL);
    let mut service = stage.start();
    stage::await_ready(&mut service);
    let reader = Reader::start(&stage);
    let stream = Stream::start(&stage, Duration::ZERO);
    Lags::default().watch(&stage, &mut service, steady);

    stage.stop(&mut service);
    let (left, sent_before) = (stage::now().millis(), stream.sent());
    // The outage itself: nothing happens that could be waited for.
    thread::sleep(parameters.period);
    let (mut service, began, returned) = (stage.start(), Instant::now(), stage::now().millis());
    let mut meter = Meter::start(&stage, &service);
    let backlog = stage.lag().unwrap_or(0.0);
    // Commits are up to a second apart.
    let a_second = parameters.rate as f64;
    wait_until("the service to catch up", LIMIT, || stage.lag().filter(|lag| *lag <= a_second));
    let (took, caught_up, measured) = (began.elapsed(), stage::now().millis(), meter.read());
    Lags::default().watch(&stage, &mut service, steady);

    let (to, sent) = (stage::now().millis(), stream.sent().since(sent_before, parameters.rate));
    let Concluded { seen, mut verdict } = conclude(&stage, &mut service, &mut meter, stream, reader, options);
    sent.check(options, &mut verdict);
    let worked_off = backlog + parameters.rate as f64 * took.as_secs_f64();
    let cpu = measured.cpu;
    let mut run = Run::new(measured, verdict);
    run.figure("backlog at the start, events", backlog);
    run.figure("less than a second behind after, s", took.as_secs_f64());
    run.figure("events per CPU-second", worked_off / cpu);
    let rises = |due| reader::latencies(&seen, Kind::Rise, 0, due);
    let falls = |due| reader::latencies(&seen, Kind::Fall, GRACE_MS, due);
    run.histogram("rise while away", rises(left..returned));
    run.histogram("rise while catching up", rises(returned..caught_up));
    run.histogram("rise afterwards", rises(caught_up..to));
    run.histogram("fall while away", falls(left..returned));
    run.histogram("fall while catching up", falls(returned..caught_up));
    run.histogram("fall afterwards", falls(caught_up..to));
    stage.clear(options);
    run
}
