//! Changes as lines that a person can follow, and the sums at the end.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Display},
};

use serde::Deserialize;

use crate::{model::Timestamp, wire::time::Rfc3339};

/// Signals that a line names at most.
const REASONS_SHOWN: usize = 2;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A change as its topic carries it.
#[derive(Debug, Deserialize)]
pub struct Change {
    account: String,
    #[serde(flatten)]
    what: What,
    cause: String,
    intent: f64,
    effective_at: Rfc3339,
    reasons: Vec<Reason>,
    next_change_at: Option<Rfc3339>,
    sequence: i64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    TierChange { from: Option<String>, to: Option<String>, direction: Direction, mark: Option<f64> },
    SegmentChange { segment: String, op: Op },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Op {
    Enter,
    Exit,
}

#[derive(Debug, Deserialize)]
struct Reason {
    name: String,
    points: f64,
}

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    On,
    Off,
}

impl Colour {
    /// The text in a colour, by its number in the terminal's basic set.
    pub fn paint(self, number: u8, text: impl Display) -> String {
        match self {
            Self::On => format!("\x1b[{number}m{text}\x1b[0m"),
            Self::Off => text.to_string(),
        }
    }
}

const GREEN: u8 = 32;
const RED: u8 = 31;
const CYAN: u8 = 36;
pub const DIM: u8 = 2;

/// What the columns of [`Change::line`] are.
pub const HEADER: &str = "when          who                        what                     intent  why";

impl Change {
    /// When it took effect, and its place among the changes of its account at that time.
    pub fn order(&self) -> (Timestamp, i64) {
        (self.effective_at.0, self.sequence)
    }

    /// When, who, from, to, why, and until when if silent.
    pub fn line(&self, colour: Colour) -> String {
        let (paint, mark) = match &self.what {
            What::TierChange { direction: Direction::Up, .. } => (GREEN, "▲"),
            What::TierChange { direction: Direction::Down, .. } => (RED, "▼"),
            What::SegmentChange { op: Op::Enter, .. } => (CYAN, "+"),
            What::SegmentChange { op: Op::Exit, .. } => (CYAN, "-"),
        };
        let move_ = match &self.what {
            What::TierChange { from, to, .. } => format!("{} → {}", name(from), name(to)),
            What::SegmentChange { segment, .. } => segment.clone(),
        };
        let when = colour.paint(DIM, Day(self.effective_at.0));
        let head = colour.paint(paint, format_args!("{mark} {:<24} {move_:<24}", self.account));
        format!("{when}  {head} {:>6.1}  {}{}", self.intent, self.why(), self.next(colour))
    }

    fn why(&self) -> String {
        match (self.cause.as_str(), &self.what) {
            ("signal", _) => self.top_signals(),
            ("decay", What::TierChange { mark: Some(mark), .. }) => format!("faded below {mark}"),
            ("decay", _) => "faded".into(),
            ("window", _) => "a window ended".into(),
            ("fit", _) => "attributes changed".into(),
            ("suppression", What::TierChange { direction: Direction::Down, .. }) => "suppressed".into(),
            ("suppression", What::SegmentChange { op: Op::Exit, .. }) => "suppressed".into(),
            ("suppression", _) => "no longer suppressed".into(),
            (cause, _) => cause.into(),
        }
    }

    fn top_signals(&self) -> String {
        let shown = self.reasons.iter().take(REASONS_SHOWN);
        let mut text =
            shown.map(|reason| format!("{} {:.0}", reason.name, reason.points)).collect::<Vec<_>>().join(", ");
        if self.reasons.len() > REASONS_SHOWN {
            text.push_str(", …");
        }
        text
    }

    fn next(&self, colour: Colour) -> String {
        match self.next_change_at {
            Some(next) => colour.paint(DIM, format_args!("; if silent, until {}", Day(next.0))),
            None => String::new(),
        }
    }
}

fn name(tier: &Option<String>) -> &str {
    tier.as_deref().unwrap_or("none")
}

/// A moment as `Nov 21 17:00`, UTC.
pub struct Day(pub Timestamp);

impl Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Rfc3339(self.0).to_string();
        // Only this layout comes out: year-month-dayThour:minute…
        let (month, day, time) = (&text[5..7], &text[8..10], &text[11..16]);
        let month = month.parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
        write!(f, "{} {day} {time}", month.copied().unwrap_or("?"))
    }
}

/// What a subscriber knows after all that it has read.
#[derive(Debug, Default)]
pub struct Heard {
    tiers: HashMap<String, String>,
    pub rises: u64,
    pub falls: u64,
    pub entries: u64,
    pub exits: u64,
    pub dead_letters: u64,
}

impl Heard {
    /// Takes a change in.
    pub fn take(&mut self, change: &Change) {
        match &change.what {
            What::TierChange { to, direction, .. } => {
                match direction {
                    Direction::Up => self.rises += 1,
                    Direction::Down => self.falls += 1,
                }
                match to {
                    Some(to) => self.tiers.insert(change.account.clone(), to.clone()),
                    None => self.tiers.remove(&change.account),
                };
            }
            What::SegmentChange { op: Op::Enter, .. } => self.entries += 1,
            What::SegmentChange { op: Op::Exit, .. } => self.exits += 1,
        }
    }

    /// Accounts in each of these tiers.
    pub fn accounts(&self, tiers: &[&str]) -> String {
        let mut counts = BTreeMap::new();
        for tier in self.tiers.values() {
            *counts.entry(tier.as_str()).or_insert(0_u32) += 1;
        }
        let count = |tier: &&str| format!("{tier} {}", counts.get(tier).copied().unwrap_or(0));
        tiers.iter().map(count).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISE: &str = r#"{"kind":"tier_change","event_id":"1","account":"acme.example","model":{"name":"m","version":1,
        "digest":"d"},"from":null,"to":"tier_3","direction":"up","cause":"signal","intent":14.25,"fit":null,"mark":10.0,
        "effective_at":"2026-11-21T17:00:00.000Z","detected_at":"2026-11-21T17:00:01.000Z","reasons":[{"name":
        "pricing_page","points":12.0,"count":1,"last_seen":"2026-11-21T17:00:00.000Z"},{"name":"ad","points":2.25,
        "count":1,"last_seen":"2026-11-21T17:00:00.000Z"}],"next_change_at":"2026-12-02T11:40:12.345Z","sequence":2,
        "previous_sequence":null}"#;

    fn change(text: &str) -> Change {
        serde_json::from_str(text).unwrap()
    }

    fn fall(cause: &str) -> Change {
        let text = RISE.replace("\"up\"", "\"down\"").replace("\"signal\"", &format!("{cause:?}"));
        let text = text.replace("\"from\":null,\"to\":\"tier_3\"", "\"from\":\"tier_3\",\"to\":null");
        change(&text.replace("\"2026-12-02T11:40:12.345Z\"", "null").replace("\"mark\":10.0", "\"mark\":7.0"))
    }

    #[test]
    fn a_line_says_when_who_from_to_why_and_until_when() {
        assert_eq!(
            change(RISE).line(Colour::Off),
            "Nov 21 17:00  ▲ acme.example             none → tier_3              14.2  pricing_page 12, ad 2; \
             if silent, until Dec 02 11:40"
        );
        assert_eq!(
            fall("decay").line(Colour::Off),
            "Nov 21 17:00  ▼ acme.example             tier_3 → none              14.2  faded below 7"
        );
        assert!(fall("suppression").line(Colour::Off).ends_with("  suppressed"));
        assert_ne!(change(RISE).line(Colour::On), change(RISE).line(Colour::Off));
    }

    #[test]
    fn a_subscriber_counts_accounts_by_what_came_last() {
        let mut heard = Heard::default();
        heard.take(&change(RISE));
        assert_eq!(heard.accounts(&["tier_1", "tier_3"]), "tier_1 0, tier_3 1");
        heard.take(&fall("decay"));
        assert_eq!(heard.accounts(&["tier_1", "tier_3"]), "tier_1 0, tier_3 0");
        assert_eq!((heard.rises, heard.falls), (1, 1));
    }
}
