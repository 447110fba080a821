//! From a verdict to published changes and the new standing.

use std::sync::Arc;

use super::{
    Effect, Engine, Mode, NEVER, Retired, Step,
    account::Tag,
    accounts::{PageId, account_hash, page_of},
    judge::{Judge, Verdict},
    layout::Layout,
    numbers::reaches,
};
use crate::drill::{self, Rule};
use crate::model::{
    Cause, Change, Facts, Op, SegmentId, SegmentSince, Standing, TierGained, TierId, Timestamp, Transition,
};

impl Engine {
    /// Publishes what differs between the verdict on an account at `time` and `standing`, its own. Without a
    /// `cause`, time alone has brought the change. Returns when the account will change next, or
    /// nothing if it did not change now.
    #[expect(clippy::too_many_arguments, reason = "one private place where changes are found")]
    pub(super) fn publish(
        &mut self,
        page: PageId,
        at: usize,
        time: Timestamp,
        standing: Verdict,
        verdict: Verdict,
        cause: Option<Cause>,
        detected_at: Timestamp,
        step: &mut Step,
    ) -> Option<Timestamp> {
        debug_assert_eq!(standing, self.verdict_of(page, at));
        let retired =
            if self.retired.is_empty() { None } else { self.retired.get(self.account(page, at).name()).cloned() };
        if verdict == standing && retired.is_none() {
            return None;
        }
        Some(self.change(page, at, time, standing, verdict, retired.unwrap_or_default(), cause, detected_at, step))
    }

    /// Moves the account to the verdict and publishes what that changes.
    #[expect(clippy::too_many_arguments, reason = "one private place where changes are found")]
    fn change(
        &mut self,
        page: PageId,
        at: usize,
        time: Timestamp,
        standing: Verdict,
        verdict: Verdict,
        retired: Retired,
        cause: Option<Cause>,
        detected_at: Timestamp,
        step: &mut Step,
    ) -> Timestamp {
        let judge = self.judge(page, at, time);
        let transitions = self.transitions(&judge, standing, verdict, retired, cause);
        let intent = judge.intent();
        if !self.retired.is_empty() {
            let name = self.account(page, at).name().to_owned();
            self.retired.remove(&*name);
        }
        self.stand(page, at, time, standing, verdict);
        self.emit(page, at, time, intent, transitions, detected_at, step)
    }

    fn transitions(
        &self,
        judge: &Judge<'_>,
        from: Verdict,
        to: Verdict,
        retired: Retired,
        cause: Option<Cause>,
    ) -> Vec<(Transition, Cause, Option<f64>)> {
        let mut transitions = Vec::new();
        let was = from.tier.map(|tier| self.tier_name(tier)).or(retired.tier);
        if was.as_ref() != to.tier.map(|tier| self.tier_name(tier)).as_ref() {
            let up = to.tier.is_some_and(|to| from.tier.is_none_or(|from| to < from));
            let cause = cause.unwrap_or_else(|| judge.cause_of_tier(from.tier, to.tier));
            let mark = if up { self.mark_reached(to.tier, cause) } else { self.mark_missed(from.tier, judge.intent()) };
            let transition = Transition::Tier { from: was, to: to.tier.map(|tier| self.tier_name(tier)), up };
            transitions.push((transition, cause, mark));
        }
        for segment in retired.segments {
            transitions.push((Transition::Segment { name: segment.name, op: Op::Exit }, Cause::Model, None));
        }
        for (id, segment) in self.model.segments().iter().enumerate() {
            if (from.members ^ to.members) & (1 << id) != 0 {
                let op = if to.members & (1 << id) != 0 { Op::Enter } else { Op::Exit };
                let cause = cause.unwrap_or_else(|| judge.cause_of_segment(SegmentId(id as u8)));
                transitions.push((Transition::Segment { name: segment.name.clone(), op }, cause, None));
            }
        }
        transitions
    }

    /// The enter mark of a tier that was gained, if events may have brought intent there: what
    /// attributes or the passing of time raise crosses no mark.
    fn mark_reached(&self, gained: Option<TierId>, cause: Cause) -> Option<f64> {
        let band = self.model.tiers()[usize::from(gained?.0)].intent?;
        matches!(cause, Cause::Signal | Cause::Model).then_some(band.enter())
    }

    /// The exit mark of a tier that was lost, if intent lies below it.
    fn mark_missed(&self, lost: Option<TierId>, intent: f64) -> Option<f64> {
        let band = self.model.tiers()[usize::from(lost?.0)].intent?;
        (!reaches(intent, band.exit())).then_some(band.exit())
    }

    fn tier_name(&self, tier: TierId) -> Arc<str> {
        self.model.tiers()[usize::from(tier.0)].name.clone()
    }

    /// Moves the account to its verdict, with the times at which it came there.
    fn stand(&mut self, page: PageId, at: usize, time: Timestamp, from: Verdict, to: Verdict) {
        let account = self.pages[usize::from(page.0)].get_mut(at);
        for id in (0..self.model.segments().len() as u8).map(SegmentId) {
            let (was, is) = (from.members >> id.0 & 1, to.members >> id.0 & 1);
            let slot = self.layout.member(id);
            match (was, is) {
                (0, 1) => account.put(&self.layout, slot, [Tag::new(slot, 0, time).0]),
                (1, 0) => account.clear(&self.layout, slot),
                _ => {}
            }
        }
        for id in (0..self.model.tiers().len() as u8).map(TierId) {
            let held = |tier: Option<TierId>| tier.is_some_and(|tier| id >= tier);
            let Some(slot) = self.layout.gained(id) else { continue };
            match (held(from.tier), held(to.tier)) {
                (false, true) => account.put(&self.layout, slot, [Tag::new(slot, 0, time).0]),
                (true, false) => account.clear(&self.layout, slot),
                _ => {}
            }
        }
        account.set_tier(to.tier);
    }

    /// Hands out the changes and the standing that they lead to; returns when the account changes next.
    #[expect(clippy::too_many_arguments, reason = "one private place where changes are made")]
    fn emit(
        &mut self,
        page: PageId,
        at: usize,
        time: Timestamp,
        intent: f64,
        transitions: Vec<(Transition, Cause, Option<f64>)>,
        detected_at: Timestamp,
        step: &mut Step,
    ) -> Timestamp {
        let next = self.next_change(page, at, time);
        let reading = self.reading(page, at);
        let (fit, reasons) = (reading.fit(), reading.reasons(time));
        let (mut sequence, mut since) = self.last_published(page, at);
        let account: Arc<str> = self.account(page, at).name().into();
        for (transition, cause, mark) in transitions {
            let previous_sequence = (sequence > 0).then_some(sequence);
            let least = if drill::breaks(Rule::SequenceOutlivesEviction) { 1 } else { time.millis() };
            sequence = (sequence + 1).max(least);
            if let Transition::Tier { .. } = transition {
                since = Some(time);
            }
            step.changes.push(Change {
                account: account.clone(),
                transition,
                cause,
                intent,
                fit,
                mark,
                effective_at: time,
                detected_at,
                reasons: reasons.clone(),
                next_change_at: (next != NEVER).then_some(next),
                sequence,
                previous_sequence,
            });
        }
        let tag = Tag::new(Layout::STANDING, u64::from(since.is_some()), since.unwrap_or(Timestamp::EARLIEST));
        let account_state = self.pages[usize::from(page.0)].get_mut(at);
        account_state.put(&self.layout, Layout::STANDING, [tag.0, sequence as u64]);
        // An account that comes back before its eviction is committed was not evicted.
        step.evicted.retain(|evicted| **evicted != *account);
        step.standings.push(self.standing(page, at, time, intent, next));
        next
    }

    /// Publishes the standing of an account that has one and whose suppression changed nothing but
    /// who masks it.
    pub(super) fn stand_still(&self, page: PageId, at: usize, time: Timestamp, step: &mut Step) {
        if self.last_published(page, at).0 > 0 {
            let (intent, next) = (self.reading(page, at).intent(time), self.next_change(page, at, time));
            step.standings.push(self.standing(page, at, time, intent, next));
        }
    }

    /// The last sequence (0 if nothing was ever published), and since when the tier is what it is.
    pub(super) fn last_published(&self, page: PageId, at: usize) -> (i64, Option<Timestamp>) {
        match self.account(page, at).run(&self.layout, Layout::STANDING) {
            [tag, sequence] => (*sequence as i64, (Tag(*tag).count() > 0).then(|| Tag(*tag).time())),
            _ => (0, None),
        }
    }

    /// The standing of an account, with its scores as of `time`.
    pub(super) fn standing(&self, page: PageId, at: usize, time: Timestamp, intent: f64, next: Timestamp) -> Standing {
        let reading = self.reading(page, at);
        let account = reading.account;
        let (sequence, since) = self.last_published(page, at);
        let suppressed = self.judge(page, at, time).suppression();
        Standing {
            account: account.name().into(),
            tier: account.tier().map(|tier| self.tier_name(tier)),
            since,
            segments: self.segments_of(page, at),
            suppressed_by: suppressed.map(|id| self.model.suppress()[id].name.clone()),
            intent,
            fit: reading.fit(),
            as_of: time,
            next_change_at: (next != NEVER).then_some(next),
            sequence,
            gained: self.gained_by(page, at),
        }
    }

    /// The segments that the account is in, and since when.
    pub(super) fn segments_of(&self, page: PageId, at: usize) -> Vec<SegmentSince> {
        let account = self.account(page, at);
        let segments = self.model.segments().iter().enumerate();
        let memberships = segments.filter_map(|(id, segment)| {
            match account.run(&self.layout, self.layout.member(SegmentId(id as u8))) {
                [tag] => Some(SegmentSince { name: segment.name.clone(), since: Tag(*tag).time() }),
                _ => None,
            }
        });
        memberships.collect()
    }

    fn gained_by(&self, page: PageId, at: usize) -> Vec<TierGained> {
        let account = self.account(page, at);
        let tiers = self.model.tiers().iter().enumerate();
        let gains =
            tiers.filter_map(|(id, tier)| match account.run(&self.layout, self.layout.gained(TierId(id as u8))?) {
                [tag] => Some(TierGained { name: tier.name.clone(), at: Tag(*tag).time() }),
                _ => None,
            });
        gains.collect()
    }

    /// Judges the accounts of a page afresh because the model changed; what differs goes out.
    pub fn judge_afresh(&mut self, page: PageId, clock: Timestamp, detected_at: Timestamp, step: &mut Step) {
        for at in self.positions(page) {
            self.judge_one_afresh(page, at, clock, detected_at, step);
        }
    }

    /// The same for a single account, if it is in memory.
    pub fn judge_account_afresh(&mut self, name: &str, clock: Timestamp, detected_at: Timestamp, step: &mut Step) {
        let hash = account_hash(name);
        let page = page_of(hash);
        if let Some(at) = self.pages[usize::from(page.0)].find(hash, name.as_bytes()) {
            self.judge_one_afresh(page, at, clock, detected_at, step);
        }
    }

    // Rare: what it shares with the way of every record stays as it is compiled there.
    #[inline(never)]
    fn judge_one_afresh(&mut self, page: PageId, at: usize, clock: Timestamp, detected_at: Timestamp, step: &mut Step) {
        let account = self.account(page, at);
        // What was loaded, or applied in silence, is not judged yet; what is, was judged under this model.
        if account.is_judged() {
            return;
        }
        let time = clock.max(account.settled());
        self.mark(page, step);
        let published = step.standings.len();
        self.conclude(page, at, time, Mode::Live, Cause::Model, Effect::Any, detected_at, step);
        let reading = self.reading(page, at);
        // Of one that attributes may mask, what masks it may have another name now.
        let masked = !reading.account.stands(reading.layout) && reading.facts() != Facts::default();
        if masked && step.standings.len() == published {
            self.stand_still(page, at, time, step);
        }
    }
}
