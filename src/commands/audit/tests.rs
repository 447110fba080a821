//! What an audit makes of changes, standings and dead letters, without a Kafka.

use std::sync::Arc;

use super::{
    alone::Alone,
    changes::Published,
    findings::{Findings, Kind, subject},
    ledger::Ledger,
    letters::{Letter, Letters},
};
use crate::{
    engine::{Engine, Mode, PageId, Step},
    log::{InputId, InputKind, Inputs, OutputTopic, kafka::Scanned},
    model::{Change, Event, EventId, Hit, Model, SignalId, Span, Standing, Timestamp, Transition},
    wire::{
        change::encode_change,
        dead_letter::{Fault, Rejected},
        model_file,
        standing::encode_standing,
    },
};

const MODEL: &str = "
model: test
version: 1
signals:
  - { name: visit, match: { type: visit }, points: 10, half_life: 1h }
tiers:
  - { name: warm, intent: { enter: 10, exit: 5 } }
segments:
  - { name: seen, action: test, signal: visit, count: { min: 1 }, within: 2h }
";
const HOUR: Span = Span::seconds(3600);
const ALWAYS: Timestamp = Timestamp::LATEST;

fn model() -> Arc<Model> {
    model_file::parse(MODEL, "inline").unwrap().model
}

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + hours * HOUR.millis())
}

/// What visits cause, up to `end`; a service that sweeps forgets accounts in between.
fn history(visits: &[(&str, i64)], end: Timestamp, sweeps: bool) -> Vec<Step> {
    let mut engine = Engine::new(model(), Span::ZERO);
    let mut steps = Vec::new();
    for (number, (account, at)) in visits.iter().enumerate() {
        let (mut step, time) = (Step::default(), hour(*at));
        engine.advance(time, usize::MAX, time, &mut step);
        steps.push(std::mem::take(&mut step));
        for page in PageId::all().filter(|_| sweeps) {
            engine.sweep(page, time, &mut step);
        }
        steps.push(std::mem::take(&mut step));
        let hits = [Hit::Count(SignalId(0))];
        let event = Event { account, id: EventId(number as u64), time, recorded: time, hits: &hits };
        engine.apply(&event, Mode::Live, time, &mut step);
        steps.push(step);
    }
    let mut step = Step::default();
    engine.advance(end, usize::MAX, end, &mut step);
    steps.push(step);
    steps
}

/// A record as it stands in a topic of changes.
#[derive(Clone)]
struct Row {
    topic: OutputTopic,
    account: String,
    value: String,
}

impl Row {
    fn of(change: &Change) -> Self {
        let topic = match change.transition {
            Transition::Tier { .. } => OutputTopic::TierChanges,
            Transition::Segment { .. } => OutputTopic::SegmentChanges,
        };
        let mut value = Vec::new();
        encode_change(change, model().id(), &mut value);
        Self { topic, account: change.account.to_string(), value: String::from_utf8(value).unwrap() }
    }

    fn published(&self, offset: usize) -> Published {
        let key = Some(self.account.clone().into_bytes());
        Published::read(self.topic, offset as i64, true, key, Some(self.value.clone().into_bytes())).unwrap()
    }
}

fn rows(steps: &[Step]) -> Vec<Row> {
    steps.iter().flat_map(|step| &step.changes).map(Row::of).collect()
}

/// The last standing of every account, where it holds something.
fn standings(steps: &[Step]) -> Vec<(String, Vec<u8>)> {
    let mut last: std::collections::BTreeMap<String, &Standing> = Default::default();
    last.extend(steps.iter().flat_map(|step| &step.standings).map(|standing| (standing.account.to_string(), standing)));
    let encoded = |(account, standing): (String, &Standing)| {
        let mut value = Vec::new();
        encode_standing(standing, model().id(), &mut value);
        (account, value)
    };
    last.into_iter().map(encoded).collect()
}

/// How far the published changes run ahead of the expected ones.
#[derive(Clone, Copy, Debug)]
enum Pace {
    First,
    InStep,
    Last,
}

/// What a ledger finds, as `account kind what`.
fn audit(
    expected: &[Step],
    rows: &[Row],
    standings: &[(String, Vec<u8>)],
    due: Timestamp,
    pace: Pace,
) -> (Vec<String>, u64) {
    let findings = Findings::new(100, Timestamp::MIN);
    let mut ledger = Ledger::new(model().id().clone(), 0, ALWAYS, findings);
    let mut published = rows.iter().enumerate().map(|(offset, row)| row.published(offset)).peekable();
    if let Pace::First = pace {
        published.by_ref().for_each(|published| ledger.publish(published));
    }
    for mut step in expected.iter().cloned() {
        let latest = step.changes.iter().map(|change| change.effective_at).max().unwrap_or(Timestamp::MIN);
        ledger.expect(&mut step, false);
        if let Pace::InStep = pace {
            while let Some(published) = published.next_if(|published| published.effective_at <= latest) {
                ledger.publish(published);
            }
        }
    }
    published.for_each(|published| ledger.publish(published));
    ledger.published_all(due);
    ledger.close();
    for (offset, (account, value)) in standings.iter().enumerate() {
        ledger.state(account, offset as i64, Some(value));
    }
    let pending = ledger.pending;
    (told(&ledger.finish().0), pending)
}

fn told(findings: &Findings) -> Vec<String> {
    let accounts = findings.accounts.iter();
    let lines = accounts.flat_map(|(account, differences)| {
        differences.iter().map(move |one| format!("{account} {} {}", one.kind.name(), subject(one.topic)))
    });
    lines.collect()
}

const VISITS: [(&str, i64); 5] = [("a", 0), ("b", 1), ("a", 50), ("b", 51), ("c", 100)];

#[test]
fn damage_is_found_whatever_comes_first() {
    let steps = history(&VISITS, hour(101), false);
    let tier_of = |rows: &[Row], account: &str, at: usize| {
        let of_account = |row: &&Row| row.account == account && row.topic == OutputTopic::TierChanges;
        let row = rows.iter().filter(of_account).nth(at).unwrap().value.clone();
        rows.iter().position(|other| other.value == row).unwrap()
    };
    type Damage = fn(&mut Vec<Row>, usize, usize);
    let cases: [(Damage, &[&str]); 7] = [
        (|_, _, _| (), &[]),
        (|rows, first, _| drop(rows.remove(first)), &["a missing tier change"]),
        (|rows, first, _| rows.insert(first, rows[first].clone()), &["a doubled tier change"]),
        (|rows, first, second| rows.swap(first, second), &["a out_of_order tier change"]),
        (
            |rows, first, _| rows[first].value = rows[first].value.replace("\"intent\":10.0", "\"intent\":11.0"),
            &["a different tier change"],
        ),
        (
            |rows, first, _| rows[first].value = rows[first].value.replace("\"account\":\"a\"", "\"account\":\"z\""),
            &["a missing tier change", "z unexpected tier change"],
        ),
        (|rows, first, _| rows[first].account = "z".into(), &["a different tier change"]),
    ];
    for (number, (damage, expected)) in cases.into_iter().enumerate() {
        let mut rows = rows(&steps);
        let (first, second) = (tier_of(&rows, "a", 0), tier_of(&rows, "a", 1));
        damage(&mut rows, first, second);
        for pace in [Pace::First, Pace::InStep, Pace::Last] {
            let (found, _) = audit(&steps, &rows, &standings(&steps), ALWAYS, pace);
            assert_eq!(found, expected, "case {number}, {pace:?}");
        }
    }
}

#[test]
fn what_is_added_to_a_change_and_when_it_was_detected_does_not_matter() {
    let mut steps = history(&VISITS, hour(101), false);
    let as_decided = rows(&steps);
    for change in steps.iter_mut().flat_map(|step| &mut step.changes) {
        change.detected_at = change.detected_at + Span::seconds(3);
    }
    let detected_later = rows(&steps);
    assert_ne!(as_decided[0].value, detected_later[0].value);
    let extended = |row: &Row| Row { value: row.value.replacen('{', r#"{ "added": 1, "#, 1), ..row.clone() };
    let extended = as_decided.iter().map(extended).collect();
    for published in [as_decided, detected_later, extended] {
        let (found, _) = audit(&steps, &published, &standings(&steps), ALWAYS, Pace::InStep);
        assert_eq!(found, [""; 0]);
    }
}

#[test]
fn standings_are_those_that_the_changes_lead_to() {
    let (steps, visits) = (history(&VISITS, hour(101), false), "c");
    let all = standings(&steps);
    let held: Vec<_> = all.iter().filter(|(account, _)| account == visits).cloned().collect();
    let found = |standings: &[(String, Vec<u8>)]| audit(&steps, &rows(&steps), standings, ALWAYS, Pace::InStep).0;
    assert_eq!(found(&all), [""; 0]);
    assert_eq!(found(&held), [""; 0], "who holds nothing may be forgotten");
    assert_eq!(found(&[]), ["c missing standing"]);
    let altered = String::from_utf8(held[0].1.clone()).unwrap().replace("warm", "cold").into_bytes();
    assert_eq!(found(&[("c".into(), altered.clone())]), ["c different standing"]);
    let stray = String::from_utf8(altered).unwrap().replace("\"c\"", "\"z\"").into_bytes();
    assert_eq!(found(&[held[0].clone(), ("z".into(), stray)]), ["z unexpected standing"]);
}

#[test]
fn who_is_forgotten_at_another_time_is_let_pass() {
    let visits = [("a", 0), ("a", 1), ("a", 1000), ("a", 1001), ("b", 1002)];
    let [kept, forgot] = [false, true].map(|sweeps| history(&visits, hour(1100), sweeps));
    assert_ne!(rows(&kept).len(), 0);
    let nulls = |steps: &[Step]| rows(steps).iter().filter(|row| row.value.ends_with("sequence\":null}")).count();
    assert!(nulls(&kept) < nulls(&forgot), "something was forgotten");
    for pace in [Pace::First, Pace::InStep, Pace::Last] {
        assert_eq!(audit(&kept, &rows(&forgot), &standings(&forgot), ALWAYS, pace).0, [""; 0], "{pace:?}");
        assert_eq!(audit(&forgot, &rows(&kept), &standings(&kept), ALWAYS, pace).0, [""; 0], "{pace:?}");
    }
    // The topics need not be in step.
    let mut segments_first = rows(&forgot);
    segments_first.sort_by_key(|row| row.topic == OutputTopic::TierChanges);
    for pace in [Pace::First, Pace::Last] {
        assert_eq!(audit(&kept, &segments_first, &standings(&forgot), ALWAYS, pace).0, [""; 0], "{pace:?}");
    }
    let counted = |rows: Vec<Row>| {
        let count = |row: Row| Row { value: row.value.replace("\"count\":4", "\"count\":9"), ..row };
        rows.into_iter().map(count).collect::<Vec<_>>()
    };
    let altered = audit(&kept, &counted(rows(&kept)), &standings(&kept), ALWAYS, Pace::InStep).0;
    assert!(altered.contains(&"a different tier change".to_owned()), "a count is compared otherwise: {altered:?}");
    // Whoever holds something cannot have been forgotten.
    let mut rows = rows(&kept);
    let held = rows.iter().position(|row| row.value.contains("\"to\":null")).unwrap();
    let previous = rows[held].value.find("\"previous_sequence\"").unwrap();
    rows[held].value = rows[held].value[..previous].to_owned() + "\"previous_sequence\":null}";
    assert_eq!(audit(&kept, &rows, &standings(&kept), ALWAYS, Pace::InStep).0, ["a different tier change"]);
}

#[test]
fn a_fall_need_not_be_there_before_it_is_due() {
    let steps = history(&[("a", 0)], hour(10), false);
    let rise: Vec<Row> = rows(&steps)[..2].to_vec();
    assert_eq!(audit(&steps, &rise, &[], hour(0), Pace::InStep), (vec![], 2), "pending");
    let after_decay = audit(&steps, &rise, &[], hour(1) + Span::seconds(1), Pace::InStep);
    assert_eq!(after_decay, (vec!["a missing tier change".to_owned()], 1));
    // What came later shows that it was passed over.
    let mut passed = rows(&history(&[("a", 0), ("a", 5)], hour(6), false));
    passed.retain(|row| !row.value.contains("\"decay\""));
    let steps = history(&[("a", 0), ("a", 5)], hour(6), false);
    let (found, _) = audit(&steps, &passed, &[], hour(0), Pace::InStep);
    assert!(found.starts_with(&["a missing tier change".to_owned()]), "{found:?}");
}

#[test]
fn every_record_that_cannot_be_used_has_one_letter() {
    let inputs = Inputs(vec![("events".into(), InputKind::Events)]);
    let record =
        |offset| Scanned { offset, key: Some(b"a".to_vec()), value: Some(b"x".to_vec()), ..Scanned::default() };
    let rejected = Rejected::new(Fault::Malformed, "$", "no JSON");
    let letter = |of: i64, value: &[u8]| {
        let headers = [
            ("tidemark.error.reason", "malformed".to_owned()),
            ("tidemark.error.path", "$".to_owned()),
            ("tidemark.source.topic", "events".to_owned()),
            ("tidemark.source.partition", "0".to_owned()),
            ("tidemark.source.offset", of.to_string()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).to_vec();
        let letter = Scanned { headers, value: Some(value.to_vec()), ..record(of) };
        Letter::read(&letter, 0, &inputs).unwrap()
    };
    let found = |letters: &[(i64, &[u8])], letters_first: bool| {
        let (mut books, mut findings) = (Letters::default(), Findings::new(100, Timestamp::MIN));
        let take = |books: &mut Letters, findings: &mut Findings| {
            letters.iter().for_each(|(of, value)| books.take(letter(*of, value), 0, findings));
        };
        if letters_first {
            take(&mut books, &mut findings);
        }
        for (offset, committed) in [(3, true), (5, true), (7, false)] {
            let place = (InputId(0), offset);
            books.expect(place, &record(offset), &rejected, committed, 0, &mut findings);
        }
        if !letters_first {
            take(&mut books, &mut findings);
        }
        books.close(true, 0, &inputs, &mut findings);
        told(&findings)
    };
    for letters_first in [false, true] {
        let found = |letters: &[(i64, &[u8])]| found(letters, letters_first);
        assert_eq!(found(&[(3, b"x"), (5, b"x")]), [""; 0], "the last one is not committed");
        assert_eq!(found(&[(3, b"x"), (5, b"x"), (7, b"x")]), [""; 0]);
        assert_eq!(found(&[(3, b"x")]), ["a missing dead letter"]);
        assert_eq!(found(&[(3, b"x"), (3, b"x"), (5, b"x")]), ["a doubled dead letter"]);
        assert_eq!(found(&[(3, b"x"), (4, b"x"), (5, b"x")]), ["a unexpected dead letter"]);
        assert_eq!(found(&[(3, b"y"), (5, b"x")]), ["a different dead letter"]);
    }
}

#[test]
fn what_is_not_told_is_counted() {
    let mut findings = Findings::new(1, Timestamp::MIN);
    let steps = history(&VISITS, hour(101), false);
    let mut ledger = Ledger::new(model().id().clone(), 0, ALWAYS, Findings::new(1, Timestamp::MIN));
    steps.into_iter().for_each(|mut step| ledger.expect(&mut step, true));
    ledger.published_all(ALWAYS);
    ledger.close();
    findings.merge(ledger.findings.clone());
    findings.merge(ledger.findings);
    let missing = findings.counts[Kind::Missing as usize];
    let told: usize = findings.accounts.values().map(Vec::len).sum();
    assert_eq!(findings.accounts.len(), 1);
    assert_eq!(missing, told as u64 + findings.untold);
    assert!(missing > 20, "{missing}");
}

#[test]
fn without_inputs_the_changes_must_still_agree_with_each_other() {
    let steps = history(&VISITS, hour(101), false);
    let found = |rows: &[Row], standings: &[(String, Vec<u8>)]| {
        let mut alone = Alone::new(0, ALWAYS, Findings::new(100, Timestamp::MIN));
        rows.iter().enumerate().for_each(|(offset, row)| alone.take(&row.published(offset)));
        for (offset, (account, value)) in standings.iter().enumerate() {
            alone.state(account, offset as i64, Some(value));
        }
        told(&alone.finish())
    };
    let (rows, standings) = (rows(&steps), standings(&steps));
    let of_a = |row: &&Row| row.account == "a" && row.topic == OutputTopic::TierChanges;
    let tiers: Vec<Row> = rows.iter().filter(of_a).cloned().collect();
    assert_eq!(found(&rows, &standings), [""; 0]);
    let removed = [&tiers[..1], &tiers[2..]].concat();
    assert_eq!(found(&removed, &standings), ["a different tier change"]);
    let doubled = [&tiers[..2], &tiers[1..]].concat();
    assert_eq!(found(&doubled, &standings), ["a doubled tier change"]);
    let late = [&tiers[1..], &tiers[..1]].concat();
    assert!(found(&late, &standings).contains(&"a out_of_order tier change".to_owned()));
    assert_eq!(found(&rows, &[]), ["c different standing"]);
}
