//! All accounts fall within one second.

use std::{
    fs,
    time::{Duration, Instant},
};

use tidemark::{model::Timestamp, wire::time::format_rfc3339};

use crate::{
    meter::Meter,
    options::{Options, Parameters},
    oracle,
    random::Subject,
    reader::{self, Kind, Reader},
    report::Run,
    stage::{self, GRACE_MS, LIMIT, Stage},
    support::{kafka::Broker, wait_until},
    traffic::Traffic,
};

/// The time within which all falls are due.
const STORM_MS: i64 = 1000;

/// A million falls, three minutes after the rises: those take a while to publish, too.
pub fn parameters(options: &Options) -> Parameters {
    let usual = Parameters { events: 0, period: Duration::from_secs(180), ..Parameters::USUAL };
    let quick = Parameters { accounts: 20_000, period: Duration::from_secs(15), ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures from the first fall that is due until all of them are published.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let model = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file for the model");
    let half_life = format!("{}ms", parameters.period.as_millis());
    let text = include_str!("storm.yaml").replacen("half_life: HALF_LIFE", &format!("half_life: {half_life}"), 1);
    fs::write(model.path(), text).expect("the model is written");
    let stage = Stage::of_model(broker, name, parameters, model.path().to_str().expect("a path of UTF-8"));
    let reader = Reader::start(&stage);
    let first = stage::now().millis() - STORM_MS;
    let due_ms = first + parameters.period.as_millis() as i64 + GRACE_MS;
    send_rises(&stage, first);
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    stage.await_drained(&mut service, &mut meter);
    let accounts = parameters.accounts;
    wait_until("the rise of every account", LIMIT, || (reader.count() >= accounts).then_some(()));
    let (rises, is_early) = (meter.read(), stage::now().millis() < due_ms);

    wait_until("the first fall to be due", LIMIT, || (stage::now().millis() >= due_ms).then_some(()));
    let (mut meter, began) = (Meter::start(&stage, &service), Instant::now());
    wait_until("every account to fall", LIMIT, || (reader.risen() == 0).then_some(()));
    let (measured, took) = (meter.read(), began.elapsed());
    let until = format_rfc3339(stage::now());
    stage.stop(&mut service);
    let seen = reader.finish();

    let mut verdict = oracle::judge(&stage, options, &["--until", &until]);
    if !is_early {
        verdict.unsteady(options, "falls were due before every rise was published: give --for more time".to_owned());
    }
    let (cpu, bytes) = (measured.cpu, measured.written.values().sum::<u64>());
    let mut run = Run::new(measured, verdict);
    run.figure("rises per CPU-second", accounts as f64 / rises.cpu);
    run.figure("falls per CPU-second", accounts as f64 / cpu);
    run.figure("all falls read after the first was due, s", took.as_secs_f64());
    run.figure("bytes written to Kafka per fall", bytes as f64 / accounts as f64);
    run.histogram("fall, from when it was due", reader::latencies(&seen, Kind::Fall, GRACE_MS, i64::MIN..i64::MAX));
    stage.clear(options);
    run
}

/// One event of every account, all within the storm's length.
fn send_rises(stage: &Stage, first: i64) {
    let accounts = stage.parameters.accounts;
    let (mut traffic, mut sender) = (Traffic::new(&stage.parameters), stage.sender());
    for account in 0..accounts {
        let time = first + (account as f64 / accounts as f64 * STORM_MS as f64) as i64;
        sender.send(&traffic.view(Subject { account, person: 0 }, "/pricing", Timestamp::from_millis(time)));
    }
    sender.finish();
}
