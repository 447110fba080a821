//! `tidemark audit` on a real Kafka: it finds nothing where there is nothing, and each thing that is
//! wrong where something is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tidemark::wire::time::format_rfc3339;

use crate::support::{
    deployment::{Audited, Deployment, Plan},
    kafka::Broker,
    topics::{self, Record, Writer},
    verdict, visits,
};

mod support;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-model.yaml");
const OTHER_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/models/default.yaml");
const LIMIT: Duration = Duration::from_secs(240);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 2;

/// Grace covers the disorder of the visits; pages are written often, so that accounts are forgotten.
const SETTINGS: &str = "time: { grace: 60s }
state: { checkpoint_interval: 1s }
commit: { interval: 100ms, max_records: 200 }
";

fn deploy(broker: &'static Broker, name: &str) -> Deployment {
    Deployment::new(
        broker,
        &Plan { name, model: MODEL, partitions: PARTITIONS, workers: 2, settings: SETTINGS, events: &[] },
    )
}

/// Lets the service work off the visits, with rubbish among them, and stop.
fn deploy_done(broker: &'static Broker, name: &str) -> Deployment {
    let deployment = deploy(broker, name);
    let (events, writer) = (deployment.topic("events"), Writer::plain(broker));
    for (number, visit) in visits::records().iter().enumerate() {
        writer.send(&events, visit);
        if number % 101 == 0 {
            writer.send(&events, &Record { value: Some(b"rubbish".to_vec()), ..visit.clone() });
        }
    }
    writer.flush();
    let mut process = deployment.start("only");
    deployment.wait_drained(LIMIT);
    // An audit beside the service, which still works.
    deployment.audit(&["--settle", "1h"]).expect_clean();
    support::wait_until("all falls until now", LIMIT, || {
        (deployment.audit(&["--until", &now()]).code == Some(0)).then_some(())
    });
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
    deployment
}

fn now() -> String {
    format_rfc3339(verdict::now())
}

/// What differs, as `kind what`, by account.
type Found = BTreeMap<String, Vec<String>>;

fn found(audited: &Audited) -> Found {
    let report = json(audited);
    let accounts = report["accounts"].as_array().expect("a list of accounts").iter();
    accounts
        .map(|account| {
            let differences = account["differences"].as_array().expect("a list of differences").iter();
            let tell = |one: &Value| format!("{} {}", text(one, "kind"), text(one, "what"));
            (text(account, "account").to_owned(), differences.map(tell).collect())
        })
        .collect()
}

fn json(audited: &Audited) -> Value {
    let Audited { report, errors, .. } = audited;
    serde_json::from_str(report).unwrap_or_else(|error| panic!("no JSON ({error}):\n{report}{errors}"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` is not a text in {value}"))
}

/// The outputs of a deployment, read to be doctored.
struct Copies {
    tiers: Vec<Record>,
    segments: Vec<Record>,
    standings: Vec<Record>,
    letters: Vec<Record>,
    /// Accounts that were doctored, and what an audit must find about them.
    expected: Found,
}

impl Copies {
    fn of(deployment: &Deployment) -> Self {
        let read = |topic| deployment.read(topic);
        Self {
            tiers: read("tier-changes"),
            segments: read("segment-changes"),
            standings: read("standings"),
            letters: read("dead-letters"),
            expected: Found::new(),
        }
    }

    /// Takes an account that was not doctored yet and has at least so many of these records.
    fn pick(&mut self, records: fn(&Self) -> &[Record], least: usize, finding: &str) -> (String, Vec<usize>) {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, record) in records(self).iter().enumerate() {
            places.entry(record.key_text()).or_default().push(at);
        }
        let fresh = |(account, at): &(&&str, &Vec<usize>)| at.len() >= least && !self.expected.contains_key(**account);
        let (account, at) = places.iter().find(fresh).unwrap_or_else(|| panic!("no account for: {finding}"));
        let (account, at) = ((*account).to_owned(), at.clone());
        self.expected.insert(account.clone(), vec![finding.to_owned()]);
        (account, at)
    }

    /// An account whose last standing says that it holds a tier, and where that stands.
    fn pick_holder(&mut self, finding: &str) -> (String, usize) {
        let last: BTreeMap<&str, usize> =
            self.standings.iter().enumerate().map(|(at, record)| (record.key_text(), at)).collect();
        let holds = |at: usize| self.standings[at].value.is_some() && self.standings[at].json()["tier"].is_string();
        let fresh = last.into_iter().find(|(account, at)| !self.expected.contains_key(*account) && holds(*at));
        let (account, at) = fresh.unwrap_or_else(|| panic!("no holder for: {finding}"));
        let account = account.to_owned();
        self.expected.insert(account.clone(), vec![finding.to_owned()]);
        (account, at)
    }

    fn write(&self, broker: &Broker, deployment: &Deployment) -> Vec<(&'static str, String)> {
        let outputs = [
            ("tier-changes", &self.tiers),
            ("segment-changes", &self.segments),
            ("standings", &self.standings),
            ("dead-letters", &self.letters),
        ];
        let writer = Writer::plain(broker);
        let names = outputs.map(|(topic, records)| {
            let copy = format!("{}-copy", deployment.topic(topic));
            topics::create(broker, &[&copy], PARTITIONS, &[("retention.ms", "-1")]);
            records.iter().for_each(|record| writer.send(&copy, record));
            (topic, copy)
        });
        writer.flush();
        names.into()
    }
}

fn alter(record: &mut Record, field: &str, to: Value) {
    let mut value = record.json();
    assert_ne!(value[field], to, "the field must change");
    value[field] = to;
    record.value = Some(value.to_string().into_bytes());
}

#[test]
fn every_kind_of_damage_is_found_and_nothing_else() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy_done(broker, "damage");
    check_clean(broker, &deployment);

    let mut copies = Copies::of(&deployment);
    copies.damage();
    let names = copies.write(broker, &deployment);
    let instead: Vec<(&str, &str)> = names.iter().map(|(topic, copy)| (*topic, &**copy)).collect();
    let damaged = deployment.audit_topics(&instead, &["--format", "json", "--limit", "100"]);
    assert_eq!(damaged.code, Some(1), "{damaged:?}");
    assert_eq!(found(&damaged), copies.expected, "left is found, right is what was done\n{}", damaged.report);

    check_partitions(&deployment, &instead, &damaged);
    check_range(&deployment, &instead, &damaged);
    check_text(&deployment, &instead);
}

/// Nothing is found, nothing is touched, and little is in memory.
fn check_clean(broker: &Broker, deployment: &Deployment) {
    let topics = ["events", "accounts", "tier-changes", "segment-changes", "standings", "dead-letters", "state"];
    let state = || {
        let ends = topics.map(|topic| topics::ends(broker, &deployment.topic(topic)));
        let committed = topics::committed(broker, deployment.group(), &deployment.topic("events"));
        (ends, committed)
    };
    let before = state();
    let report = deployment.audit(&[]).expect_clean();
    assert!(report.contains("\nclean: "), "{report}");
    assert_eq!(state(), before, "an audit only reads");

    let report = json(&deployment.audit(&["--format", "json"]));
    for partition in report["partitions"].as_array().expect("a list of partitions") {
        let number = |field: &str| partition[field].as_u64().unwrap_or_else(|| panic!("{field}: {partition}"));
        assert!(number("changes") > 1000 && number("dead_letters") > 10, "{partition}");
        assert!(number("out_of_step_max") * 10 < number("changes"), "it streams: {partition}");
    }
}

/// Each partition alone finds its share.
fn check_partitions(deployment: &Deployment, instead: &[(&str, &str)], damaged: &Audited) {
    let mut together = Found::new();
    for partition in 0..PARTITIONS {
        let one = deployment
            .audit_topics(instead, &["--partition", &partition.to_string(), "--format", "json", "--limit", "100"]);
        let report = json(&one);
        assert_eq!(report["partitions"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["partitions"][0]["partition"], json!(partition));
        together.extend(found(&one));
    }
    assert_eq!(together, found(damaged));
    let beyond = deployment.audit(&["--partition", "2"]);
    assert_eq!(beyond.code, Some(78), "{beyond:?}");
}

/// Only differences that take effect within the range are reported.
fn check_range(deployment: &Deployment, instead: &[(&str, &str)], damaged: &Audited) {
    let times = times(damaged);
    let middle = &times[times.len() / 2];
    let within = |arguments: &[&str]| {
        let all = [&["--format", "json", "--limit", "100"], arguments].concat();
        self::times(&deployment.audit_topics(instead, &all))
    };
    let at = times.partition_point(|time| time < middle);
    assert_eq!(within(&["--from", middle]), times[at..], "from {middle}");
    let after = times.partition_point(|time| time <= middle);
    assert_eq!(within(&["--until", middle]), times[..after], "until {middle}");
}

/// When what differs takes effect, in order. What is out of order is left out: it takes two, and one
/// of them may lie outside of a range.
fn times(audited: &Audited) -> Vec<String> {
    let report = json(audited);
    let accounts = report["accounts"].as_array().expect("a list of accounts").iter();
    let differences = accounts.flat_map(|account| account["differences"].as_array().expect("a list"));
    let alone = differences.filter(|one| one["kind"] != "out_of_order");
    let mut times: Vec<String> = alone.filter_map(|one| one["effective_at"].as_str()).map(str::to_owned).collect();
    times.sort();
    times
}

/// What a person reads.
fn check_text(deployment: &Deployment, instead: &[(&str, &str)]) {
    eprintln!("{}", deployment.audit_topics(&instead[1..2], &[]).report);
    let told = deployment.audit_topics(instead, &["--limit", "3"]);
    assert_eq!(told.code, Some(1));
    eprintln!("{}", told.report);
    assert!(told.report.contains(" more differences are not told: raise --limit"), "{}", told.report);
    assert!(
        told.report.contains("\ndifferences: 4 missing, 2 doubled, 1 out_of_order, 5 different"),
        "{}",
        told.report
    );
}

impl Copies {
    /// Does one thing to each of some accounts.
    fn damage(&mut self) {
        let (_, at) = self.pick(|copies| &copies.tiers, 4, "missing tier change");
        self.tiers.remove(at[1]);
        let (_, at) = self.pick(|copies| &copies.segments, 2, "missing segment change");
        self.segments.remove(at[1]);
        let (_, at) = self.pick(|copies| &copies.tiers, 4, "doubled tier change");
        self.tiers.insert(at[2], self.tiers[at[1]].clone());
        let (_, at) = self.pick(|copies| &copies.tiers, 4, "out_of_order tier change");
        self.tiers.swap(at[1], at[2]);
        let (_, at) = self.pick(|copies| &copies.tiers, 4, "different tier change");
        alter(&mut self.tiers[at[2]], "intent", json!(99.5));
        let (_, at) = self.pick(|copies| &copies.tiers, 4, "different tier change");
        alter(&mut self.tiers[at[1]], "sequence", json!(1_431_857_103_001_i64));
        let (_, at) = self.pick(|copies| &copies.segments, 2, "different segment change");
        alter(&mut self.segments[at[0]], "segment", json!("nobody"));
        let (_, at) = self.pick(|copies| &copies.tiers, 2, "unexpected tier change");
        let mut invented = self.tiers[at[1]].clone();
        let sequence = invented.json()["sequence"].as_i64().expect("a sequence") + 1;
        alter(&mut invented, "sequence", json!(sequence));
        alter(&mut invented, "effective_at", json!("2015-05-20T12:00:00.000Z"));
        self.tiers.insert(at[1] + 1, invented);
        self.damage_standings();
        self.damage_letters();
    }

    /// Doubles a change in the partition whose inputs are shortened.
    fn double(&mut self) {
        let at = self.tiers.iter().position(|record| record.partition == 0).expect("a change in partition 0");
        let account = self.tiers[at].key_text().to_owned();
        self.tiers.insert(at, self.tiers[at].clone());
        self.expected.insert(account, vec!["doubled tier change".to_owned()]);
    }

    fn damage_standings(&mut self) {
        let (account, _) = self.pick_holder("missing standing");
        self.standings.retain(|record| record.key_text() != account);
        let (_, at) = self.pick_holder("different standing");
        alter(&mut self.standings[at], "tier", json!("tier_0"));
    }

    fn damage_letters(&mut self) {
        let (_, at) = self.pick(|copies| &copies.letters, 1, "missing dead letter");
        self.letters.remove(at[0]);
        let (_, at) = self.pick(|copies| &copies.letters, 1, "doubled dead letter");
        self.letters.insert(at[0], self.letters[at[0]].clone());
        let (_, at) = self.pick(|copies| &copies.letters, 1, "different dead letter");
        self.letters[at[0]].value = Some(b"other rubbish".to_vec());
    }
}

#[test]
fn what_cannot_be_audited_is_refused_with_the_reason() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy_done(broker, "refused");

    let other = deployment.audit(&["--model", OTHER_MODEL]);
    assert_eq!(other.code, Some(65), "{other:?}");
    assert!(other.report.contains("holds changes of another model: digest "), "{}", other.report);

    topics::delete_before(broker, &deployment.topic("events"), 0, 10);
    let shortened = deployment.audit(&["--format", "json"]);
    assert_eq!(shortened.code, Some(65), "{shortened:?}");
    let report = json(&shortened);
    let [first, second] = [0, 1].map(|at| report["partitions"][at].clone());
    assert!(text(&first, "refused").contains("begins at offset 10: retention has removed events"), "{first}");
    assert!(first["changes"].as_u64() > Some(1000), "the changes are checked by themselves: {first}");
    assert!(second["clean"] == json!(true) && second["refused"] == json!(null), "{second}");

    let mut copies = Copies::of(&deployment);
    copies.double();
    let names = copies.write(broker, &deployment);
    let instead: Vec<(&str, &str)> = names.iter().map(|(topic, copy)| (*topic, &**copy)).collect();
    let doubled = deployment.audit_topics(&instead, &["--format", "json"]);
    assert_eq!((doubled.code, found(&doubled)), (Some(1), copies.expected), "{}", doubled.report);

    let nowhere = deployment.audit_topics(&[("standings", "no.such.topic")], &[]);
    assert_eq!(nowhere.code, Some(78), "{nowhere:?}");
    assert!(nowhere.errors.contains("no.such.topic"), "{}", nowhere.errors);
}

/// What is alive now, with half-lives of a second.
const QUICK_MODEL: &str = "
model: quick
version: 1
signals:
  - { name: visit, match: { type: page_view }, points: 10, half_life: 1s }
tiers:
  - { name: hot, intent: { enter: 20, exit: 10 } }
  - { name: warm, intent: { enter: 10, exit: 5 } }
segments:
  - { name: visited, action: test, signal: visit, count: { min: 2 }, within: 2s }
";

#[test]
fn a_running_service_is_clean_at_every_moment() {
    let Some(broker) = Broker::shared() else { return };
    let model = tempfile::NamedTempFile::new().expect("a file for the model");
    std::fs::write(&model, QUICK_MODEL).expect("the model is written");
    let path = model.path().to_str().expect("the path is text");
    // However slow the machine is, no event is late.
    let settings = "time: { grace: 60s }\nstate: { checkpoint_interval: 1s }\n";
    let plan = Plan { name: "running", model: path, partitions: PARTITIONS, workers: 2, settings, events: &[] };
    let deployment = Deployment::new(broker, &plan);
    let mut process = deployment.start("only");

    let (stop, events) = (AtomicBool::new(false), deployment.topic("events"));
    std::thread::scope(|scope| {
        scope.spawn(|| send_visits(broker, &events, &stop));
        let mut compared = BTreeSet::new();
        support::wait_until("audits that have something more to compare each", LIMIT, || {
            let audited = deployment.audit(&["--settle", "1h", "--format", "json"]);
            let report = json(&audited);
            if audited.code != Some(0) {
                stop.store(true, Ordering::Relaxed);
                panic!("after {compared:?}: {report:#}{}", audited.errors);
            }
            let changes = report["partitions"].as_array().expect("a list").iter();
            compared.insert(changes.map(|one| one["changes"].as_u64().expect("a number")).sum::<u64>());
            (compared.len() > 4).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    deployment.wait_drained(LIMIT);
    deployment.audit(&["--settle", "1h"]).expect_clean();
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
    deployment.audit(&[]).expect_clean();
}

/// Visits of a few accounts, as they happen, until told to stop.
fn send_visits(broker: &Broker, events: &str, stop: &AtomicBool) {
    let writer = Writer::plain(broker);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let account = format!("account-{}", fastrand::u32(..40));
        writer.send(
            events,
            &visits::event_record(&visits::event_line(&format!("visit-{number}"), &account, verdict::now().millis())),
        );
        // Also paces it: the broker has it before the next one is made.
        writer.flush();
    }
}
