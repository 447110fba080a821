//! The main job on a real Kafka: the visits of a web site go in, and what comes out equals the file
//! replay of the same visits, change by change, also when processes are killed in the midst of it.

use std::{
    collections::BTreeMap,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tidemark::{model::Timestamp, wire::time::format_rfc3339};

use crate::support::{
    deployment::{Deployment, Plan},
    kafka::Broker,
    poll_until,
    tidemark::{self as cli, Running},
    topics::{self, Isolation, Record, Writer},
    visits,
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

/// Every change of an account in the order of its sequence, without the moment of detection.
type History = BTreeMap<String, Vec<Value>>;

#[test]
fn run_publishes_what_replay_says() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy(broker, "visits");

    let mut process = deployment.start("only");
    await_changes(&deployment);
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());

    check_outcome(broker, &deployment);
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
    for moment in moments(&mut random, change_count(replayed())) {
        support::wait_until(&format!("{moment} offsets of changes"), LIMIT, || {
            let running = processes.each_mut().map(Running::is_running);
            assert_eq!(running, [true, true], "{names:?} must not end by themselves");
            (deployment.change_offsets() >= moment).then_some(())
        });
        let victim = random.usize(..names.len());
        processes[victim].kill();
        eprintln!("killed {} at {} offsets of changes", names[victim], deployment.change_offsets());
        processes[victim] = deployment.start(names[victim]);
    }
    await_changes(&deployment);
    for process in &mut processes {
        assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
    }

    check_outcome(broker, &deployment);
}

/// Ten moments of the run, as offsets that changes have used up by then.
fn moments(random: &mut fastrand::Rng, changes: usize) -> Vec<i64> {
    let mut moments: Vec<i64> = (0..10).map(|_| random.i64(0..changes as i64)).collect();
    moments.sort_unstable();
    moments
}

/// Topics that hold the visits, with rubbish among them.
fn deploy(broker: &'static Broker, name: &str) -> Deployment {
    let deployment =
        Deployment::new(broker, &Plan { name, model: MODEL, partitions: 4, workers: 2, settings: SETTINGS });
    let events = deployment.topic("events");
    let writer = Writer::plain(broker);
    for (number, visit) in visits::records().iter().enumerate() {
        writer.send(&events, visit);
        if number % 97 == 0 {
            writer.send(&events, &rubbish(number, visit));
        }
    }
    writer.flush();
    deployment
}

/// Names, on a record that is rubbish, the reason that its dead letter must give.
const EXPECTED_REASON: &str = "expected-reason";

/// A record that cannot be used, beside a visit.
fn rubbish(number: usize, visit: &Record) -> Record {
    let kinds: [(&str, String); 6] = [
        ("malformed", format!("{{\"id\": \"rubbish-{number}\",")),
        ("wrong_type", format!("[\"rubbish-{number}\"]")),
        ("missing_field", r#"{"type": "page_view", "time": "2015-05-17T10:05:03.000Z"}"#.to_owned()),
        ("bad_time", format!(r#"{{"id": "rubbish-{number}", "type": "page_view", "time": "yesterday"}}"#)),
        ("far_future", format!(r#"{{"id": "rubbish-{number}", "type": "page_view", "time": "2199-01-01T00:00:00Z"}}"#)),
        ("bad_account", visits::event_line(&format!("rubbish-{number}"), &"x".repeat(300), visit.time)),
    ];
    let (reason, value) = &kinds[number / 97 % kinds.len()];
    Record {
        value: Some(value.clone().into_bytes()),
        headers: vec![(EXPECTED_REASON.to_owned(), reason.as_bytes().to_vec())],
        ..visit.clone()
    }
}

/// What `tidemark replay` says about the visits, settled up to now.
fn replayed() -> &'static History {
    static REPLAYED: OnceLock<History> = OnceLock::new();
    REPLAYED.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is set");
        let now = format_rfc3339(Timestamp::from_millis(since_epoch.as_millis() as i64));
        let printed = cli::run_well(&["replay", "--model", MODEL, "--grace", "60s", "--until", &now, visits::FILE]);
        let history = history(printed.lines().map(|line| serde_json::from_str(line).expect("a change a line")));
        assert!(change_count(&history) > 1000, "the visits cause many changes: {}", change_count(&history));
        history
    })
}

fn history(changes: impl Iterator<Item = Value>) -> History {
    let mut history = History::new();
    for mut change in changes {
        change.as_object_mut().expect("a change is an object").remove("detected_at").expect("it was detected");
        history.entry(text(&change, "account").to_owned()).or_default().push(change);
    }
    for changes in history.values_mut() {
        changes.sort_by_key(sequence);
    }
    history
}

fn change_count(history: &History) -> usize {
    history.values().map(Vec::len).sum()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` is not a text in {value}"))
}

fn sequence(value: &Value) -> u64 {
    value["sequence"].as_u64().unwrap_or_else(|| panic!("`sequence` is not a number in {value}"))
}

/// The changes that a reader of committed transactions sees.
fn published(deployment: &Deployment) -> History {
    let records: Vec<Record> = ["tier-changes", "segment-changes"]
        .into_iter()
        .flat_map(|topic| {
            let records = deployment.read(topic);
            check_order(topic, &records);
            records
        })
        .collect();
    history(records.iter().map(|record| {
        let change = record.json();
        assert_eq!(record.key_text(), text(&change, "account"), "the key is the account");
        change
    }))
}

/// The changes of an account stand in the order of their sequence, in one partition.
fn check_order(topic: &str, records: &[Record]) {
    let mut last: BTreeMap<&str, (i32, u64)> = BTreeMap::new();
    for record in records {
        let this = (record.partition, sequence(&record.json()));
        if let Some(before) = last.insert(record.key_text(), this) {
            assert!(before.0 == this.0 && before.1 < this.1, "{topic}: {} {before:?} {this:?}", record.key_text());
        }
    }
}

/// Waits for as many changes as there must be. Whether they are the right ones is seen when nothing
/// can come any more.
fn await_changes(deployment: &Deployment) {
    let wanted = change_count(replayed());
    let all_there = || {
        // The offsets are cheap to ask for, and there cannot be more records than offsets.
        let enough = deployment.change_offsets() >= wanted as i64 && deployment.is_drained();
        (enough && change_count(&published(deployment)) >= wanted).then_some(())
    };
    if poll_until(LIMIT, all_there).is_none() {
        check_changes(deployment);
        panic!("all changes are there, but the group has not committed the end of the events");
    }
}

/// All processes have ended: what is in the log now is what they did.
fn check_outcome(broker: &Broker, deployment: &Deployment) {
    assert!(deployment.is_drained(), "all events are done");
    check_changes(deployment);
    check_standings(deployment);
    check_dead_letters(deployment);
    let all = topics::read(broker, &deployment.topic("tier-changes"), Isolation::Uncommitted).len();
    let committed = deployment.read("tier-changes").len();
    eprintln!("{committed} tier changes in committed transactions, {} in aborted ones", all - committed);
}

fn check_changes(deployment: &Deployment) {
    let (published, replayed) = (published(deployment), replayed());
    let mut forgotten = 0;
    for (account, changes) in &published {
        let expected =
            replayed.get(account).unwrap_or_else(|| panic!("no changes of {account} expected: {changes:#?}"));
        forgotten += usize::from(check_account(account, changes, expected));
        assert_eq!(changes.len(), expected.len(), "number of changes of {account}");
    }
    let missing: Vec<&String> = replayed.keys().filter(|account| !published.contains_key(*account)).collect();
    assert!(missing.is_empty(), "no changes of {missing:?}");
    eprintln!("{forgotten} of {} accounts were forgotten between two of their changes", published.len());
}

/// Compares change by change, and says whether the account was forgotten on the way.
///
/// The service forgets accounts that have faded to nothing when it stores their page, a replay never
/// does. What then comes does not know the previous sequence, and counts of events start afresh.
fn check_account(account: &str, changes: &[Value], replayed: &[Value]) -> bool {
    let mut forgotten = false;
    for (at, (change, replayed)) in changes.iter().zip(replayed).enumerate() {
        let (mut change, mut replayed) = (change.clone(), replayed.clone());
        if change["previous_sequence"].is_null() && at > 0 {
            assert!(Membership::follow(&changes[..at]).is_empty(), "{account} held something but was forgotten");
            replayed["previous_sequence"] = Value::Null;
            forgotten = true;
        }
        if forgotten {
            remove_counts(&mut change);
            remove_counts(&mut replayed);
        }
        assert_eq!(change, replayed, "a change of {account}; left is published, right is replayed");
    }
    forgotten
}

fn remove_counts(change: &mut Value) {
    for reason in change["reasons"].as_array_mut().expect("a list of reasons") {
        reason.as_object_mut().expect("an object").remove("count").expect("a count");
    }
}

/// Membership as a consumer of the changes holds it, and as the standings say it, are the same.
fn check_standings(deployment: &Deployment) {
    let followed: BTreeMap<String, Membership> = published(deployment)
        .into_iter()
        .map(|(account, changes)| (account, Membership::follow(&changes)))
        .filter(|(_, membership)| !membership.is_empty())
        .collect();
    let mut standings: BTreeMap<String, Membership> = BTreeMap::new();
    for record in deployment.read("standings") {
        match &record.value {
            Some(_) => standings.insert(record.key_text().to_owned(), Membership::stated(&record.json())),
            None => standings.remove(record.key_text()),
        };
    }
    standings.retain(|_, membership| !membership.is_empty());
    assert!(!followed.is_empty(), "some accounts hold something to this day");
    assert_eq!(standings, followed, "left is what the standings say, right what the changes add up to");
}

/// What an account holds, since when, as of which sequence.
#[derive(Debug, Default, PartialEq)]
struct Membership {
    tier: Option<(String, String)>,
    segments: BTreeMap<String, String>,
    sequence: u64,
}

impl Membership {
    fn follow(changes: &[Value]) -> Self {
        let mut membership = Self::default();
        for change in changes {
            membership.sequence = sequence(change);
            let at = text(change, "effective_at").to_owned();
            match (text(change, "kind"), change["op"].as_str()) {
                ("tier_change", _) => membership.tier = change["to"].as_str().map(|tier| (tier.to_owned(), at)),
                ("segment_change", Some("enter")) => {
                    membership.segments.insert(text(change, "segment").to_owned(), at);
                }
                ("segment_change", Some("exit")) => {
                    let left = membership.segments.remove(text(change, "segment"));
                    assert!(left.is_some(), "left without having entered: {change}");
                }
                _ => panic!("an unknown kind of change: {change}"),
            }
        }
        membership
    }

    fn stated(standing: &Value) -> Self {
        let segments = standing["segments"].as_array().expect("a list of segments").iter();
        Self {
            tier: standing["tier"].as_str().map(|tier| (tier.to_owned(), text(standing, "since").to_owned())),
            segments: segments
                .map(|segment| (text(segment, "name").to_owned(), text(segment, "since").to_owned()))
                .collect(),
            sequence: sequence(standing),
        }
    }

    fn is_empty(&self) -> bool {
        self.tier.is_none() && self.segments.is_empty()
    }
}

/// Every record that is rubbish has one dead letter, and nothing else has.
fn check_dead_letters(deployment: &Deployment) {
    let events = deployment.topic("events");
    let mut expected: BTreeMap<(i32, i64), Record> = deployment
        .read("events")
        .into_iter()
        .filter(|record| record.header(EXPECTED_REASON).is_some())
        .map(|record| ((record.partition, record.offset), record))
        .collect();
    assert!(expected.len() > 100, "there was rubbish among the events");
    for letter in deployment.read("dead-letters") {
        let number = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok());
        let (partition, offset) = (number("tidemark.source.partition"), number("tidemark.source.offset"));
        let place = (partition.expect("a partition") as i32, offset.expect("an offset"));
        let source =
            expected.remove(&place).unwrap_or_else(|| panic!("a second dead letter, or of no rubbish: {letter:?}"));
        assert_eq!(letter.header("tidemark.source.topic"), Some(&*events));
        assert_eq!(letter.header("tidemark.error.reason"), source.header(EXPECTED_REASON), "{letter:?}");
        assert_eq!((letter.key, letter.value), (source.key, source.value), "as received");
    }
    assert!(expected.is_empty(), "no dead letters of {expected:?}");
}
