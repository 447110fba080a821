//! What an account should be, and when that changes by itself.

use std::cell::OnceCell;

use super::{account::NEVER, numbers::reaches, score::Reading};
use crate::model::{Band, Cause, Facts, Leaf, Rule, Scoring, SegmentId, SignalId, Tier, TierId, Timestamp};

/// Where an account belongs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    pub tier: Option<TierId>,
    /// One bit per segment.
    pub members: u32,
}

/// Whether something holds, and a moment before which that cannot change without an event.
#[derive(Clone, Copy, Debug)]
struct Outlook {
    holds: bool,
    until: Timestamp,
}

impl Outlook {
    const fn fixed(holds: bool) -> Self {
        Self { holds, until: NEVER }
    }

    /// All must hold. Once one fails, nothing changes before the last of those that fail does.
    fn all(parts: impl Iterator<Item = Self>) -> Self {
        let (mut holds, mut first_loss, mut last_gain) = (true, NEVER, Timestamp::MIN);
        for part in parts {
            if part.holds {
                first_loss = first_loss.min(part.until);
            } else {
                (holds, last_gain) = (false, last_gain.max(part.until));
            }
        }
        Self { holds, until: if holds { first_loss } else { last_gain } }
    }

    fn any(parts: impl Iterator<Item = Self>) -> Self {
        let none = Self::all(parts.map(Self::not));
        none.not()
    }

    const fn not(self) -> Self {
        Self { holds: !self.holds, until: self.until }
    }
}

/// A reading at one moment, with the scores that most conditions ask for: worked out when first asked for.
pub struct Judge<'a> {
    reading: Reading<'a>,
    at: Timestamp,
    facts: Facts,
    intent: OnceCell<f64>,
}

impl<'a> Judge<'a> {
    pub fn new(reading: Reading<'a>, at: Timestamp) -> Self {
        Self { reading, at, facts: reading.facts(), intent: OnceCell::new() }
    }

    /// Intent at the moment.
    pub fn intent(&self) -> f64 {
        *self.intent.get_or_init(|| self.reading.intent(self.at))
    }

    /// Which suppression masks the account: the first whose fact holds.
    pub fn suppression(&self) -> Option<usize> {
        let holds = self.facts.holds;
        self.reading.model.suppress().iter().position(|suppression| holds & (1 << suppression.fact.0) != 0)
    }

    /// Where the account belongs, given what it holds.
    pub fn verdict(&self) -> Verdict {
        if self.suppression().is_some() {
            return Verdict::default();
        }
        let model = self.reading.model;
        let tier = (0..model.tiers().len() as u8).map(TierId).find(|&tier| self.gained(tier) || self.kept(tier));
        let segments = model.segments().iter().enumerate();
        let members = segments.filter(|(_, segment)| self.rule(&segment.rule)).fold(0, |bits, (id, _)| bits | 1 << id);
        Verdict { tier, members }
    }

    /// Where the account belongs after events that raised scores and counts, or left them: what held
    /// goes on holding. That is so if no rule has a `not`, and if the account belonged where it stands
    /// before them. `readers` are the segments whose rules read what the events touched.
    pub fn verdict_after_rise(&self, standing: Verdict, readers: u32) -> Verdict {
        let Verdict { tier: held, members } = standing;
        if self.suppression().is_some() {
            return Verdict::default();
        }
        let model = self.reading.model;
        let end = held.map_or(model.tiers().len() as u8, |held| held.0);
        let risen = (0..end).map(TierId).find(|&tier| self.gained(tier));
        let segments = model.segments().iter().enumerate();
        let may_enter = segments.filter(|(id, _)| (readers & !members) >> id & 1 != 0);
        let entered = may_enter.filter(|(_, segment)| self.rule(&segment.rule)).fold(0, |bits, (id, _)| bits | 1 << id);
        Verdict { tier: risen.or(held), members: members | entered }
    }

    fn gained(&self, id: TierId) -> bool {
        self.meets(id, |band| band.enter())
    }

    fn kept(&self, id: TierId) -> bool {
        if !self.holds_tier(id) {
            return false;
        }
        self.meets(id, |band| band.exit()) || self.at < self.dwell_end(id)
    }

    /// Whether all conditions of a tier hold: the cheapest is asked first.
    fn meets(&self, id: TierId, mark: impl Fn(Band) -> f64) -> bool {
        let tier = self.tier(id);
        tier.fit.is_none_or(|min| self.fit_reaches(min))
            && tier.intent.is_none_or(|band| reaches(self.intent(), mark(band)))
            && tier.rule.as_ref().is_none_or(|rule| self.rule(rule))
    }

    fn tier(&self, id: TierId) -> &'a Tier {
        &self.reading.model.tiers()[usize::from(id.0)]
    }

    /// Holding a tier implies holding the ones below it.
    fn holds_tier(&self, id: TierId) -> bool {
        self.reading.account.tier().is_some_and(|held| id >= held)
    }

    fn dwell_end(&self, id: TierId) -> Timestamp {
        let Some(slot) = self.reading.layout.gained(id) else { return Timestamp::MIN };
        let gained = self.reading.account.nth(self.reading.layout, slot, 0);
        gained.map_or(Timestamp::MIN, |tag| tag.time() + self.tier(id).min_dwell)
    }

    fn fit_reaches(&self, min: f64) -> bool {
        self.reading.fit_by(self.facts).is_some_and(|fit| reaches(fit.points, min))
    }

    fn rule(&self, rule: &Rule) -> bool {
        match rule {
            Rule::All(rules) => rules.iter().all(|rule| self.rule(rule)),
            Rule::Any(rules) => rules.iter().any(|rule| self.rule(rule)),
            Rule::Not(rule) => !self.rule(rule),
            Rule::Leaf(leaf) => self.leaf(leaf),
        }
    }

    fn leaf(&self, leaf: &Leaf) -> bool {
        match *leaf {
            Leaf::Count { .. } | Leaf::Distinct { .. } => self.at < self.window_end(leaf),
            Leaf::Intent { min } => reaches(self.intent(), min),
            Leaf::Fit { min } => self.fit_reaches(min),
            Leaf::Score { signal, min } => reaches(self.reading.contribution(signal, self.at), min),
            Leaf::Attribute(fact) => self.facts.holds & (1 << fact.0) != 0,
        }
    }

    /// When the n-th newest event or value leaves the window of a counting leaf.
    fn window_end(&self, leaf: &Leaf) -> Timestamp {
        let (slot, min, within) = match *leaf {
            Leaf::Count { signal, min, within } => match self.reading.layout.times(signal) {
                Some(slot) => (slot, min, within),
                None => return Timestamp::MIN,
            },
            Leaf::Distinct { set, min, within } => (self.reading.layout.seen(set), min, within),
            _ => return Timestamp::MIN,
        };
        let nth = self.reading.account.nth(self.reading.layout, slot, min as usize - 1);
        nth.map_or(Timestamp::MIN, |tag| tag.time() + within)
    }

    /// A moment after this one before which the verdict cannot change without an event; [`NEVER`]
    /// if it cannot change at all.
    pub fn turns_at(&self) -> Timestamp {
        if self.suppression().is_some() {
            return NEVER;
        }
        let model = self.reading.model;
        let members = self.reading.account.members(self.reading.layout);
        let segments = model.segments().iter().enumerate().map(|(id, segment)| {
            // A rule without `not` that fails goes on failing.
            let idle = model.is_monotone() && members & (1 << id) == 0;
            if idle { NEVER } else { self.rule_outlook(&segment.rule).until }
        });
        segments.min().unwrap_or(NEVER).min(self.ladder_turns_at())
    }

    fn ladder_turns_at(&self) -> Timestamp {
        let held = self.reading.account.tier();
        let higher = (0..held.map_or(self.reading.model.tiers().len() as u8, |held| held.0)).map(TierId);
        let gains = higher.map(|tier| {
            let can_turn = self.tier(tier).rule.as_ref().is_some_and(Rule::has_not);
            if can_turn { self.gain_outlook(tier).until } else { NEVER }
        });
        let loss = held.map_or(NEVER, |held| self.keep_outlook(held).until);
        gains.min().unwrap_or(NEVER).min(loss)
    }

    fn gain_outlook(&self, id: TierId) -> Outlook {
        let enter = self.tier(id).intent.map(|band| band.enter());
        Outlook::all(self.condition_outlooks(id, enter))
    }

    fn keep_outlook(&self, id: TierId) -> Outlook {
        let exit = self.tier(id).intent.map(|band| band.exit());
        let stays = Outlook::all(self.condition_outlooks(id, exit));
        let dwell_end = self.dwell_end(id);
        let dwells = self.at < dwell_end;
        let dwell = Outlook { holds: dwells, until: if dwells { dwell_end } else { NEVER } };
        Outlook::any([stays, dwell].into_iter())
    }

    fn condition_outlooks(&self, id: TierId, mark: Option<f64>) -> impl Iterator<Item = Outlook> {
        let tier = self.tier(id);
        let intent = mark.map(|min| self.leaf_outlook(&Leaf::Intent { min }));
        let fit = tier.fit.map(|min| Outlook::fixed(self.fit_reaches(min)));
        let rule = tier.rule.as_ref().map(|rule| self.rule_outlook(rule));
        intent.into_iter().chain(fit).chain(rule)
    }

    fn rule_outlook(&self, rule: &Rule) -> Outlook {
        match rule {
            Rule::All(rules) => Outlook::all(rules.iter().map(|rule| self.rule_outlook(rule))),
            Rule::Any(rules) => Outlook::any(rules.iter().map(|rule| self.rule_outlook(rule))),
            Rule::Not(rule) => self.rule_outlook(rule).not(),
            Rule::Leaf(leaf) => self.leaf_outlook(leaf),
        }
    }

    fn leaf_outlook(&self, leaf: &Leaf) -> Outlook {
        if !self.leaf(leaf) {
            return Outlook::fixed(false);
        }
        let until = match *leaf {
            Leaf::Count { .. } | Leaf::Distinct { .. } => self.window_end(leaf),
            Leaf::Intent { min } => self.reading.intent_falls_below(min, self.at),
            Leaf::Score { signal, min } => self.reading.score_falls_below(signal, min, self.at),
            Leaf::Fit { .. } | Leaf::Attribute(_) => NEVER,
        };
        Outlook { holds: true, until }
    }

    /// Why a tier was lost (or, under a `not`, gained) by the passing of time alone.
    pub fn cause_of_tier(&self, from: Option<TierId>, to: Option<TierId>) -> Cause {
        let lost = from.filter(|from| to.is_none_or(|to| to > *from));
        let Some(tier) = lost.or(to).map(|id| self.tier(id)) else { return Cause::Window };
        let mark = tier.intent.map(|band| if lost.is_some() { band.exit() } else { band.enter() });
        let mut leaves: Vec<Leaf> = mark.map(|min| Leaf::Intent { min }).into_iter().collect();
        leaves.extend(tier.fit.map(|min| Leaf::Fit { min }));
        if let Some(rule) = &tier.rule {
            rule.for_each_leaf(&mut |leaf| leaves.push(*leaf));
        }
        self.cause_among(&leaves)
    }

    /// Why a segment's rule turned by the passing of time alone.
    pub fn cause_of_segment(&self, segment: SegmentId) -> Cause {
        let mut leaves = Vec::new();
        self.reading.model.segments()[usize::from(segment.0)].rule.for_each_leaf(&mut |leaf| leaves.push(*leaf));
        self.cause_among(&leaves)
    }

    /// What time did to some conditions: the one that turned at this very millisecond says it, or,
    /// where none did because a dwell ended, one that fails.
    fn cause_among(&self, leaves: &[Leaf]) -> Cause {
        let before = Judge::new(self.reading, Timestamp::from_millis(self.at.millis() - 1));
        if let Some(turned) = leaves.iter().find(|leaf| before.leaf(leaf) && !self.leaf(leaf)) {
            let mut signals = (0..self.reading.model.signals().len() as u8).map(SignalId);
            let stepped = match *turned {
                Leaf::Intent { .. } => signals.any(|signal| self.stepped_since(&before, signal)),
                Leaf::Score { signal, .. } => self.stepped_since(&before, signal),
                _ => true,
            };
            return if stepped { Cause::Window } else { Cause::Decay };
        }
        match leaves.iter().find(|leaf| !self.leaf(leaf)) {
            Some(Leaf::Intent { .. } | Leaf::Score { .. }) => Cause::Decay,
            Some(Leaf::Fit { .. } | Leaf::Attribute(_)) => Cause::Fit,
            Some(Leaf::Count { .. } | Leaf::Distinct { .. }) | None => Cause::Window,
        }
    }

    /// Whether a signal lost points because a distinct value left its window: in a step, while all
    /// others fade.
    fn stepped_since(&self, before: &Self, signal: SignalId) -> bool {
        matches!(self.reading.model.signal(signal).scoring, Scoring::Distinct { .. })
            && self.reading.contribution(signal, self.at) < self.reading.contribution(signal, before.at)
    }
}
