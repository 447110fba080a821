//! The service is killed, and starts again: how soon it is where it was.

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
    tables_read: Moment,
    live: Moment,
}

/// Measures from the second start until the service is live.
pub fn run(broker: &'static Broker, name: &str, parameters: Parameters, options: &Options) -> Run {
    let checkpoint = if options.quick { QUICK_CHECKPOINT_SECONDS } else { CHECKPOINT_SECONDS };
    let stage = Stage::new(broker, name, parameters, &format!("state: {{ checkpoint_interval: {checkpoint}s }}\n"));
    let mut traffic = stage.preload();
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    stage.await_drained(&mut service, &mut meter);
    // Every page is stored once in an interval; the last one may just have begun.
    thread::sleep(Duration::from_secs(2 * checkpoint));
    let reached = stage.progress.end();
    stage.send(&mut traffic, parameters.events / TAIL, |_| stage::now());
    wait_until("a part of the tail to be committed", LIMIT, || (stage.progress.committed()? > reached).then_some(()));
    service.kill();

    let reader = Reader::start(&stage);
    let (began, began_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
    let mut service = stage.start();
    let mut meter = Meter::start(&stage, &service);
    let restored = await_live(&mut service, began, parameters.partitions);
    let measured = meter.read();
    stage.await_drained(&mut service, &mut meter);
    let scraped = Scraped::of(&service);
    stage.stop(&mut service);
    let first_output = reader.finish().first().map(|change| change.at_us - began_us);

    let verdict = oracle::judge(&stage, options, &[]);
    let mut run = Run::new(measured, verdict);
    tell(&mut run, &restored, &scraped);
    if let Some(after_us) = first_output {
        run.figure("first output after, s", after_us as f64 / 1e6);
    }
    stage.clear(options);
    run
}

fn tell(run: &mut Run, restored: &Restored, scraped: &Scraped) {
    let Restored { assigned, tables_read, live } = restored;
    run.figure("assigned after, s", assigned.after.as_secs_f64());
    run.figure("tables read after, s", tables_read.after.as_secs_f64());
    run.figure("live after, s", live.after.as_secs_f64());
    run.figure("CPU for the tables, s", tables_read.cpu - assigned.cpu);
    run.figure("CPU for the tables in the kernel, s", tables_read.kernel - assigned.kernel);
    run.figure("CPU from assigned to live, s", live.cpu - assigned.cpu);
    if let Some(accounts) = scraped.sum("tidemark_state_accounts") {
        run.figure("accounts", accounts);
        let per = |seconds: f64| accounts / seconds;
        run.figure("accounts per CPU-second, tables", per(tables_read.cpu - assigned.cpu));
        run.figure("accounts per second, tables", per((tables_read.after - assigned.after).as_secs_f64()));
        run.figure("accounts per CPU-second, until live", per(live.cpu - assigned.cpu));
    }
    if let Some(records) = scraped.sum("tidemark_restored_records_total") {
        run.figure("records of tables read", records);
    }
}

/// Asks the probe again and again until every partition is live.
fn await_live(service: &mut Running, began: Instant, partitions: i32) -> Restored {
    let (mut assigned, mut tables_read) = (None, None);
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
            (assigned, tables_read) = (None, None);
            return None;
        }
        let assigned = *assigned.get_or_insert(now);
        if restoring > 0 {
            return None;
        }
        let tables_read = *tables_read.get_or_insert(now);
        (live == partitions as usize).then_some(Restored { assigned, tables_read, live: now })
    })
}
