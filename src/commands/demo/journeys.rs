//! What companies do: single acts, and the journeys that they add up to.

use super::random::Random;
use crate::model::{Span, Timestamp};

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

const READING: [&str; 7] = [
    "/blog/what-is-intent",
    "/blog/decay-not-deadlines",
    "/docs/quickstart",
    "/docs/kafka",
    "/product",
    "/product/segments",
    "/integrations/crm",
];
const PRICING: [&str; 3] = ["/pricing", "/pricing", "/pricing/enterprise"];
const COMPARING: [&str; 4] = ["/compare/competitor-one", "/compare/in-house", "/vs/spreadsheets", "/customers/story"];
const BRAND_CAMPAIGNS: [&str; 3] = ["brand-2026", "category-guide", "retargeting"];
const COMPARISON_CAMPAIGNS: [&str; 3] = ["compare-competitor-one", "compare-in-house", "vs-spreadsheets"];
const TOPICS: [&str; 3] = ["intent data", "account-based marketing", "stream processing"];
const CAREERS: [&str; 3] = ["/careers", "/careers/engineering", "/careers/sales"];
const NEWS: [&str; 3] = ["funding", "executive_hire", "expansion"];

/// Something that a company does, or that is reported of it. Its people have numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    View {
        path: &'static str,
        person: i64,
    },
    /// A machine loads a page; whoever collects the events may have noticed what it is.
    Crawl {
        path: &'static str,
        noticed: bool,
    },
    AdImpression {
        campaign: &'static str,
    },
    AdClick {
        campaign: &'static str,
        person: i64,
    },
    EmailClick {
        person: i64,
    },
    Webinar {
        person: i64,
    },
    /// Somebody left a name: for a demo, or for something to read.
    Form {
        form: &'static str,
        person: i64,
    },
    SignUp {
        person: i64,
    },
    /// A review site saw the company compare vendors, this strongly (0 to 100).
    Reviews {
        strength: i64,
    },
    News {
        kind: &'static str,
    },
    /// A provider's weekly report on a topic (0 to 100).
    Surge {
        topic: &'static str,
        score: i64,
    },
    /// The CRM says what the company is now.
    Lifecycle(&'static str),
}

/// Acts in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journey {
    pub acts: Vec<(Timestamp, Act)>,
    /// Nothing follows after this; how the company fades from here on is the scores' business.
    pub end: Timestamp,
}

/// A journey from `start` on: research, for most an evaluation, for some a purchase and its end;
/// then silence.
pub fn journey(random: &mut Random, start: Timestamp) -> Journey {
    let mut journey = Journey { acts: Vec::new(), end: start };
    let length = random.between(DAY, 5 * DAY);
    journey.phase(random, length, 4..=9, research);
    if random.chance(0.65) {
        let days = random.between(2 * DAY, 7 * DAY);
        let people = random.between(2, 6);
        journey.phase(random, days, 9..=18, move |random| evaluate(random, people));
        if random.chance(0.25) {
            journey.purchase(random);
        }
    }
    journey.surges(random, start);
    journey
}

impl Journey {
    /// Acts at random moments of the next `length` milliseconds.
    fn phase(
        &mut self,
        random: &mut Random,
        length: i64,
        count: std::ops::RangeInclusive<i64>,
        act: impl Fn(&mut Random) -> Act,
    ) {
        for _ in 0..random.between(*count.start(), *count.end()) {
            let at = after(self.end, random.between(0, length));
            self.acts.push((at, act(random)));
        }
        self.end = after(self.end, length);
    }

    fn purchase(&mut self, random: &mut Random) {
        let signed = after(self.end, random.between(DAY, 5 * DAY));
        let ended = after(signed, random.between(30 * DAY, 90 * DAY));
        self.acts.push((signed, Act::Lifecycle("customer")));
        self.acts.push((ended, Act::Lifecycle("former_customer")));
        self.end = ended;
    }

    /// While people look around, the weekly reports of their topic show it.
    fn surges(&mut self, random: &mut Random, start: Timestamp) {
        if !random.chance(0.6) {
            return;
        }
        let topic = random.pick(&TOPICS);
        let last = self.acts.iter().filter(|(_, act)| !matches!(act, Act::Lifecycle(_))).map(|(at, _)| *at).max();
        let mut report = next_report(start);
        while last.is_some_and(|last| report <= last) {
            self.acts.push((report, Act::Surge { topic, score: random.between(55, 95) }));
            report = after(report, WEEK);
        }
    }
}

fn research(random: &mut Random) -> Act {
    let person = random.between(1, 2);
    match random.between(1, 20) {
        1..=9 => Act::View { path: random.pick(&READING), person },
        10..=12 => Act::AdImpression { campaign: random.pick(&BRAND_CAMPAIGNS) },
        13..=14 => Act::AdClick { campaign: random.pick(&BRAND_CAMPAIGNS), person },
        15..=16 => Act::EmailClick { person },
        17 => Act::Webinar { person },
        18 => Act::Form { form: "guide-to-intent", person },
        19 => Act::News { kind: random.pick(&NEWS) },
        _ => Act::View { path: "/pricing", person },
    }
}

fn evaluate(random: &mut Random, people: i64) -> Act {
    let person = random.between(1, people);
    match random.between(1, 20) {
        1..=6 => Act::View { path: random.pick(&PRICING), person },
        7..=10 => Act::View { path: random.pick(&COMPARING), person },
        11..=12 => Act::AdClick { campaign: random.pick(&COMPARISON_CAMPAIGNS), person },
        13..=14 => Act::Reviews { strength: random.between(50, 99) },
        15 => Act::Form { form: "demo-request", person },
        16 => Act::SignUp { person },
        17 => Act::Webinar { person },
        _ => Act::View { path: random.pick(&READING), person },
    }
}

/// What anybody does now and then, without meaning much by it.
pub fn pass_by(random: &mut Random) -> Act {
    let person = random.between(1, 9);
    match random.between(1, 150) {
        1..=115 => Act::AdImpression { campaign: random.pick(&BRAND_CAMPAIGNS) },
        116..=149 => Act::View { path: random.pick(&CAREERS), person },
        _ => Act::View { path: random.pick(&READING), person },
    }
}

/// A page of interest to those who watch prices.
pub fn spy(random: &mut Random) -> Act {
    let path = if random.chance(0.5) { random.pick(&PRICING) } else { random.pick(&COMPARING) };
    Act::View { path, person: 1 }
}

/// A page that a crawler comes by.
pub fn crawl(random: &mut Random, noticed: bool) -> Act {
    Act::Crawl { path: random.pick(&READING), noticed }
}

/// Topic reports come out on Mondays at 06:00 UTC.
fn next_report(after: Timestamp) -> Timestamp {
    // The first Monday of the epoch was its fifth day.
    let first = 4 * DAY + 6 * HOUR;
    Timestamp::from_millis(first + (after.millis() - first).div_euclid(WEEK) * WEEK + WEEK)
}

/// `millis` after a moment.
pub fn after(time: Timestamp, millis: i64) -> Timestamp {
    time + Span::from_millis(millis).unwrap_or_default()
}
