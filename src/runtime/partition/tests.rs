//! What a partition publishes when it goes live under another model.

use super::*;
use crate::{
    engine::{AccountImage, Remap},
    model::{Change, Event, EventId, Hit, SignalId, Transition},
    runtime::simulation::model::{GRACE, inputs, settings},
    wire::{model_file, time::format_rfc3339},
};

const RISE: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const HOUR_MS: i64 = 3_600_000;

/// An event is worth 60 points, a half of them after a day.
fn model(version: u32, exit: u32) -> Arc<Model> {
    let text = format!(
        "model: m\nversion: {version}\nsignals:\n  - {{ name: visit, match: {{ type: visit }}, points: 60, half_life: 1d }}\n\
         tiers:\n  - {{ name: hot, intent: {{ enter: 60, exit: {exit} }} }}\n"
    );
    model_file::parse(&text, "inline").unwrap().model
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(RISE.millis() + hours * HOUR_MS)
}

/// Acme has risen under a model that lets it fall below 20 points, after 38 hours. Some hours later a
/// process goes live whose model lets it fall below 40, after 14 hours.
fn promoted() -> Owned {
    let mut before = Engine::new(model(1, 20), GRACE);
    let event = Event { account: "acme", id: EventId(1), time: RISE, recorded: RISE, hits: &[Hit::Count(SignalId(0))] };
    before.apply(&event, Mode::Live, RISE, &mut Step::default());
    let digest = before.model().id().digest.to_string();

    let end: Positions = vec![Offset(1), Offset(0)].into();
    let checkpoint = Checkpoint::new(Offset(1), Offset(0), 1, 1, digest, "commit".into());
    let start = Start { from: end.clone(), committed: end.clone(), checkpoint: Some(checkpoint), metadata: Vec::new() };
    let mut owned = Owned::new(Partition(0), model(2, 40), GRACE, inputs(), start);
    let (page, remap) = (page_of(account_hash("acme")), Remap::new(before.schema(), &owned.engine).unwrap());
    let copy = PageCopy { from: Offset(0), parts: 1, reflects: Some(end.clone()) };
    owned.begin_page(page, copy, true);
    let images: Vec<AccountImage<'_>> = before.images(page).collect();
    assert!(images.iter().all(|image| owned.engine.load(image, &remap).is_some()));
    owned.catch_up();
    owned.go_live();
    owned
}

/// A turn of the worker, with nothing left to read.
fn turn(owned: &mut Owned, wall: Timestamp) {
    owned.sought(wall);
    for (input, partition, offset) in owned.positions().collect::<Vec<_>>() {
        owned.reach_end(End { input, partition, offset, undecided: false }, wall);
    }
    owned.pass_time(wall);
    owned.judge_afresh(wall);
}

fn told(owned: &Owned) -> Vec<String> {
    let tell = |change: &Change| match &change.transition {
        Transition::Tier { to, .. } => {
            let to = to.as_deref().unwrap_or("none");
            format!("{} {to} by {}", format_rfc3339(change.effective_at), change.cause.name())
        }
        Transition::Segment { .. } => panic!("no segments"),
    };
    owned.step.changes.iter().map(tell).collect()
}

#[test]
fn a_promoted_model_judges_as_of_now_and_not_as_if_it_had_always_been() {
    let mut owned = promoted();
    let wall = at(30);
    while owned.is_stale() || owned.step.changes.is_empty() {
        turn(&mut owned, wall);
    }
    assert_eq!(told(&owned), [format!("{} none by model", format_rfc3339(wall.back(GRACE)))]);
    assert!(!owned.model_changed());
}

#[test]
fn a_record_finds_its_account_judged_by_the_promoted_model() {
    let mut owned = promoted();
    let mut intake = Intake::new(owned.engine.model().clone(), &settings(1));
    let wall = at(30);
    let value = format!(r#"{{"id":"2","type":"visit","account":"acme","time":"{}"}}"#, format_rfc3339(wall));
    let record = Record {
        input: InputId(0),
        partition: Partition(0),
        offset: Offset(1),
        time: Some(wall),
        key: None,
        value: Some(value.as_bytes()),
    };
    owned.take(&[record], &mut intake, wall, wall);
    let (before, then) = (format_rfc3339(wall.back(GRACE)), format_rfc3339(wall));
    assert_eq!(told(&owned), [format!("{before} none by model"), format!("{then} hot by signal")]);
    (0..100).for_each(|_| turn(&mut owned, wall));
    assert_eq!(told(&owned).len(), 2, "{:?}", told(&owned));
}

/// A partition that reads again from 10 what was committed up to 20 of the events and to 0 of the accounts.
fn catching_up() -> Owned {
    let start = Start {
        from: vec![Offset(10), Offset(0)].into(),
        committed: vec![Offset(20), Offset(0)].into(),
        checkpoint: None,
        metadata: Vec::new(),
    };
    let mut owned = Owned::new(Partition(0), model(1, 20), GRACE, inputs(), start);
    owned.catch_up();
    owned
}

const fn end(offset: i64) -> End {
    End { input: InputId(0), partition: Partition(0), offset: Offset(offset), undecided: false }
}

#[test]
fn an_end_below_what_was_committed_is_none() {
    let mut owned = catching_up();
    owned.reach_end(end(15), at(1));
    assert!(!owned.is_caught_up(), "a replica that is behind would make us skip what it lacks");
    owned.reach_end(end(20), at(1));
    assert!(owned.is_caught_up());
}

#[test]
fn an_end_behind_markers_is_where_reading_goes_on() {
    let mut owned = catching_up();
    owned.reach_end(end(21), at(1));
    owned.go_live();
    owned.take_held(&mut Intake::new(owned.engine.model().clone(), &settings(1)), at(1));
    let next = |owned: &Owned| owned.positions().next().map(|(_, _, offset)| offset);
    assert_eq!(
        (next(&owned), owned.has_work()),
        (Some(Offset(21)), true),
        "it is committed, before retention gets there"
    );
    owned.reach_end(end(23), at(1));
    assert_eq!(next(&owned), Some(Offset(23)));
}

#[test]
fn what_a_transaction_holds_back_holds_the_clock() {
    let mut owned = catching_up();
    owned.go_live();
    owned.sought(at(1));
    owned.reach_end(End { input: InputId(1), offset: Offset(0), ..end(0) }, at(1));
    owned.reach_end(End { undecided: true, ..end(20) }, at(1));
    assert_eq!(owned.clock.advance(at(1)), Timestamp::MIN);
    owned.reach_end(end(21), at(1));
    assert_eq!(owned.clock.advance(at(1)), at(1).back(GRACE));
}

#[test]
fn a_page_is_stored_only_after_it_was_judged_by_the_promoted_model() {
    let mut owned = promoted();
    let page = page_of(account_hash("acme"));
    owned.engine.mark_dirty(page);
    let stored = |owned: &mut Owned| owned.sweep(page, usize::MAX, Offset(1)).len();
    assert_eq!(stored(&mut owned), 0, "it would say that the promoted model has judged it");
    (0..100).for_each(|_| turn(&mut owned, at(30)));
    assert_eq!((owned.is_stale(), stored(&mut owned)), (false, 1));
}
