//! The main job on a real Kafka: the visits of a web site go in, and what comes out equals the file
//! replay of the same visits, change by change, also when processes are killed in the midst of it.

use std::{fs, net::TcpListener, sync::OnceLock, time::Duration};

use crate::support::{
    deployment::{Deployment, Plan},
    kafka::Broker,
    tidemark::Running,
    verdict::{self, Reference},
    visits, wait_until,
};

mod support;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-model.yaml");

/// For the whole of the work; it takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(240);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Grace covers the disorder of the visits. Pages are written often and batches are small, so that
/// kills hit everything that the process does.
const SETTINGS: &str = "time: { grace: 60s }
state: { checkpoint_interval: 1s }
commit: { interval: 100ms, max_records: 20 }
";

#[test]
fn run_publishes_what_replay_says() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy(broker, "visits");

    let mut process = deployment.start("only");
    replayed().await_published(&deployment, LIMIT);
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());

    check_outcome(&deployment);
}

#[test]
fn kills_neither_lose_nor_double_anything() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy(broker, "kills");
    let seed = std::env::var("TIDEMARK_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a seed"));
    eprintln!("TIDEMARK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let names = ["one", "other"];
    let mut processes = names.map(|name| deployment.start(name));
    for moment in moments(&mut random, replayed().change_count()) {
        wait_until(&format!("{moment} offsets of changes"), LIMIT, || {
            let running = processes.each_mut().map(Running::is_running);
            assert_eq!(running, [true, true], "{names:?} must not end by themselves");
            (deployment.change_offsets() >= moment).then_some(())
        });
        let victim = random.usize(..names.len());
        processes[victim].kill();
        eprintln!("killed {} at {} offsets of changes", names[victim], deployment.change_offsets());
        processes[victim] = deployment.start(names[victim]);
    }
    replayed().await_published(&deployment, LIMIT);
    for process in &mut processes {
        assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
    }

    check_outcome(&deployment);
}

/// A broker that takes connections and says nothing holds the start up for ten seconds.
#[test]
fn asked_to_stop_while_it_starts_it_ends_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("tidemark.yaml");
    let brokers = silent.local_addr().expect("an address");
    let text = format!(
        "model: {MODEL}\nhttp: {{ listen: 127.0.0.1:0 }}\nlog: {{ format: json }}\n\
         kafka: {{ brokers: \"{brokers}\", group_id: silent }}\n"
    );
    fs::write(&config, text).expect("the configuration is written");
    let config = config.to_str().expect("a path in UTF-8");
    let mut process = Running::start("early", directory.path(), &["run", "--config", config]);
    let status = process.terminate(STOP_LIMIT);
    let log = process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"stopped\""), "{log}");
}

/// Ten moments of the run, as offsets that changes have used up by then.
fn moments(random: &mut fastrand::Rng, changes: usize) -> Vec<i64> {
    let mut moments: Vec<i64> = (0..10).map(|_| random.i64(0..changes as i64)).collect();
    moments.sort_unstable();
    moments
}

/// Topics that hold the visits, with rubbish among them.
fn deploy(broker: &'static Broker, name: &str) -> Deployment {
    let deployment = Deployment::new(
        broker,
        &Plan { name, model: MODEL, partitions: 4, workers: 2, settings: SETTINGS, events: &[] },
    );
    visits::write(broker, &deployment.topic("events"), &visits::lines());
    deployment
}

/// What `tidemark replay` says about the visits, settled up to now.
fn replayed() -> &'static Reference {
    static REPLAYED: OnceLock<Reference> = OnceLock::new();
    REPLAYED.get_or_init(|| {
        let reference = Reference::replay(MODEL, "60s", visits::FILE, verdict::now());
        assert!(reference.change_count() > 1000, "the visits cause many changes: {}", reference.change_count());
        reference
    })
}

/// All is as it must be, and there was enough of it to tell.
fn check_outcome(deployment: &Deployment) {
    let found = replayed().check(deployment);
    assert!(found.held > 0, "some accounts hold something to this day");
    assert!(found.dead_letters > 100, "there was rubbish among the events");
}
