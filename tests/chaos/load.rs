//! What the processes of a test work on: a deployment, its events, and what must come of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use tidemark::model::{Span, Timestamp};

use crate::support::{
    deployment::{Deployment, Plan},
    kafka::Broker,
    tidemark::Running,
    topics::{Record, Writer},
    verdict::{self, Found, Reference},
    visits, wait_until,
};

/// For the work of a whole test; it takes a fraction of it.
pub const LIMIT: Duration = Duration::from_secs(180);
/// For a process to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// For an event to get through when nothing is wrong.
const FRESH_LIMIT: Duration = Duration::from_secs(10);

const WEB_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-model.yaml");
const FADING_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fading-model.yaml");

/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;

/// Pages are written often and batches are small, so that faults hit everything that a process does.
const WEB_SETTINGS: &str = "time: { grace: 60s }
state: { checkpoint_interval: 1s }
commit: { interval: 100ms, max_records: 20 }
";
/// Events reach the log within seconds of their time, and falls are published seconds after it.
const FADING_SETTINGS: &str = "time: { grace: 5s }
state: { checkpoint_interval: 1s }
commit: { interval: 100ms, max_records: 200 }
";

/// A deployment whose events are in the log, and what must be published of them.
pub struct Load {
    pub deployment: Deployment,
    pub reference: Reference,
}

impl Load {
    /// The first `count` visits of a public web site, with rubbish among them. They are years old:
    /// all that they can cause is due as soon as they are read.
    pub fn visits(broker: &'static Broker, name: &str, count: usize) -> Self {
        Self::visits_after(broker, name, &[], &visits::lines()[..count])
    }

    /// Visits, and records before them that cannot be used.
    pub fn visits_after(broker: &'static Broker, name: &str, rubbish: &[Record], lines: &[String]) -> Self {
        let plan =
            Plan { name, model: WEB_MODEL, partitions: PARTITIONS, workers: 2, settings: WEB_SETTINGS, events: &[] };
        let deployment = Deployment::new(broker, &plan);
        write(&deployment, rubbish.iter().cloned());
        visits::write(broker, &deployment.topic("events"), lines);
        let events = events_file(&deployment, lines);
        let reference = Reference::replay(WEB_MODEL, "60s", &events, verdict::now());
        Self { deployment, reference }
    }

    /// So many accounts that have just risen, and fall to nothing within half a minute: when the
    /// events are done, timers are all that happens.
    pub fn fading(broker: &'static Broker, name: &str, accounts: usize, random: &mut fastrand::Rng) -> Self {
        let now = verdict::now();
        let lines: Vec<String> = (0..accounts).flat_map(|account| rises(account, now, random)).collect();
        Self::of_fading(deploy_fading(broker, name, &lines), &lines)
    }

    /// What [`storm`] deploys, and what must come of it.
    pub fn storm(broker: &'static Broker, name: &str, accounts: usize) -> Self {
        let (deployment, lines) = storm(broker, name, accounts);
        Self::of_fading(deployment, &lines)
    }

    fn of_fading(deployment: Deployment, lines: &[String]) -> Self {
        let events = events_file(&deployment, lines);
        let reference = Reference::replay(FADING_MODEL, "5s", &events, verdict::now() + Span::seconds(3600));
        Self { deployment, reference }
    }

    /// Waits until every change is published and a fresh event gets through; then ends the processes
    /// and compares all that is in the log with what must be there.
    pub fn check(&self, processes: &mut [Running]) -> Found {
        self.reference.await_published(&self.deployment, LIMIT);
        self.conclude(processes)
    }

    /// Like [`Self::check`], when every change is known to be published.
    pub fn conclude(&self, processes: &mut [Running]) -> Found {
        verdict::check_fresh_event(&self.deployment, FRESH_LIMIT);
        for process in processes {
            assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
        }
        self.reference.check(&self.deployment)
    }

    /// Sends, whenever it is called, work for every partition that changes nothing: views of a page that the
    /// model ignores.
    pub fn chores(&self) -> impl Fn() + use<> {
        // As old as the visits, or time would pass for their accounts.
        let time = visits::records()[0].time;
        let lines = (0..4 * PARTITIONS).map(|chore| format!("nobody-{chore}"));
        let lines = lines.map(|account| visits::page_view(&account, &account, time, "/favicon.ico"));
        let records: Vec<Record> = lines.map(|line| visits::event_record(&line)).collect();
        let (writer, events) = (Writer::plain(self.deployment.broker()), self.deployment.topic("events"));
        move || {
            records.iter().for_each(|record| writer.send(&events, record));
            writer.flush();
        }
    }

    /// Waits until offsets of changes show that a share of the work is done, in percent.
    pub fn await_progress(&self, percent: usize) {
        let moment = (self.reference.change_count() * percent / 100) as i64;
        wait_until(&format!("{moment} offsets of changes"), LIMIT, || {
            (self.deployment.change_offsets() >= moment).then_some(())
        });
    }
}

/// So many accounts that rose at the same moment, and were due to fall at the same moment since.
pub fn storm(broker: &'static Broker, name: &str, accounts: usize) -> (Deployment, Vec<String>) {
    let time = verdict::now().millis() - 120_000;
    let line = |account| {
        let name = format!("account-{account}");
        visits::page_view(&name, &name, time, "/brief")
    };
    let lines: Vec<String> = (0..accounts).map(line).collect();
    (deploy_fading(broker, name, &lines), lines)
}

fn deploy_fading(broker: &'static Broker, name: &str, lines: &[String]) -> Deployment {
    let plan =
        Plan { name, model: FADING_MODEL, partitions: PARTITIONS, workers: 2, settings: FADING_SETTINGS, events: &[] };
    let deployment = Deployment::new(broker, &plan);
    write(&deployment, lines.iter().map(|line| visits::event_record(line)));
    deployment
}

/// Waits until a process says that it is ready, and gives the time that it took.
pub fn await_ready(process: &Running, limit: Duration) -> Duration {
    let began = Instant::now();
    wait_until("readiness", limit, || process.is_ready().then_some(()));
    began.elapsed()
}

/// Waits for the end of a process that must refuse to go on, and gives what it printed.
pub fn await_refusal(process: &mut Running, code: i32) -> String {
    let Some(status) = process.try_wait(LIMIT) else { panic!("it goes on:\n{}", process.log()) };
    assert_eq!(status.code(), Some(code), "{}", process.log());
    process.log()
}

/// A seed that is printed, and taken from `TIDEMARK_SEED` to repeat a run.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("TIDEMARK_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a seed"));
    eprintln!("TIDEMARK_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// One to eight views of one kind of page, in the last seconds before `now`: so falls are spread too.
fn rises(account: usize, now: Timestamp, random: &mut fastrand::Rng) -> Vec<String> {
    let path = *random.choice(&["/brief", "/steady", "/lasting"]).expect("a choice");
    let (name, views) = (format!("account-{account}"), random.usize(1..=8));
    let view = |view| {
        let time = now.millis() - random.i64(0..3000);
        visits::page_view(&format!("{name}-{view}"), &name, time, path)
    };
    (0..views).map(view).collect()
}

fn write(deployment: &Deployment, records: impl Iterator<Item = Record>) {
    let writer = Writer::plain(deployment.broker());
    let events = deployment.topic("events");
    for record in records {
        writer.send(&events, &record);
    }
    writer.flush();
}

fn events_file(deployment: &Deployment, lines: &[String]) -> String {
    let path = deployment.directory().join("events.ndjson");
    fs::write(&path, lines.join("\n") + "\n").expect("the events are written");
    path.to_str().expect("the path is text").to_owned()
}
