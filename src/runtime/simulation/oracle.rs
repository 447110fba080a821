//! What the records imply, decided by one engine per partition that nothing ever happens to.

use std::collections::BTreeMap;

use super::{
    model::{GRACE, MAX_FUTURE_SKEW, model, person_key},
    told::Told,
};
use crate::{
    engine::{Engine, Mode, Step},
    model::Timestamp,
    wire::event::{Decoded, Decoder, RawRecord},
};

/// The changes of every account that the records of one partition imply by `end`.
pub fn implied(records: &[(Timestamp, String)], end: Timestamp) -> BTreeMap<String, Vec<Told>> {
    let mut engine = Engine::new(model(), GRACE);
    let mut decoder = Decoder::new(model(), person_key(), MAX_FUTURE_SKEW);
    let mut step = Step::default();
    for (recorded, json) in records {
        let raw = RawRecord { key: None, value: Some(json.as_bytes()), recorded: Some(*recorded) };
        if let Ok(Decoded::Event(event)) = decoder.decode(raw) {
            engine.apply(&event, Mode::Live, *recorded, &mut step);
        }
    }
    engine.advance(end, usize::MAX, end, &mut step);
    let mut told = BTreeMap::<String, Vec<Told>>::new();
    for change in &step.changes {
        told.entry(change.account.to_string()).or_default().push(change.into());
    }
    told
}
