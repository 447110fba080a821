//! Where to read in one partition, and whether that is enough.

use std::ops::Range;

use crate::{
    log::{
        InputKind, LogError, Offset, OutputTopic, Partition,
        kafka::{Outside, Topics},
    },
    model::Timestamp,
    runtime::{Clock, SystemClock},
};

/// The topics of changes.
pub const CHANGES: [OutputTopic; 2] = [OutputTopic::TierChanges, OutputTopic::SegmentChanges];

/// How far every topic of a partition is read.
///
/// A service that runs goes on meanwhile, so the order of the questions matters: what is committed
/// first, then the ends of what was published, which hold at least that, then the ends of the inputs,
/// which hold all that anything published can stem from. The standings lie between two looks at the
/// changes: those below the first have their standing, and every standing has its changes below the
/// second, since none is looked at before its transaction is decided: what an open one has still to
/// send may be the change.
pub struct Plan {
    pub partition: Partition,
    /// When the questions began.
    pub wall: Timestamp,
    pub inputs: Vec<Range<Offset>>,
    /// Nothing if the group had committed nothing when the questions began.
    committed: Option<Vec<Offset>>,
    never_committed: bool,
    /// Where the inputs ended before the committed offsets were asked for.
    pub ends_before: Vec<Offset>,
    pub changes: [Range<Offset>; 2],
    /// Changes below have their standings.
    pub standing_follows: [Offset; 2],
    pub standings: Range<Offset>,
    pub letters: Range<Offset>,
    /// Whether the group has members; nothing if the broker does not tell.
    pub group_is_alive: Option<bool>,
}

impl Plan {
    /// Asks for everything.
    pub fn new(outside: &Outside, topics: &Topics, partition: Partition) -> Result<Self, LogError> {
        let wall = SystemClock::default().wall();
        let inputs = || topics.inputs().ids().map(|id| outside.decided(topics.inputs().name(id), partition));
        let ends_before = inputs().map(|range| Ok(range?.end)).collect::<Result<_, LogError>>()?;
        let committed = outside.committed(partition)?;
        let [first, second] = CHANGES.map(|topic| outside.decided(topics.output(topic), partition));
        let standing_follows = [first?.end, second?.end];
        let output = |topic| outside.bounds(topics.output(topic), partition);
        let standings = output(OutputTopic::Standings)?;
        outside.await_decided(topics.output(OutputTopic::Standings), partition, standings.end)?;
        let [first, second] = CHANGES.map(output);
        let committed: Option<Vec<Offset>> = committed.into_iter().map(|one| Some(one?.offset)).collect();
        Ok(Self {
            partition,
            wall,
            changes: [first?, second?],
            standing_follows,
            standings,
            letters: output(OutputTopic::DeadLetters)?,
            inputs: inputs().collect::<Result<_, _>>()?,
            // A group that has just begun may have committed since.
            never_committed: committed.is_none() && outside.committed(partition)?.iter().all(Option::is_none),
            committed,
            ends_before,
            group_is_alive: outside.group_is_alive(),
        })
    }

    /// The offset that the group has committed for an input; what lies below must have had its effect.
    pub fn committed(&self, input: usize) -> Offset {
        self.committed.as_ref().map_or(Offset(0), |committed| committed[input])
    }

    /// Why the partition cannot be audited, if it cannot.
    pub fn refusal(&self, topics: &Topics) -> Option<String> {
        // Those of an open transaction come with its offsets.
        let published = self.changes.iter().zip(self.standing_follows).any(|(range, decided)| decided > range.start);
        if self.never_committed && published {
            return Some(
                "changes are published, but the group has committed no offsets: they expired, or `kafka.group_id` is \
                 not that of the service; audit with the configuration of the service"
                    .to_owned(),
            );
        }
        let inputs = topics.inputs();
        for (at, (input, range)) in inputs.ids().zip(&self.inputs).enumerate() {
            let (name, committed) = (inputs.name(input), self.committed(at).0);
            if committed > range.end.0 {
                return Some(format!(
                    "the group has committed offset {committed} of `{name}`, which ends at {}: the topic was truncated or \
                     created anew",
                    range.end.0
                ));
            }
            if range.start.0 > 0 && inputs.kind(input) == InputKind::Events {
                return Some(format!(
                    "`{name}` begins at offset {}: retention has removed events that scores are made of, so what \
                     follows cannot be recomputed. Give the topic `retention.ms=-1` where audits must reach back to its \
                     start",
                    range.start.0
                ));
            }
        }
        None
    }
}
