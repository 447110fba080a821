//! What every test of the promise asks in the end, whatever has happened meanwhile: the changes that
//! readers of committed transactions see are those of a replay, change by change; the standings are
//! what the changes add up to; every record that is rubbish has one dead letter. `tidemark audit`,
//! which users have for the same question, must say so too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tidemark::{
    model::Timestamp,
    wire::{
        dead_letter::{KEY_OMITTED, VALUE_OMITTED},
        time::format_rfc3339,
    },
};

use super::{
    deployment::Deployment,
    poll_until, tidemark as cli,
    topics::{self, Isolation, Record},
    visits, wait_until,
};

/// Names, on a record that is rubbish, the reason that its dead letter must give.
pub const EXPECTED_REASON: &str = "expected-reason";

/// What a dead letter carries is left out only if it is large.
const OMITTED_FROM: usize = 400_000;

/// Accounts that [`Reference::check`] leaves aside: their events come while the test runs, to see
/// whether they get through.
const FRESH: &str = "fresh-";

/// Every change of an account in the order of its sequence, without the moment of detection.
type History = BTreeMap<String, Vec<Value>>;

/// What must be published.
pub struct Reference {
    history: History,
}

/// What was found; all of it is as it must be.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Published changes.
    pub changes: usize,
    /// Accounts that were forgotten between two of their changes.
    pub forgotten: usize,
    /// Accounts that hold a tier or a segment now.
    pub held: usize,
    pub dead_letters: usize,
}

impl Reference {
    /// What `tidemark replay` says about a file of events under a model, settled up to `until`.
    pub fn replay(model: &str, grace: &str, events: &str, until: Timestamp) -> Self {
        let until = format_rfc3339(until);
        let printed = cli::run_well(&["replay", "--model", model, "--grace", grace, "--until", &until, events]);
        Self { history: history(printed.lines().map(|line| serde_json::from_str(line).expect("a change a line"))) }
    }

    /// How many changes must be published.
    pub fn change_count(&self) -> usize {
        change_count(&self.history)
    }

    /// Waits until the events are done and there are as many changes as there must be. Whether they
    /// are the right ones is seen when nothing can come any more.
    pub fn await_published(&self, deployment: &Deployment, limit: Duration) {
        let wanted = self.change_count();
        let mut counted_at = 0;
        let all_there = || {
            // The offsets are cheap to ask for, and there cannot be more records than offsets.
            let offsets = deployment.change_offsets();
            if offsets < wanted as i64 || offsets == counted_at || !deployment.is_drained() {
                return None;
            }
            counted_at = offsets;
            (published_count(deployment) >= wanted).then_some(())
        };
        if poll_until(limit, all_there).is_none() {
            self.check_changes(deployment);
            panic!("all changes are there, but the group has not committed the end of the events");
        }
    }

    /// Compares what is in the log with what must be there. All processes have ended: what is there
    /// now is what they did.
    pub fn check(&self, deployment: &Deployment) -> Found {
        assert!(deployment.is_drained(), "all events are done");
        let forgotten = self.check_changes(deployment);
        let held = check_standings(deployment);
        let dead_letters = check_dead_letters(deployment);
        deployment.audit(&[]).expect_clean();
        let all = topics::read(deployment.broker(), &deployment.topic("tier-changes"), Isolation::Uncommitted).len();
        let committed = deployment.read("tier-changes").len();
        let found = Found { changes: self.change_count(), forgotten, held, dead_letters };
        eprintln!("{found:?}; {committed} tier changes in committed transactions, {} in aborted ones", all - committed);
        found
    }

    fn check_changes(&self, deployment: &Deployment) -> usize {
        let (published, replayed) = (published(deployment), &self.history);
        let mut forgotten = 0;
        for (account, changes) in &published {
            let expected =
                replayed.get(account).unwrap_or_else(|| panic!("no changes of {account} expected: {changes:#?}"));
            forgotten += usize::from(check_account(account, changes, expected));
            assert_eq!(changes.len(), expected.len(), "number of changes of {account}");
        }
        let missing: Vec<&String> = replayed.keys().filter(|account| !published.contains_key(*account)).collect();
        assert!(missing.is_empty(), "no changes of {missing:?}");
        forgotten
    }
}

/// The time of this machine.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is set");
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}

/// Sends an event that gives an account a tier, and waits until a reader sees the change.
pub fn check_fresh_event(deployment: &Deployment, limit: Duration) {
    let known: BTreeSet<String> = fresh_accounts(deployment);
    let (account, time) = (format!("{FRESH}{}", known.len()), now().millis());
    let line = visits::page_view(&account, &account, time, "/about");
    let writer = topics::Writer::plain(deployment.broker());
    writer.send(&deployment.topic("events"), &visits::event_record(&line));
    writer.flush();
    wait_until("the change that a fresh event causes", limit, || {
        fresh_accounts(deployment).contains(&account).then_some(())
    });
}

fn fresh_accounts(deployment: &Deployment) -> BTreeSet<String> {
    let records = deployment.read("tier-changes");
    records.iter().map(|record| record.key_text().to_owned()).filter(|account| account.starts_with(FRESH)).collect()
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

/// How many changes a reader of committed transactions sees.
fn published_count(deployment: &Deployment) -> usize {
    let records = ["tier-changes", "segment-changes"].into_iter().flat_map(|topic| deployment.read(topic));
    records.filter(|record| !record.key_text().starts_with(FRESH)).count()
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
    let mut history = history(records.iter().map(|record| {
        let change = record.json();
        assert_eq!(record.key_text(), text(&change, "account"), "the key is the account");
        change
    }));
    history.retain(|account, _| !account.starts_with(FRESH));
    history
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

/// Membership as a consumer of the changes holds it, and as the standings say it, are the same. Gives
/// the number of accounts that hold something.
fn check_standings(deployment: &Deployment) -> usize {
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
    standings.retain(|account, membership| !membership.is_empty() && !account.starts_with(FRESH));
    assert_eq!(standings, followed, "left is what the standings say, right what the changes add up to");
    followed.len()
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

/// Every record that is rubbish has one dead letter, and nothing else has. Gives their number.
fn check_dead_letters(deployment: &Deployment) -> usize {
    let events = deployment.topic("events");
    let mut expected: BTreeMap<(i32, i64), Record> = deployment
        .read("events")
        .into_iter()
        .filter(|record| record.header(EXPECTED_REASON).is_some())
        .map(|record| ((record.partition, record.offset), record))
        .collect();
    let count = expected.len();
    for letter in deployment.read("dead-letters") {
        let number = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok());
        let (partition, offset) = (number("tidemark.source.partition"), number("tidemark.source.offset"));
        let place = (partition.expect("a partition") as i32, offset.expect("an offset"));
        let source =
            expected.remove(&place).unwrap_or_else(|| panic!("a second dead letter, or of no rubbish: {letter:?}"));
        assert_eq!(letter.header("tidemark.source.topic"), Some(&*events));
        assert_eq!(letter.header("tidemark.error.reason"), source.header(EXPECTED_REASON), "{letter:?}");
        check_bytes(&letter.key, &source.key, letter.header(KEY_OMITTED));
        check_bytes(&letter.value, &source.value, letter.header(VALUE_OMITTED));
    }
    assert!(expected.is_empty(), "no dead letters of {:?}", expected.keys());
    count
}

/// Key or value of a dead letter are as received, or it says how many bytes it lacks.
fn check_bytes(letter: &Option<Vec<u8>>, source: &Option<Vec<u8>>, omitted: Option<&str>) {
    let Some(omitted) = omitted else {
        assert!(letter == source, "{} bytes in a dead letter are not as received", source.as_ref().map_or(0, Vec::len));
        return;
    };
    let length = source.as_ref().expect("there was something to leave out").len();
    assert!(letter.is_none() && length > OMITTED_FROM, "{length} bytes are left out");
    assert_eq!(omitted, format!("omitted, {length} bytes"));
}
