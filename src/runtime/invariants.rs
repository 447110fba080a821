//! What must never happen, looked for before every commit, also in release builds: the process
//! ends rather than publish it. That it happens means an error in Tidemark or damaged memory.

use std::{collections::HashMap, sync::Arc};

use super::partition::{Owned, Positions};
use crate::{
    log::{LogError, Partition, Progress},
    model::Change,
};

/// Checks what a partition is about to commit.
pub fn check(owned: &Owned, progress: &[Progress]) -> Result<(), LogError> {
    check_sequences(owned.partition, &owned.step.changes)?;
    check_progress(owned.partition, owned.last_committed(), progress)
}

/// The sequences of an account rise from change to change.
fn check_sequences(partition: Partition, changes: &[Change]) -> Result<(), LogError> {
    let mut last: HashMap<&Arc<str>, i64> = HashMap::new();
    for change in changes {
        let before = last.insert(&change.account, change.sequence).or(change.previous_sequence);
        let chained = before == change.previous_sequence || change.previous_sequence.is_none();
        if !chained || before.is_some_and(|before| before >= change.sequence) {
            return Err(violated(format!(
                "partition {}: the change {} of an account would follow the change {before:?}, but names {:?} as the \
                 one before it",
                partition.0, change.sequence, change.previous_sequence
            )));
        }
    }
    Ok(())
}

/// Offsets never go back, and nothing is promised that was not read.
fn check_progress(partition: Partition, before: &Positions, progress: &[Progress]) -> Result<(), LogError> {
    for (one, before) in progress.iter().zip(before) {
        if one.offset < *before {
            return Err(violated(format!(
                "partition {}: input {} would go back from offset {} to {}",
                partition.0, one.input.0, before.0, one.offset.0
            )));
        }
    }
    Ok(())
}

fn violated(what: String) -> LogError {
    LogError::Refused(format!(
        "{what}. This must never happen: nothing of it was published. Please report it; a restart restores from what \
         is committed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{InputId, Offset},
        model::{Cause, Timestamp, Transition},
    };

    fn change(sequence: i64, previous_sequence: Option<i64>) -> Change {
        Change {
            account: "acme.com".into(),
            transition: Transition::Tier { from: None, to: Some("hot".into()), up: true },
            cause: Cause::Signal,
            intent: 1.0,
            fit: Default::default(),
            mark: None,
            effective_at: Timestamp::EARLIEST,
            detected_at: Timestamp::EARLIEST,
            reasons: Arc::new([]),
            next_change_at: None,
            sequence,
            previous_sequence,
        }
    }

    #[test]
    fn sequences_rise_and_are_chained() {
        let check = |changes: &[Change]| check_sequences(Partition(3), changes).is_ok();
        assert!(check(&[change(5, None), change(6, Some(5)), change(9, Some(6))]));
        assert!(check(&[change(5, Some(4)), change(9, None)]), "forgotten in between");
        assert!(!check(&[change(5, Some(5))]), "it stands still");
        assert!(!check(&[change(5, None), change(4, Some(3))]), "it falls");
        assert!(!check(&[change(5, None), change(7, Some(6))]), "one is missing");
        assert!(!check(&[change(5, None), change(1, None)]), "forgotten, and begun afresh below");
    }

    #[test]
    fn offsets_do_not_go_back() {
        let at = |offset| Progress {
            input: InputId(0),
            partition: Partition(3),
            offset: Offset(offset),
            metadata: String::new(),
        };
        let before: Positions = vec![Offset(7)].into();
        assert!(check_progress(Partition(3), &before, &[at(7)]).is_ok());
        let error = check_progress(Partition(3), &before, &[at(6)]).unwrap_err().to_string();
        assert!(error.contains("from offset 7 to 6"), "{error}");
    }
}
