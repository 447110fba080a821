//! The service is killed, and starts again: how soon it is where it was. First when all that it knew was stored,
//! then with events to catch up with.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    meter::Meter,
    options::{Options, Parameters},
    oracle, proc,
    reader::Reader,
    report::Run,
    scrape::Scraped,
    stage::{self, LIMIT, Stage},
    support::{http, kafka::Broker, tidemark::Running, wait_until},
};

/// All state that changed is stored within this, in seconds: shorter than by default, so that the
/// benchmark has not long to wait until the tables hold everything.
const CHECKPOINT_SECONDS: u64 = 15;
const QUICK_CHECKPOINT_SECONDS: u64 = 1;
/// Accounts that the service knows.
const ACCOUNTS: &str = "tidemark_state_accounts";
/// One in so many events comes after that, and is what there is to catch up with.
const TAIL: u64 = 20;

/// A million accounts.
pub fn parameters(options: &Options) -> Parameters {
    let usual = Parameters::USUAL;
    let quick = Parameters { events: 100_000, accounts: 20_000, ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Moments of a restore, from the start of the process.
#[derive(Clone, Copy, Debug)]
struct Moment {
    after: Duration,
    cpu: f64,
    /// The part of the CPU time that the kernel spent.
    kernel: f64,
}

/// When the service had got how far.
struct Restored {
    assigned: Moment,
    live: Moment,
}

/// What the figures of a restore are called: accounts, when partitions were assigned and live, the CPU time
/// in between and the kernel's part of it, and accounts per CPU-second and per second in between.
type Names = [&'static str; 7];

const TABLES_ALONE: Names = [
    "tables alone: accounts",
    "tables alone: assigned after, s",
    "tables alone: live after, s",
    "tables alone: CPU in between, s",
    "tables alone: CPU in the kernel, s",
    "tables alone: accounts per CPU-second",
    "tables alone: accounts per second",
];
const WITH_A_TAIL: Names = [
    "with a tail: accounts",
    "with a tail: assigned after, s",
    "with a tail: live after, s",
    "with a tail: CPU in between, s",
    "with a tail: CPU in the kernel, s",
    "with a tail: accounts per CPU-second",
    "with a tail: accounts per second",
];

/// Measures from a start until the service is live, twice.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let checkpoint = if options.quick { QUICK_CHECKPOINT_SECONDS } else { CHECKPOINT_SECONDS };
    let stage = Stage::new(broker, name, parameters, &format!("state: {{ checkpoint_interval: {checkpoint}s }}\n"));
    let mut traffic = stage.preload();
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    stage.await_drained(&mut service, &mut meter);
    // Every page is stored once in an interval; the last one may just have begun.
    thread::sleep(Duration::from_secs(2 * checkpoint));
    let stored = sum(&service, ACCOUNTS);
    service.kill();

    let began = Instant::now();
    let mut service = stage.start();
    let alone = await_live(&mut service, began, parameters.partitions);
    let reached = stage.progress.end();
    stage.send(&mut traffic, parameters.events / TAIL, |_| stage::now());
    wait_until("a part of the tail to be committed", LIMIT, || (stage.progress.committed()? > reached).then_some(()));
    service.kill();

    let reader = Reader::start(&stage);
    let (began, began_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    let with_tail = await_live(&mut service, began, parameters.partitions);
    let measured = meter.read();
    stage.await_drained(&mut service, &mut meter);
    let (accounts, records) = (sum(&service, ACCOUNTS), sum(&service, "tidemark_restored_records_total"));
    stage.stop(&mut service);
    let first_output = reader.finish().first().map(|change| change.at_us - began_us);

    let verdict = oracle::judge(&stage, options, &[]);
    let mut run = Run::new(measured, verdict);
    tell(&mut run, TABLES_ALONE, &alone, stored);
    tell(&mut run, WITH_A_TAIL, &with_tail, accounts);
    run.figure("records of tables read", records);
    if let Some(after_us) = first_output {
        run.figure("first output after, s", after_us as f64 / 1e6);
    }
    stage.clear(options);
    run
}

fn sum(service: &Running, metric: &str) -> f64 {
    Scraped::of(service).sum(metric).unwrap_or_else(|| panic!("the service has no metric {metric}"))
}

fn tell(run: &mut Run, names: Names, Restored { assigned, live }: &Restored, accounts: f64) {
    let (cpu, wall) = (live.cpu - assigned.cpu, (live.after - assigned.after).as_secs_f64());
    let kernel = live.kernel - assigned.kernel;
    let [assigned, live] = [assigned, live].map(|moment| moment.after.as_secs_f64());
    let figures = [accounts, assigned, live, cpu, kernel, accounts / cpu, accounts / wall];
    names.into_iter().zip(figures).for_each(|(name, figure)| run.figure(name, figure));
}

/// Asks the probe again and again until every partition is live.
fn await_live(service: &mut Running, began: Instant, partitions: i32) -> Restored {
    let mut assigned = None;
    wait_until("every partition to be live", LIMIT, || {
        assert!(service.is_running(), "{}", service.log());
        let (_, body) = http::get(service.address()?, "/readyz").ok()?;
        let phases: Value = serde_json::from_str(&body).ok()?;
        let count = |phase: &str| phases["partitions"][phase].as_array().map_or(0, Vec::len);
        let [restoring, catching_up, live] = ["restoring", "catching_up", "live"].map(count);
        let process = service.id();
        let (cpu, kernel) = (proc::cpu_seconds(process), proc::kernel_seconds(process));
        let now = Moment { after: began.elapsed(), cpu, kernel };
        if restoring + catching_up + live < partitions as usize {
            // The group is still settling who has what; what was begun begins again.
            assigned = None;
            return None;
        }
        let assigned = *assigned.get_or_insert(now);
        (live == partitions as usize).then_some(Restored { assigned, live: now })
    })
}
