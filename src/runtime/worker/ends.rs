//! Whether inputs still end where they were last seen to end: asked before a timer relies on it.

use std::time::Duration;

use super::Worker;
use crate::{
    log::{END_HANGING, InputId, Log, LogError, Partition},
    model::Span,
    runtime::Clock,
    view::Phase,
};

/// After how long an input is asked for its end again when there was no answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For how long nobody may say where an input ends before that is told.
const SILENCE_TOLD_AFTER: Duration = Duration::from_secs(30);
/// How long a transaction may hold back an input before that is told, and then again.
const OPEN_TOLD_AFTER: Duration = Duration::from_secs(60);

impl<L: Log, C: Clock> Worker<L, C> {
    /// Records may be in the log that are not here yet: this worker stood still, or the broker is slow
    /// to deliver. Before the clock goes on to a timer on the word of an end that was reached a while
    /// ago, asks whether it still is the end. As long as there is no answer, the clock stands still.
    pub(super) fn look_again(&mut self) -> Result<(), LogError> {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        if now < self.ask_from {
            return Ok(());
        }
        let live = self.partitions.values().filter(|owned| owned.phase == Phase::Live);
        let unsure: Vec<_> = live.flat_map(|owned| owned.unsure(now, wall)).collect();
        if unsure.is_empty() {
            self.silent_since = None;
            return Ok(());
        }
        let answers: Vec<_> = unsure.iter().copied().zip(self.log.hold_more(&unsure)).collect();
        self.note_silence(&answers);
        let mut unclear = false;
        for ((input, partition), more) in answers {
            let (Some(owned), Some(more)) = (self.partitions.get_mut(&partition), more) else { continue };
            if more {
                // Records on their way, or markers of transactions that came alone, which nobody
                // announces: reading again tells.
                unclear |= owned.doubt(input, now);
            } else {
                owned.still_ends(input, wall);
            }
        }
        if unclear { self.seek() } else { Ok(()) }
    }

    /// Says so now and then when an open transaction holds back an input for long: falls of its partition wait.
    pub(super) fn tell_of_open_transactions(&mut self) {
        let now = self.clock.monotonic();
        if now < self.open_told_from {
            return;
        }
        self.open_told_from = now + OPEN_TOLD_AFTER;
        let long_ago =
            self.clock.wall().back(Span::from_millis(OPEN_TOLD_AFTER.as_millis() as i64).unwrap_or(Span::ZERO));
        for owned in self.partitions.values() {
            let open = |input: &InputId| owned.clock.undecided_since(*input).is_some_and(|since| since < long_ago);
            for (input, partition, offset) in owned.positions().filter(|(input, ..)| open(input)) {
                tracing::warn!(
                    target: "worker",
                    "falls of partition {} wait: a transaction holds back `{}` from offset {} on; if it stays so, \
                     {END_HANGING}",
                    partition.0, self.settings.inputs.name(input), offset.0
                );
            }
        }
    }

    /// Asks the less often, and says so after a while, when somebody must know where an input ends and nobody
    /// tells.
    fn note_silence(&mut self, answers: &[((InputId, Partition), Option<bool>)]) {
        let silent = answers.iter().find(|(_, more)| more.is_none());
        let Some(((input, partition), _)) = silent else {
            self.silent_since = None;
            return;
        };
        let now = self.clock.monotonic();
        self.ask_from = now + ASK_AGAIN_AFTER;
        let since = *self.silent_since.get_or_insert(now);
        if now - since > SILENCE_TOLD_AFTER {
            self.silent_since = Some(now);
            let topic = self.settings.inputs.name(*input);
            tracing::warn!(
                target: "worker",
                "falls wait: no broker says where some inputs end, `{topic}` partition {} among them; have they \
                 leaders?",
                partition.0
            );
        }
    }
}
