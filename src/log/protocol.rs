//! The order in which a transaction reaches the log, the same for every log.
//!
//! begin, send everything, drain, prove membership, add the offsets, commit. Offsets come last, so
//! that whatever passes the fence of the group lies below the ends that the next owner of the
//! partitions reads to; and from the proof to the end nobody serves the group, so no rebalance
//! comes in between.

use super::{LogError, Output, Progress, Transaction};
use crate::drill::{self, Point, Rule};

/// One transaction of one producer, step by step.
pub trait Attempt {
    /// What shows that this worker owns the partitions.
    type Proof;

    /// Begins the transaction.
    fn begin(&mut self) -> Result<(), Failure>;
    /// Hands a record over, without waiting for it.
    fn send(&mut self, output: &Output) -> Result<(), Failure>;
    /// Waits until every record is acknowledged.
    fn drain(&mut self) -> Result<(), Failure>;
    /// Asks the group for proof that the partitions are still this worker's.
    fn prove(&mut self, progress: &[Progress]) -> Result<Self::Proof, Failure>;
    /// Adds the offsets; the group refuses them from a worker that it has dropped.
    fn add_offsets(&mut self, progress: &[Progress], proof: Self::Proof) -> Result<(), Failure>;
    /// Commits.
    fn end(&mut self) -> Result<(), Failure>;
    /// Takes everything back; false if that did not work out.
    fn abort(&mut self) -> bool;
    /// Whether a request was repeated: the earlier one may still arrive, and end the next
    /// transaction of this producer.
    fn in_doubt(&self) -> bool;
}

/// Why a step failed, and whether its producer can be kept.
#[derive(Debug)]
pub struct Failure {
    pub remedy: Remedy,
    pub error: LogError,
}

/// What to do with the producer after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// The transaction can be aborted; the producer goes on.
    Abort,
    /// The producer is of no more use, or what it did is not known.
    Replace,
}

impl Failure {
    /// The transaction can be taken back.
    pub fn abort(text: &str) -> Self {
        let error = LogError::Passing(format!("{text}; the transaction is aborted and the partitions restored"));
        Self { remedy: Remedy::Abort, error }
    }

    /// The producer must be replaced.
    pub fn replace(text: &str) -> Self {
        let error = LogError::Passing(format!("{text}; the producer is replaced and the partitions restored"));
        Self { remedy: Remedy::Replace, error }
    }
}

/// How a transaction ended.
#[derive(Debug)]
pub struct Ended {
    /// On success all of it is in the log.
    pub outcome: Result<(), LogError>,
    /// Whether the producer may make another transaction.
    pub producer_kept: bool,
}

/// Writes and commits, or takes back what was written.
pub fn carry_out(attempt: &mut impl Attempt, transaction: &Transaction) -> Ended {
    let outcome = write(attempt, transaction);
    let producer_kept = match &outcome {
        Ok(()) => !attempt.in_doubt(),
        Err(Failure { remedy: Remedy::Replace, .. }) => false,
        Err(Failure { remedy: Remedy::Abort, .. }) => attempt.abort() && !attempt.in_doubt(),
    };
    Ended {
        outcome: outcome.map_err(|failure| failure.error),
        producer_kept: producer_kept || drill::breaks(Rule::ReplaceDoubtfulProducer),
    }
}

fn write(attempt: &mut impl Attempt, transaction: &Transaction) -> Result<(), Failure> {
    let Transaction { outputs, progress } = transaction;
    attempt.begin()?;
    for (number, output) in outputs.iter().enumerate() {
        if number == outputs.len() / 2 {
            drill::reach(Point::MidProduce);
        }
        attempt.send(output)?;
    }
    if !drill::breaks(Rule::DrainBeforeOffsets) {
        attempt.drain()?;
    }
    drill::reach(Point::AfterDrain);
    if !progress.is_empty() {
        let proof = attempt.prove(progress)?;
        attempt.add_offsets(progress, proof)?;
    }
    drill::reach(Point::AfterOffsets);
    drill::reach(Point::DuringCommit);
    attempt.end()
}

/// Refuses a transaction that carries no offsets: the group would not fence it.
pub fn check_fenced(transaction: &Transaction) -> Result<(), LogError> {
    if transaction.progress.is_empty() && !drill::breaks(Rule::OffsetsWithTimers) {
        return Err(LogError::Refused(
            "a transaction without offsets would not be fenced: this is an error in Tidemark".into(),
        ));
    }
    Ok(())
}
