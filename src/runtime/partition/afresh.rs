//! A change of the model: what was judged under another one is judged afresh, page by page, as of now.

use super::{CHANGES_WAITING, Owned};
use crate::{
    engine::{account_hash, page_of},
    model::Timestamp,
    view::Phase,
};

/// Pages that one turn judges.
const PAGES_JUDGED_AT_ONCE: usize = 16;

impl Owned {
    /// Whether accounts were last judged under another model than the engine's.
    pub fn model_changed(&self) -> bool {
        self.judged_under != *self.engine.model().id().digest
    }

    /// Judges some more pages afresh after a change of the model.
    pub fn judge_afresh(&mut self, wall: Timestamp) {
        let now = self.clock.advance(wall);
        if now < Timestamp::EARLIEST {
            return;
        }
        for _ in 0..PAGES_JUDGED_AT_ONCE {
            if self.step.changes.len().max(self.step.standings.len()) >= CHANGES_WAITING {
                return;
            }
            let Some(page) = self.stale.pop() else { break };
            self.engine.judge_afresh(page, now, wall, &mut self.step);
            self.note_touched();
            self.moved = true;
        }
        if self.stale.is_empty() && self.model_changed() {
            self.judged_under = self.engine.model().id().digest.to_string();
            self.moved = true;
        }
    }

    /// Judges an account afresh, if that is still to be done: what a record changes is told apart from what the
    /// model changes. The others of its page wait for their turn, as a batch is bounded.
    pub(super) fn judge_first(&mut self, account: &str, recorded: Timestamp, wall: Timestamp) {
        if self.phase != Phase::Live || self.stale.is_empty() {
            return;
        }
        if self.stale.contains(&page_of(account_hash(account))) {
            let now = self.clock.now().max(self.clock.behind(recorded.min(wall)));
            self.engine.judge_account_afresh(account, now, wall, &mut self.step);
            self.note_touched();
        }
    }

    /// Whether pages wait to be judged afresh, and it is known as of when.
    pub fn is_stale(&self) -> bool {
        !self.stale.is_empty() && self.clock.now() >= Timestamp::EARLIEST
    }
}
