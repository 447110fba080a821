//! Whether inputs still end where they were last seen to end: asked before a timer relies on it.

use std::time::Duration;

use super::Worker;
use crate::{
    log::{InputId, Log, LogError, Partition},
    runtime::Clock,
    view::Phase,
};

/// After how long an input is asked for its end again when there was no answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For how long nobody may say where an input ends before that is told.
const SILENCE_TOLD_AFTER: Duration = Duration::from_secs(30);

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
                "falls wait: no broker says where `{topic}` partition {} ends; has it a leader?", partition.0
            );
        }
    }
}
