//! The demo's traffic under the default model: it shows what there is to see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use super::{
    DEFAULT_MODEL, HISTORY_HOURS,
    journeys::{DAY, HOUR, after},
    traffic::{Topic, Traffic},
};
use crate::{
    engine::{Engine, Mode, Step},
    model::{Cause, Change, Op, Span, Timestamp, Transition},
    wire::{
        attributes::AttributeDecoder,
        event::{Decoded, Decoder, PersonKey, RawRecord},
        model_file,
    },
};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn days(days: i64) -> Timestamp {
    after(START, days * DAY)
}

/// What became of the traffic of some days under the default model.
#[derive(Default)]
struct Outcome {
    changes: Vec<Change>,
    ignored: u64,
    dead_letters: BTreeSet<String>,
    duplicates: u64,
    late: u64,
}

fn score(seed: u64, accounts: usize, until: i64) -> Outcome {
    let model = model_file::parse(DEFAULT_MODEL, "config/models/default.yaml").unwrap().model;
    let mut events = Decoder::new(model.clone(), PersonKey::from_secret("test"), Span::seconds(300));
    let mut attributes = AttributeDecoder::new(model.clone());
    let mut engine = Engine::new(model, Span::seconds(12 * 3600));
    let (mut step, mut outcome) = (Step::default(), Outcome::default());
    for record in Traffic::new(seed, accounts, START).next_until(days(until)) {
        let now = record.time;
        let raw = RawRecord { key: Some(record.key.as_bytes()), value: Some(&record.value), recorded: Some(now) };
        match record.topic {
            Topic::Accounts => {
                engine.apply_attributes(&attributes.decode(raw).unwrap(), Mode::Live, now, &mut step);
            }
            Topic::Events => match events.decode(raw) {
                Ok(Decoded::Event(event)) => engine.apply(&event, Mode::Live, now, &mut step),
                Ok(Decoded::Ignored { .. }) => outcome.ignored += 1,
                Err(rejected) => drop(outcome.dead_letters.insert(rejected.fault.name().to_owned())),
            },
        }
    }
    while engine.advance(days(until), 1000, days(until), &mut step) {}
    outcome.changes = step.changes;
    (outcome.duplicates, outcome.late) = (step.stats.duplicates, step.stats.late);
    outcome
}

impl Outcome {
    /// How often each tier was gained and lost, and each segment entered and left.
    fn moves(&self) -> BTreeMap<String, (u32, u32)> {
        let mut moves: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for change in &self.changes {
            let mut count = |name: &str, gained: bool| {
                let (gains, losses) = moves.entry(name.to_owned()).or_default();
                *if gained { gains } else { losses } += 1;
            };
            match &change.transition {
                Transition::Tier { to, up: true, .. } => to.iter().for_each(|to| count(to, true)),
                Transition::Tier { from, .. } => from.iter().for_each(|from| count(from, false)),
                Transition::Segment { name, op } => count(name, *op == Op::Enter),
            }
        }
        moves
    }
}

#[test]
fn a_seed_tells_the_same_story_in_any_steps() {
    let whole = Traffic::new(7, 50, START).next_until(days(20));
    let mut again = Traffic::new(7, 50, START);
    let in_steps: Vec<_> = (0..=480).flat_map(|hour| again.next_until(after(START, hour * HOUR))).collect();
    assert_eq!(whole, in_steps);
    assert!(whole.is_sorted_by_key(|record| record.time));
    assert_ne!(whole, Traffic::new(8, 50, START).next_until(days(20)));
}

#[test]
fn one_company_is_traffic_too() {
    assert!(!Traffic::new(7, 1, START).next_until(days(20)).is_empty());
}

/// What the demo with its defaults shows in a minute: the history, and 30 days more.
static MINUTE: LazyLock<Outcome> = LazyLock::new(|| score(7, 240, HISTORY_DAYS + 30));
const HISTORY_DAYS: i64 = (HISTORY_HOURS / 24) as i64;

#[test]
fn a_minute_shows_all_that_the_default_model_can_say() {
    let moves = MINUTE.moves();
    for name in ["tier_1", "tier_2", "tier_3"] {
        assert!(moves.get(name).is_some_and(|(gains, losses)| *gains > 2 && *losses > 2), "{name}: {moves:?}");
    }
    let model = model_file::parse(DEFAULT_MODEL, "config/models/default.yaml").unwrap().model;
    for segment in model.segments() {
        let (entries, exits) = moves.get(&*segment.name).copied().unwrap_or_default();
        assert!(entries > 0 && exits > 0, "{}: {moves:?}", segment.name);
    }
    let causes: BTreeSet<_> = MINUTE.changes.iter().map(|change| change.cause.name()).collect();
    for cause in [Cause::Signal, Cause::Decay, Cause::Window, Cause::Suppression] {
        assert!(causes.contains(cause.name()), "{causes:?}");
    }
    assert!(MINUTE.ignored > 100 && MINUTE.duplicates > 100 && MINUTE.late > 10);
    assert!(MINUTE.dead_letters.len() >= 4, "{:?}", MINUTE.dead_letters);
}

#[test]
fn falls_come_soon_and_lines_can_be_followed() {
    let start = days(HISTORY_DAYS);
    let shown: Vec<_> = MINUTE.changes.iter().filter(|change| change.effective_at >= start).collect();
    let decayed = |change: &&&Change| {
        change.cause == Cause::Decay && matches!(change.transition, Transition::Tier { up: false, .. })
    };
    let first = shown.iter().filter(decayed).map(|change| change.effective_at).min();
    assert!(first.is_some_and(|fall| fall < days(HISTORY_DAYS + 15)), "none in half a minute: {first:?}");
    // One to four lines a second.
    assert!((60..=240).contains(&shown.len()), "{}", shown.len());
}
