//! From what a partition has caused to the records of a transaction.

use std::collections::HashSet;

use super::{WorkerSettings, invariants, partition::Owned};
use crate::{
    drill::{self, Rule},
    log::{LogError, Output, OutputTopic, Transaction},
    model::{ModelId, Transition},
    wire::{
        change::{change_headers, encode_change},
        standing::encode_standing,
    },
};

/// Adds all that the partition has not committed to the transaction, under the name `commit`.
/// Refuses what must never be committed.
pub fn gather(
    owned: &mut Owned,
    pages: Vec<Output>,
    commit: &str,
    settings: &WorkerSettings,
    transaction: &mut Transaction,
) -> Result<(), LogError> {
    let id = owned.engine.model().id().clone();
    changes(owned, &id, &settings.source, &mut transaction.outputs);
    standings(owned, &id, &mut transaction.outputs);
    transaction.outputs.extend(owned.dead_letters.iter().cloned());
    transaction.outputs.extend(pages);
    let progress = owned.progress(commit, settings.partitions);
    invariants::check(owned, &progress)?;
    if owned.records > 0 || !drill::breaks(Rule::OffsetsWithTimers) {
        transaction.progress.extend(progress);
    }
    Ok(())
}

fn changes(owned: &Owned, model: &ModelId, source: &str, outputs: &mut Vec<Output>) {
    for change in &owned.step.changes {
        let topic = match change.transition {
            Transition::Tier { .. } => OutputTopic::TierChanges,
            Transition::Segment { .. } => OutputTopic::SegmentChanges,
        };
        outputs.push(Output {
            topic,
            partition: owned.partition,
            key: Some(change.account.as_bytes().to_vec()),
            value: Some(encoded(|out| encode_change(change, model, out))),
            headers: change_headers(change, source),
        });
    }
}

/// One record per account: the last standing of the step, or a tombstone if it was evicted.
fn standings(owned: &Owned, model: &ModelId, outputs: &mut Vec<Output>) {
    let record = |account: &str, value| Output {
        topic: OutputTopic::Standings,
        partition: owned.partition,
        key: Some(account.as_bytes().to_vec()),
        value,
        headers: Vec::new(),
    };
    let mut written = HashSet::new();
    for account in &owned.step.evicted {
        written.insert(&**account);
        outputs.push(record(account, None));
    }
    for standing in owned.step.standings.iter().rev() {
        if written.insert(&standing.account) {
            outputs.push(record(&standing.account, Some(encoded(|out| encode_standing(standing, model, out)))));
        }
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    encode(&mut bytes);
    bytes
}
