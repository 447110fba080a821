//! What a replay says at its end.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use indicatif::HumanCount;

use super::history::History;
use crate::{
    model::{Change, Model, Op, Timestamp, Transition},
    wire::{dead_letter::Fault, event::Ignored, time::format_rfc3339},
};

/// Counts by outcome.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines of the event files.
    pub events: u64,
    pub ignored_by_rule: u64,
    pub without_signal: u64,
    /// Events after the end that was asked for.
    pub after_until: u64,
    /// Bad lines of the event files, by the number of their fault.
    pub bad_events: [u64; Fault::ALL.len()],
    /// Lines of the attribute files.
    pub attributes: u64,
    pub bad_attributes: u64,
    up: u64,
    down: u64,
    entered: u64,
    exited: u64,
}

impl Tally {
    pub fn ignored(&mut self, why: Ignored) {
        match why {
            Ignored::Rule => self.ignored_by_rule += 1,
            Ignored::NoSignal => self.without_signal += 1,
        }
    }

    pub fn changed(&mut self, change: &Change) {
        match change.transition {
            Transition::Tier { up: true, .. } => self.up += 1,
            Transition::Tier { up: false, .. } => self.down += 1,
            Transition::Segment { op: Op::Enter, .. } => self.entered += 1,
            Transition::Segment { op: Op::Exit, .. } => self.exited += 1,
        }
    }

    /// Whether there were events, or attributes, and none of them could be read.
    pub fn all_bad(&self) -> bool {
        let all = |lines: u64, bad: u64| lines > 0 && bad == lines;
        all(self.events, self.bad()) || all(self.attributes, self.bad_attributes)
    }

    fn bad(&self) -> u64 {
        self.bad_events.iter().sum()
    }
}

/// The summary, ready to print.
pub struct Summary<'a> {
    pub tally: &'a Tally,
    pub history: &'a History,
    /// Up to when all accounts are settled.
    pub settled: Timestamp,
    pub took: Duration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, history, settled, took } = self;
        let stats = &history.step().stats;
        let ignored = [(tally.ignored_by_rule, "ignored by a rule"), (tally.without_signal, "without a signal")];
        let rest = [(stats.duplicates, "duplicate"), (tally.after_until, "after --until"), (tally.bad(), "bad")];
        write!(f, "events    {}: {} applied", HumanCount(tally.events), HumanCount(stats.applied))?;
        for (count, outcome) in ignored.into_iter().chain(rest).filter(|(count, _)| *count > 0) {
            write!(f, ", {} {outcome}", HumanCount(count))?;
        }
        let faults = Fault::ALL.iter().filter(|fault| tally.bad_events[**fault as usize] > 0);
        for (at, fault) in faults.enumerate() {
            let separator = if at == 0 { "\nbad       " } else { ", " };
            write!(f, "{separator}{} {}", HumanCount(tally.bad_events[*fault as usize]), fault.name())?;
        }
        write!(
            f,
            "\naccounts  {}, attributes {}",
            HumanCount(history.engine().len() as u64),
            HumanCount(stats.attributes)
        )?;
        if tally.bad_attributes > 0 {
            write!(f, " ({} bad lines)", HumanCount(tally.bad_attributes))?;
        }
        let (tiers, segments) = (tally.up + tally.down, tally.entered + tally.exited);
        write!(
            f,
            "\nchanges   {} of tier ({} up, {} down)",
            HumanCount(tiers),
            HumanCount(tally.up),
            HumanCount(tally.down)
        )?;
        let (entered, exited) = (HumanCount(tally.entered), HumanCount(tally.exited));
        write!(f, ", {} of segments ({entered} entered, {exited} left)", HumanCount(segments))?;
        write!(f, "\ntiers     {} at {}", tiers_at_end(history), format_rfc3339(*settled))?;
        let rate = tally.events as f64 / took.as_secs_f64().max(1e-9);
        write!(f, "\ntook      {:.3} s, {} events per second", took.as_secs_f64(), HumanCount(rate as u64))
    }
}

/// Accounts by tier, the highest tier first.
fn tiers_at_end(history: &History) -> String {
    let model: &Model = history.engine().model();
    let mut accounts: HashMap<Arc<str>, u64> = HashMap::new();
    for tier in history.engine().standings().filter_map(|standing| standing.tier) {
        *accounts.entry(tier).or_default() += 1;
    }
    let mut text = String::new();
    for tier in model.tiers() {
        let count = accounts.get(&tier.name).copied().unwrap_or(0);
        text += &format!("{} {}, ", tier.name, HumanCount(count));
    }
    let none = history.engine().len() as u64 - accounts.values().sum::<u64>();
    text + &format!("none {}", HumanCount(none))
}
