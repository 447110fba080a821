//! Drives an engine with the records of a random history.

use std::sync::Arc;

use tidemark::{
    engine::{AccountImage, Engine, Mode, PageId, Remap, Schema, Step, account_hash, page_of},
    model::{Attributes, Change, Event, EventId, Model, Span, Timestamp},
};

use super::history::{ACCOUNTS, Body, GRACE_MS, Record};

/// The accounts of random histories. They lie in different pages.
pub const NAMES: [&str; ACCOUNTS] = ["acme.com", "globex.com", "initech.com"];

const DAY: i64 = 86_400_000;

pub fn engine(model: &Arc<Model>) -> Engine {
    Engine::new(model.clone(), Span::from_millis(GRACE_MS).expect("not negative"))
}

pub fn page(account: usize) -> PageId {
    page_of(account_hash(NAMES[account]))
}

pub fn apply(engine: &mut Engine, record: &Record, mode: Mode, step: &mut Step) {
    let (account, recorded) = (NAMES[record.account], Timestamp::from_millis(record.recorded));
    match &record.body {
        Body::Event { id, time, hits } => {
            let (id, time) = (EventId(*id), Timestamp::from_millis(*time));
            engine.apply(&Event { account, id, time, recorded, hits }, mode, recorded, step);
        }
        Body::Attributes(facts) => {
            engine.apply_attributes(&Attributes { account, recorded, facts: *facts }, mode, recorded, step);
        }
    }
}

/// Advances to `clock` in slices of at most `limit` timers.
pub fn advance(engine: &mut Engine, clock: i64, limit: usize, step: &mut Step) {
    let clock = Timestamp::from_millis(clock);
    while engine.advance(clock, limit, clock, step) {}
}

/// Long after the last record: everything has faded.
pub fn end_of(records: &[Record]) -> i64 {
    records.iter().map(|record| record.recorded).max().unwrap_or(0) + 90 * DAY
}

/// The furthest that the clock may be before each record: no later record is judged earlier.
pub fn clocks(records: &[Record]) -> Vec<i64> {
    let mut clocks: Vec<i64> = records.iter().map(Record::earliest).collect();
    for index in (1..clocks.len()).rev() {
        clocks[index - 1] = clocks[index - 1].min(clocks[index]);
    }
    clocks
}

/// What an engine publishes that looks only when a record comes, and at the very end.
pub fn lazy_run(model: &Arc<Model>, records: &[Record]) -> Step {
    let (mut engine, mut step) = (engine(model), Step::default());
    for record in records {
        apply(&mut engine, record, Mode::Live, &mut step);
    }
    advance(&mut engine, end_of(records), usize::MAX, &mut step);
    step
}

/// Its changes.
pub fn lazy_history(model: &Arc<Model>, records: &[Record]) -> Vec<Change> {
    lazy_run(model, records).changes
}

pub fn of(changes: &[Change], account: usize) -> Vec<&Change> {
    changes.iter().filter(|change| &*change.account == NAMES[account]).collect()
}

/// The changes of each account in turn, without the moment of detection: what must not depend on
/// who looked when.
pub fn by_account(changes: &[Change]) -> Vec<Change> {
    let plain = |change: &Change| Change { detected_at: change.effective_at, ..change.clone() };
    (0..ACCOUNTS).flat_map(|account| of(changes, account)).map(plain).collect()
}

/// An account as it was stored, on its own feet.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    name: Vec<u8>,
    settled: Timestamp,
    tier: Option<u8>,
    ids: u8,
    words: Vec<[u8; 8]>,
}

/// The stored accounts of one page.
pub fn images(engine: &Engine, page: PageId) -> Vec<Image> {
    let image = |image: AccountImage<'_>| Image {
        name: image.name.to_owned(),
        settled: image.settled,
        tier: image.tier,
        ids: image.ids,
        words: image.words.to_owned(),
    };
    engine.images(page).map(image).collect()
}

/// The stored accounts of all pages that random histories touch.
pub fn all_images(engine: &Engine) -> Vec<Image> {
    (0..ACCOUNTS).flat_map(|account| images(engine, page(account))).collect()
}

/// Loads accounts that were stored under `schema`.
pub fn load(engine: &mut Engine, schema: &Schema, stored: &[Image]) {
    let remap = Remap::new(schema.clone(), engine).expect("this program wrote it");
    for Image { name, settled, tier, ids, words } in stored {
        let image = AccountImage { name, settled: *settled, tier: *tier, ids: *ids, words };
        assert!(engine.load(&image, &remap).is_some(), "{image:?} is well formed");
    }
}
