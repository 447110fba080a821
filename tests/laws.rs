//! The laws that the engine promises, on random models and histories, against an oracle that works
//! everything out anew. `PROPTEST_CASES` says how many; a failure prints the seed and notes it in
//! `laws.regressions`.

mod oracle;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use oracle::{
    Oracle, What, difference,
    drive::{
        Image, NAMES, advance, all_images, apply, by_account, clocks, end_of, engine, images, lazy_history, lazy_run,
        load, of, page,
    },
    history::{ACCOUNTS, Body, GRACE_MS, Record, Reordered, distinct_events, events, histories, models},
    what,
};
use proptest::{prelude::*, sample::select};
use tidemark::{
    engine::{Engine, Mode, PageId, Schema, Step},
    model::{Cause, Change, Model, SignalId, Standing, Timestamp},
};

fn config() -> ProptestConfig {
    let persistence = proptest::test_runner::FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_published_history_follows_from_all_events(model in models(), records in histories(24)) {
        let model = Arc::new(model);
        let step = lazy_run(&model, &records);
        for (account, oracle) in oracles(&model, &records).iter().enumerate() {
            prop_assume!(!oracle.close_call());
            let difference = difference(oracle.told(), &of(&step.changes, account));
            prop_assert!(difference.is_none(), "{}: {}", NAMES[account], difference.unwrap_or_default());
            let last = step.standings.iter().rfind(|standing| &*standing.account == NAMES[account]);
            prop_assert!(oracle.stands_as(last), "{last:#?}");
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        model in models(),
        // Few enough that all ids are remembered, or many without a duplicate.
        events in prop_oneof![events(14), distinct_events(60)].prop_shuffle(),
    ) {
        let model = Arc::new(model);
        let (mut engine, mut step) = (engine(&model), Step::default());
        let mut oracle = Oracle::new(&model, GRACE_MS);
        for record in &events {
            apply(&mut engine, record, Mode::Silent, &mut step);
            oracle.add(&record.body);
        }
        let at = events.iter().map(|record| record.recorded).max().unwrap_or_default();
        let explanation = engine.explain(NAMES[0], Timestamp::from_millis(at));
        for (id, signal) in model.signals().iter().enumerate() {
            let reasons = explanation.iter().flat_map(|explanation| &explanation.contributions);
            let points: f64 = reasons.filter(|reason| reason.signal == signal.name).map(|reason| reason.points).sum();
            let expected = oracle.score(SignalId(id as u8), at);
            // The smallest contributions are left out of an explanation.
            prop_assert!((points - expected).abs() < 1e-6, "{}: {points}, expected {expected}", signal.name);
        }
        if let Some(explanation) = &explanation {
            prop_assert!((explanation.intent - oracle.intent(at)).abs() < 1e-9);
            oracle.judge_once(at, Cause::Model);
        }
        engine.judge_afresh(page(0), Timestamp::from_millis(at), Timestamp::from_millis(at), &mut step);
        advance(&mut engine, end_of(&events), usize::MAX, &mut step);
        oracle.settle(end_of(&events));
        prop_assume!(!oracle.close_call());
        let difference = difference(oracle.told(), &of(&step.changes, 0));
        prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }

    #[test]
    fn who_looks_when_does_not_matter(
        model in models(),
        records in histories(24),
        looks in prop::collection::vec((0..4i64, 1..4usize), 24),
    ) {
        let model = Arc::new(model);
        let (mut engine, mut changes) = (engine(&model), Vec::new());
        let mut looked = i64::MIN;
        for ((record, clock), (slack, limit)) in records.iter().zip(clocks(&records)).zip(looks) {
            let mut step = Step::default();
            let clock = (clock - [0, 1, 3_600_000, i64::MAX / 2][slack as usize]).max(looked);
            advance(&mut engine, clock, limit, &mut step);
            for change in &step.changes {
                let at = change.effective_at.millis();
                prop_assert!(looked < at && at <= clock, "{at} was due before {looked} or not yet at {clock}");
            }
            prop_assert!(engine.next_deadline().is_none_or(|deadline| deadline.millis() > clock));
            looked = clock;
            let settled = step.changes.len();
            apply(&mut engine, record, Mode::Live, &mut step);
            prop_assert!(step.changes[settled..].iter().all(|change| change.effective_at.millis() >= clock));
            changes.extend(step.changes);
        }
        let mut step = Step::default();
        advance(&mut engine, end_of(&records), 1, &mut step);
        changes.extend(step.changes);
        prop_assert_eq!(by_account(&changes), by_account(&lazy_history(&model, &records)));
    }

    #[test]
    fn stored_state_reads_back_under_this_model_and_a_reordered_one(
        model in models(),
        records in histories(24),
        cut in any::<prop::sample::Index>(),
    ) {
        let (model, reordered) = (Arc::new(model.clone()), Reordered::new(&model));
        let (before, after) = records.split_at(cut.index(records.len() + 1));
        let (mut original, mut step) = (engine(&model), Step::default());
        before.iter().for_each(|record| apply(&mut original, record, Mode::Live, &mut step));
        let stored = all_images(&original);

        let mut same = engine(&model);
        load(&mut same, &original.schema(), &stored);
        prop_assert_eq!(&all_images(&same), &stored);

        let mut other = engine(&reordered.model);
        load(&mut other, &original.schema(), &stored);
        let mut back = engine(&model);
        load(&mut back, &other.schema(), &all_images(&other));
        prop_assert_eq!(&all_images(&back), &stored);

        let expected = go_on(&mut original, after);
        prop_assert_eq!(by_account(&expected), by_account(&go_on(&mut same, after)));
        prop_assert_eq!(by_account(&expected), by_account(&go_on(&mut back, after)));
        let after: Vec<Record> = after.iter().map(|record| reordered.record(record)).collect();
        prop_assert_eq!(gist(&expected), gist(&go_on(&mut other, &after)));
    }

    #[test]
    fn a_signal_that_the_model_drops_takes_only_its_own_points_along(model in models(), records in histories(16)) {
        let (model, wider) = (Arc::new(model.clone()), Reordered::new(&model));
        let (mut with, mut step) = (engine(&wider.model), Step::default());
        for record in &records {
            apply(&mut with, &wider.record_with_extra(record), Mode::Silent, &mut step);
        }
        let (mut without, mut never_had) = (engine(&model), engine(&model));
        load(&mut without, &with.schema(), &all_images(&with));
        records.iter().for_each(|record| apply(&mut never_had, record, Mode::Silent, &mut step));
        prop_assert_eq!(all_images(&without), all_images(&never_had));
    }

    /// But for what an account that had faded to nothing no longer knows: its last sequence, and how
    /// often it was seen before.
    #[test]
    fn evictions_do_not_show(
        model in models(),
        records in histories(24),
        deeds in prop::collection::vec(deeds(), 24),
    ) {
        let model = Arc::new(model);
        let records = without_worthless_duplicates(&model, &records);
        prop_assume!(!oracles(&model, &records).iter().any(Oracle::close_call));
        let published = run(&model, &records, &calm(&deeds));
        let plain = |changes: &[Change]| -> Vec<Change> {
            let forget = |change| Change { intent: 0.0, reasons: [].into(), previous_sequence: None, ..change };
            by_account(changes).into_iter().map(forget).collect()
        };
        prop_assert_eq!(plain(&lazy_history(&model, &records)), plain(&published));
    }

    #[test]
    fn crashes_do_not_show(
        model in models(),
        records in histories(24),
        deeds in prop::collection::vec(deeds(), 24),
    ) {
        let model = Arc::new(model);
        let (expected, published) = (run(&model, &records, &calm(&deeds)), run(&model, &records, &deeds));
        prop_assert_eq!(by_account(&expected), by_account(&published));
    }
}

/// The oracle of each account, at the end of the history.
fn oracles<'m>(model: &'m Model, records: &[Record]) -> Vec<Oracle<'m>> {
    let of_account = |account| {
        let mut oracle = Oracle::new(model, GRACE_MS);
        records.iter().filter(|record| record.account == account).for_each(|record| oracle.apply(record));
        oracle.settle(end_of(records));
        oracle
    };
    (0..ACCOUNTS).map(of_account).collect()
}

/// The history without duplicates of events that are worth nothing any more. An account that was evicted has
/// forgotten such an event, and takes the duplicate for one that comes too late: still worth nothing, but
/// the account is settled to when it came, and a record out of order after that takes effect no earlier.
fn without_worthless_duplicates(model: &Arc<Model>, records: &[Record]) -> Vec<Record> {
    let is_worthless = |record: &Record| {
        let (mut engine, mut step) = (engine(model), Step::default());
        apply(&mut engine, record, Mode::Live, &mut step);
        engine.sweep(page(record.account), Timestamp::from_millis(record.earliest()), &mut step);
        engine.is_empty()
    };
    let mut known = HashSet::new();
    let stays = |record: &&Record| match record.body {
        Body::Event { id, .. } => known.insert((record.account, id)) || !is_worthless(record),
        Body::Attributes(_) => true,
    };
    records.iter().filter(stays).cloned().collect()
}

/// What an engine publishes when it goes on from a stored state.
fn go_on(engine: &mut Engine, records: &[Record]) -> Vec<Change> {
    let mut step = Step::default();
    engine.arm_all();
    records.iter().for_each(|record| apply(engine, record, Mode::Live, &mut step));
    let end = Timestamp::from_millis(end_of(records).max(2_000_000_000_000));
    while engine.advance(end, usize::MAX, end, &mut step) {}
    step.changes
}

/// What changed when and why, in an order that does not depend on that of the segments.
fn gist(changes: &[Change]) -> Vec<(String, i64, What, &'static str)> {
    let tell =
        |change: &Change| (change.account.to_string(), change.effective_at.millis(), what(change), change.cause.name());
    let mut gist: Vec<_> = changes.iter().map(tell).collect();
    gist.sort();
    gist
}

/// What happens in the service before a record is applied.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    /// Time passes up to the furthest allowed clock, less this.
    Look {
        slack_ms: i64,
    },
    /// The page of an account is swept and stored, maybe at the furthest allowed clock.
    Store {
        account: usize,
        look: bool,
    },
    /// The process dies and restores its state.
    Crash,
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => Just(Deed::Nothing),
        2 => select(vec![0, 1, 3_600_000]).prop_map(|slack_ms| Deed::Look { slack_ms }),
        3 => (0..ACCOUNTS, any::<bool>()).prop_map(|(account, look)| Deed::Store { account, look }),
        3 => Just(Deed::Crash),
    ]
}

/// The same without the crashes.
fn calm(deeds: &[Deed]) -> Vec<Deed> {
    deeds.iter().map(|deed| if let Deed::Crash = deed { Deed::Nothing } else { *deed }).collect()
}

/// What survives a crash: committed outputs and state.
#[derive(Default)]
struct Topics {
    changes: Vec<Change>,
    standings: BTreeMap<String, Standing>,
    /// Per page, how many records it reflects, and its accounts.
    pages: BTreeMap<PageId, (usize, Vec<Image>)>,
}

impl Topics {
    fn commit(&mut self, step: &mut Step) {
        let step = std::mem::take(step);
        self.changes.extend(step.changes);
        for standing in step.standings {
            self.standings.insert(standing.account.to_string(), standing);
        }
        for account in step.evicted {
            self.standings.remove(&*account);
        }
    }

    /// Pages, then standings, then in silence whatever the pages do not reflect of the records done.
    fn restore(&self, model: &Arc<Model>, schema: &Schema, done: &[Record]) -> Engine {
        let mut engine = engine(model);
        for (_, stored) in self.pages.values() {
            load(&mut engine, schema, stored);
        }
        for standing in self.standings.values() {
            engine.load_standing(standing);
        }
        for (index, record) in done.iter().enumerate() {
            let reflected = self.pages.get(&page(record.account)).map_or(0, |(position, _)| *position);
            if index >= reflected {
                apply(&mut engine, record, Mode::Silent, &mut Step::default());
            }
        }
        engine.arm_all();
        engine
    }
}

fn run(model: &Arc<Model>, records: &[Record], deeds: &[Deed]) -> Vec<Change> {
    let (mut engine, mut topics, mut step) = (engine(model), Topics::default(), Step::default());
    let (clocks, mut clock) = (clocks(records), i64::MIN);
    for (index, (record, deed)) in records.iter().zip(deeds).enumerate() {
        match *deed {
            Deed::Nothing => {}
            Deed::Look { slack_ms } => {
                clock = clock.max(clocks[index] - slack_ms);
                advance(&mut engine, clock, usize::MAX, &mut step);
            }
            Deed::Store { account, look } => {
                if look {
                    clock = clock.max(clocks[index]);
                    advance(&mut engine, clock, usize::MAX, &mut step);
                }
                let page = page(account);
                engine.sweep(page, Timestamp::from_millis(clock), &mut step);
                topics.pages.insert(page, (index, images(&engine, page)));
                engine.stored(page);
            }
            Deed::Crash => {
                let schema = engine.schema();
                engine = topics.restore(model, &schema, &records[..index]);
            }
        }
        apply(&mut engine, record, Mode::Live, &mut step);
        topics.commit(&mut step);
    }
    advance(&mut engine, end_of(records), usize::MAX, &mut step);
    topics.commit(&mut step);
    topics.changes
}
