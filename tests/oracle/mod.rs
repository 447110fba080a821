//! A second opinion on the semantics, written from the design and not from the engine.
//!
//! It keeps the plain list of all that happened to one account and works everything out from that
//! list again, at every millisecond at which anything could turn: the ends of all windows, the ends
//! of all dwells, and each mark's crossing by bisection on the recomputed score. Slow and obvious.

pub mod drive;
pub mod history;

use std::{cell::Cell, collections::HashSet};

use history::{Body, Record};
use tidemark::model::{
    Cause, Change, Facts, Hit, Leaf, Model, Op, Rule, Scoring, SignalId, Standing, Timestamp, Transition,
};

/// Longer than anything in a random history takes to fade.
const HORIZON_MS: i64 = 20 * 365 * 86_400_000;

/// What changed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum What {
    Tier { from: Option<String>, to: Option<String> },
    Enter(String),
    Exit(String),
}

/// One change that must be published.
#[derive(Clone, Debug)]
pub struct Told {
    pub what: What,
    pub at: i64,
    /// The causes that describe it truly: two when a fade and a window's end coincide.
    pub causes: Vec<Cause>,
    pub intent: f64,
    /// The mark that intent crossed.
    pub mark: Option<f64>,
    pub sequence: i64,
    pub previous: Option<i64>,
    /// When the account changes next in silence.
    pub next: Option<i64>,
}

/// One account.
#[derive(Clone)]
pub struct Oracle<'m> {
    model: &'m Model,
    grace_ms: i64,
    happened: Vec<(i64, Vec<Hit>)>,
    ids: HashSet<u64>,
    facts: Facts,
    settled: Option<i64>,
    /// Per tier, since when its rung is held.
    rungs: Vec<Option<i64>>,
    members: Vec<bool>,
    sequence: i64,
    told: Vec<Told>,
    close_call: Cell<bool>,
}

impl<'m> Oracle<'m> {
    pub fn new(model: &'m Model, grace_ms: i64) -> Self {
        Self {
            model,
            grace_ms,
            happened: Vec::new(),
            ids: HashSet::new(),
            facts: Facts::default(),
            settled: None,
            rungs: vec![None; model.tiers().len()],
            members: vec![false; model.segments().len()],
            sequence: 0,
            told: Vec::new(),
            close_call: Cell::new(false),
        }
    }

    /// All changes so far.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// Whether some comparison was so close (1e-11 points) that the order in which floating-point
    /// numbers are added decides it, or what an evicted account still had. Two correct programs may
    /// then differ.
    pub fn close_call(&self) -> bool {
        self.close_call.get()
    }

    /// Whether the last published standing says where the account is.
    pub fn stands_as(&self, standing: Option<&Standing>) -> bool {
        let Some(standing) = standing else { return self.told.is_empty() };
        let names = self.model.segments().iter().zip(&self.members).filter(|(_, member)| **member);
        let top = self.rungs.iter().position(Option::is_some);
        let since = self.told.iter().rfind(|told| matches!(told.what, What::Tier { .. })).map(|told| told.at);
        let dwells = self.model.tiers().iter().zip(&self.rungs).filter(|(tier, _)| !tier.min_dwell.is_zero());
        let gains = dwells.filter_map(|(tier, since)| Some((&tier.name, (*since)?)));
        standing.tier.as_ref() == top.map(|top| &self.model.tiers()[top].name)
            && standing.since.map(Timestamp::millis) == since
            && standing.segments.iter().map(|member| &member.name).eq(names.map(|(segment, _)| &segment.name))
            && standing.suppressed_by.as_ref() == self.suppressed_by().map(|id| &self.model.suppress()[id].name)
            && standing.sequence == self.sequence
            && standing.gained.iter().map(|gained| (&gained.name, gained.at.millis())).eq(gains)
    }

    /// Settles, applies, judges.
    pub fn apply(&mut self, record: &Record) {
        let (judged_at, cause) = match &record.body {
            Body::Event { id, .. } if self.ids.contains(id) => return,
            Body::Event { time, .. } => ((*time).max(record.recorded - self.grace_ms), Cause::Signal),
            // Unknown stays unknown: nothing has touched the account.
            Body::Attributes(facts) if self.settled.is_none() && *facts == Facts::default() => return,
            Body::Attributes(_) => (record.recorded, Cause::Fit),
        };
        let judged_at = self.settled.map_or(judged_at, |settled| judged_at.max(settled));
        self.settle(judged_at);
        let masked = self.suppressed_by();
        self.add(&record.body);
        let cause = if masked == self.suppressed_by() { cause } else { Cause::Suppression };
        self.judge(judged_at, Some(cause));
        self.settled = Some(judged_at);
    }

    /// Adds without judging, but for a duplicate.
    pub fn add(&mut self, body: &Body) {
        match body {
            Body::Event { id, time, hits } => {
                if self.ids.insert(*id) {
                    self.happened.push((*time, hits.clone()));
                }
            }
            Body::Attributes(facts) => self.facts = *facts,
        }
    }

    /// Judges all that was added at one moment.
    pub fn judge_once(&mut self, at: i64, cause: Cause) {
        self.judge(at, Some(cause));
        self.settled = Some(at);
    }

    /// Publishes what time alone changes up to `until`, included.
    pub fn settle(&mut self, until: i64) {
        let Some(mut from) = self.settled else { return };
        while let Some(at) = self.next_turn(from, until) {
            self.judge(at, None);
            self.settled = Some(at);
            from = at;
        }
    }

    fn next_turn(&self, from: i64, until: i64) -> Option<i64> {
        let standing = (self.rungs.iter().position(Option::is_some), self.members.clone());
        self.moments(from, until).into_iter().find(|&at| {
            let (rungs, members) = self.verdict(at);
            (rungs.iter().position(Option::is_some), members) != standing
        })
    }

    /// Every moment in `(from, until]` at which anything at all could turn, in order.
    fn moments(&self, from: i64, until: i64) -> Vec<i64> {
        let mut moments: Vec<i64> = Vec::new();
        for (tier, held) in self.model.tiers().iter().zip(&self.rungs) {
            moments.extend(held.map(|since| since + tier.min_dwell.millis()));
        }
        let mut windows: Vec<i64> = self.model.distinct_sets().iter().map(|set| set.within.millis()).collect();
        let mut marks: Vec<(Option<SignalId>, f64)> = Vec::new();
        for band in self.model.tiers().iter().filter_map(|tier| tier.intent) {
            marks.extend([(None, band.enter()), (None, band.exit())]);
        }
        for rule in self.rules() {
            rule.for_each_leaf(&mut |leaf| match *leaf {
                Leaf::Count { within, .. } | Leaf::Distinct { within, .. } => windows.push(within.millis()),
                Leaf::Intent { min } => marks.push((None, min)),
                Leaf::Score { signal, min } => marks.push((Some(signal), min)),
                Leaf::Fit { .. } | Leaf::Attribute(_) => {}
            });
        }
        for (time, _) in &self.happened {
            moments.extend(windows.iter().map(|window| time + window));
        }
        moments.retain(|&at| from < at && at <= until);
        moments.extend(marks.iter().filter_map(|&(signal, mark)| self.crossing(signal, mark, from, until)));
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// The first millisecond in `(from, until]` at which a falling score misses the mark.
    fn crossing(&self, signal: Option<SignalId>, mark: f64, from: i64, until: i64) -> Option<i64> {
        let reaches = |at| self.reaches(signal.map_or_else(|| self.intent(at), |one| self.score(one, at)), mark);
        if until <= from || !reaches(from) || reaches(until) {
            return None;
        }
        let (mut reached, mut missed) = (from, until);
        while missed - reached > 1 {
            let middle = reached + (missed - reached) / 2;
            if reaches(middle) { reached = middle } else { missed = middle }
        }
        Some(missed)
    }

    fn rules(&self) -> impl Iterator<Item = &'m Rule> {
        let tiers = self.model.tiers().iter().filter_map(|tier| tier.rule.as_ref());
        tiers.chain(self.model.segments().iter().map(|segment| &segment.rule))
    }

    /// Both sides rounded to 1e-9 points.
    fn reaches(&self, score: f64, mark: f64) -> bool {
        let (score, mark) = (score * 1e9, (mark * 1e9).round());
        if (score - (mark - 0.5)).abs() < 1e-2 {
            self.close_call.set(true);
        }
        score.round() >= mark
    }

    /// Intent in points at a moment that no event is later than.
    pub fn intent(&self, at: i64) -> f64 {
        (0..self.model.signals().len() as u8).map(|signal| self.score(SignalId(signal), at)).sum()
    }

    /// The contribution of one signal.
    pub fn score(&self, signal: SignalId, at: i64) -> f64 {
        let rule = self.model.signal(signal);
        let fade = |time: i64, half_life: i64| libm::exp2(-((at - time) as f64) / half_life as f64);
        let points = match rule.scoring {
            Scoring::Additive { half_life } => {
                let times = self.hits().filter(|(_, hit)| *hit == Hit::Count(signal)).map(|(time, _)| time);
                rule.points * times.map(|time| fade(time, half_life.span().millis())).sum::<f64>()
            }
            Scoring::Level { half_life, .. } => {
                let mut newest: Option<(i64, f64)> = None;
                for (time, hit) in self.hits() {
                    if let Hit::Level(of, value) = hit
                        && of == signal
                        && newest.is_none_or(|(when, what)| time > when || time == when && value > what)
                    {
                        newest = Some((time, value));
                    }
                }
                newest.map_or(0.0, |(time, value)| rule.points * value * fade(time, half_life.span().millis()))
            }
            Scoring::Distinct { set } => {
                let set_rule = self.model.distinct_set(set);
                let within = set_rule.within.millis();
                let count = self.newest_values(set.0).iter().filter(|time| at < **time + within).count();
                rule.points * count as f64
            }
        };
        points.min(rule.cap.unwrap_or(f64::INFINITY))
    }

    fn hits(&self) -> impl Iterator<Item = (i64, Hit)> + '_ {
        self.happened.iter().flat_map(|(time, hits)| hits.iter().map(|hit| (*time, *hit)))
    }

    /// The newest time of each of the newest values of a set, as many as the set keeps.
    fn newest_values(&self, set: u8) -> Vec<i64> {
        let mut newest = std::collections::BTreeMap::<u64, i64>::new();
        for (time, hit) in self.hits() {
            if let Hit::Seen(of, value) = hit
                && of.0 == set
            {
                let known = newest.entry(value.0).or_insert(time);
                *known = (*known).max(time);
            }
        }
        let mut times: Vec<i64> = newest.into_values().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.truncate(usize::from(self.model.distinct_sets()[usize::from(set)].keep));
        times
    }

    fn fit(&self) -> Option<f64> {
        let criteria = self.model.fit().criteria.iter();
        let bit = |word: u64, fact: tidemark::model::FactId| word & (1 << fact.0) != 0;
        let known = criteria.clone().any(|criterion| bit(self.facts.known, criterion.fact));
        let met = criteria.filter(|criterion| bit(self.facts.holds, criterion.fact));
        known.then(|| met.map(|criterion| criterion.points).sum())
    }

    fn suppressed_by(&self) -> Option<usize> {
        self.model.suppress().iter().position(|suppression| self.facts.holds & (1 << suppression.fact.0) != 0)
    }

    fn leaf(&self, leaf: &Leaf, at: i64) -> bool {
        match *leaf {
            Leaf::Count { signal, min, within } => {
                let inside = |time: i64| time <= at && at < time + within.millis();
                self.hits().filter(|(time, hit)| *hit == Hit::Count(signal) && inside(*time)).count() >= min as usize
            }
            Leaf::Distinct { set, min, within } => {
                let times = self.newest_values(set.0);
                times.iter().filter(|time| at < **time + within.millis()).count() >= min as usize
            }
            Leaf::Intent { min } => self.reaches(self.intent(at), min),
            Leaf::Score { signal, min } => self.reaches(self.score(signal, at), min),
            Leaf::Fit { min } => self.fit().is_some_and(|fit| self.reaches(fit, min)),
            Leaf::Attribute(fact) => self.facts.holds & (1 << fact.0) != 0,
        }
    }

    fn rule(&self, rule: &Rule, at: i64) -> bool {
        match rule {
            Rule::All(rules) => rules.iter().all(|rule| self.rule(rule, at)),
            Rule::Any(rules) => rules.iter().any(|rule| self.rule(rule, at)),
            Rule::Not(rule) => !self.rule(rule, at),
            Rule::Leaf(leaf) => self.leaf(leaf, at),
        }
    }

    /// The rungs held (since when) and the segments entered, were the account judged now.
    fn verdict(&self, at: i64) -> (Vec<Option<i64>>, Vec<bool>) {
        if self.suppressed_by().is_some() {
            return (vec![None; self.rungs.len()], vec![false; self.members.len()]);
        }
        let tiers = self.model.tiers();
        let top = (0..tiers.len()).find(|&rung| {
            let tier = &tiers[rung];
            let shared = tier.fit.is_none_or(|min| self.leaf(&Leaf::Fit { min }, at))
                && tier.rule.as_ref().is_none_or(|rule| self.rule(rule, at));
            let intent_reaches = |mark| self.leaf(&Leaf::Intent { min: mark }, at);
            let gained = shared && tier.intent.is_none_or(|band| intent_reaches(band.enter()));
            let kept = self.rungs[rung].is_some_and(|since| {
                shared && tier.intent.is_none_or(|band| intent_reaches(band.exit()))
                    || at < since + tier.min_dwell.millis()
            });
            gained || kept
        });
        let rungs = (0..tiers.len()).map(|rung| match top {
            Some(top) if rung >= top => self.rungs[rung].or(Some(at)),
            _ => None,
        });
        let members = self.model.segments().iter().map(|segment| self.rule(&segment.rule, at));
        (rungs.collect(), members.collect())
    }

    fn judge(&mut self, at: i64, cause: Option<Cause>) {
        let (rungs, members) = self.verdict(at);
        let top = |rungs: &[Option<i64>]| rungs.iter().position(Option::is_some);
        let mut news: Vec<(What, Vec<Cause>, Option<f64>)> = Vec::new();
        let (from, to) = (top(&self.rungs), top(&rungs));
        if from != to {
            let name = |tier: Option<usize>| tier.map(|tier| self.model.tiers()[tier].name.to_string());
            let causes = cause.map_or_else(|| self.tier_causes(from, to, at), |cause| vec![cause]);
            let mark = self.mark_crossed(from, to, cause, at);
            news.push((What::Tier { from: name(from), to: name(to) }, causes, mark));
        }
        for (id, segment) in self.model.segments().iter().enumerate() {
            let name = segment.name.to_string();
            let causes = || cause.map_or_else(|| self.rule_causes(&segment.rule, None, at), |cause| vec![cause]);
            match (self.members[id], members[id]) {
                (false, true) => news.push((What::Enter(name), causes(), None)),
                (true, false) => news.push((What::Exit(name), causes(), None)),
                _ => {}
            }
        }
        (self.rungs, self.members) = (rungs, members);
        if news.is_empty() {
            return;
        }
        let (intent, next) = (self.intent(at), self.next_turn(at, at + HORIZON_MS));
        for (what, causes, mark) in news {
            let previous = (self.sequence > 0).then_some(self.sequence);
            self.sequence = at.max(self.sequence + 1);
            self.told.push(Told { what, at, causes, intent, mark, sequence: self.sequence, previous, next });
        }
    }

    /// Falling intent crosses the exit mark of the tier that is lost, events lift it above the enter
    /// mark of the tier that is gained.
    fn mark_crossed(&self, from: Option<usize>, to: Option<usize>, cause: Option<Cause>, at: i64) -> Option<f64> {
        let band = |tier: Option<usize>| self.model.tiers()[tier?].intent;
        if to.is_some_and(|to| from.is_none_or(|from| to < from)) {
            let lifted = matches!(cause, Some(Cause::Signal | Cause::Model));
            return band(to).filter(|_| lifted).map(|band| band.enter());
        }
        band(from).map(|band| band.exit()).filter(|exit| !self.reaches(self.intent(at), *exit))
    }

    /// Why time alone moved the account from one tier to another.
    fn tier_causes(&self, from: Option<usize>, to: Option<usize>, at: i64) -> Vec<Cause> {
        let up = to.is_some_and(|to| from.is_none_or(|from| to < from));
        let tier = &self.model.tiers()[if up { to } else { from }.expect("one of the two is a tier")];
        let mark = tier.intent.map(|band| if up { band.enter() } else { band.exit() });
        let rule =
            Rule::All(tier.rule.iter().cloned().chain(tier.fit.map(|min| Rule::Leaf(Leaf::Fit { min }))).collect());
        self.rule_causes(&rule, mark, at)
    }

    /// What kinds of condition turned at this very millisecond; when none did (a dwell ended), what
    /// kinds fail. Nothing when what fails is a `not`: no cause describes that well.
    fn rule_causes(&self, rule: &Rule, mark: Option<f64>, at: i64) -> Vec<Cause> {
        let mut leaves: Vec<Leaf> = mark.map(|min| Leaf::Intent { min }).into_iter().collect();
        rule.for_each_leaf(&mut |leaf| leaves.push(*leaf));
        let left = |signal: SignalId| {
            let scored_by_values = matches!(self.model.signal(signal).scoring, Scoring::Distinct { .. });
            scored_by_values && self.score(signal, at) < self.score(signal, at - 1)
        };
        let kind = |leaf: &Leaf, left: bool| match *leaf {
            Leaf::Count { .. } | Leaf::Distinct { .. } => Cause::Window,
            Leaf::Intent { .. } | Leaf::Score { .. } if left => Cause::Window,
            Leaf::Intent { .. } | Leaf::Score { .. } => Cause::Decay,
            Leaf::Fit { .. } | Leaf::Attribute(_) => Cause::Fit,
        };
        let left = |leaf: &Leaf| match *leaf {
            Leaf::Score { signal, .. } => left(signal),
            _ => (0..self.model.signals().len() as u8).any(|signal| left(SignalId(signal))),
        };
        let turned = leaves.iter().filter(|leaf| self.leaf(leaf, at - 1) != self.leaf(leaf, at));
        let turned: Vec<Cause> = turned.map(|leaf| kind(leaf, left(leaf))).collect();
        if turned.is_empty() {
            let failing = leaves.iter().filter(|leaf| !self.leaf(leaf, at));
            return failing.map(|leaf| kind(leaf, false)).collect();
        }
        turned
    }
}

/// What a change says, in the oracle's words.
pub fn what(change: &Change) -> What {
    match &change.transition {
        Transition::Tier { from, to, .. } => {
            let name = |tier: &Option<std::sync::Arc<str>>| tier.as_ref().map(|name| name.to_string());
            What::Tier { from: name(from), to: name(to) }
        }
        Transition::Segment { name, op: Op::Enter } => What::Enter(name.to_string()),
        Transition::Segment { name, op: Op::Exit } => What::Exit(name.to_string()),
    }
}

/// Says how a published history differs from the one that must be, if it does.
pub fn difference(expected: &[Told], published: &[&Change]) -> Option<String> {
    for (index, told) in expected.iter().enumerate() {
        let Some(change) = published.get(index) else {
            return Some(format!("change {index} is missing: {told:?}"));
        };
        let next = change.next_change_at.map(Timestamp::millis);
        let same = what(change) == told.what
            && change.effective_at.millis() == told.at
            && (told.causes.is_empty() || told.causes.contains(&change.cause))
            && (change.intent - told.intent).abs() < 1e-9
            && change.mark == told.mark
            && (change.sequence, change.previous_sequence, next) == (told.sequence, told.previous, told.next);
        if !same {
            return Some(format!("change {index}: expected {told:#?}\npublished {change:#?}"));
        }
    }
    published.get(expected.len()).map(|change| format!("one change too many: {change:#?}"))
}
