//! Synthetic traffic: what a few hundred companies do, as records over virtual time. Pure, and the
//! same for the same seed.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashSet},
};

use super::{
    companies::{self, Company, Role},
    events::{self, Flaw},
    journeys::{self, Act, DAY, HOUR, MINUTE, after},
    random::Random,
};
use crate::model::Timestamp;

/// Once in this time a company sets out on a journey, divided by the number of companies.
const JOURNEYS_EVERY: i64 = 320 * DAY;
/// Once in this time a company does something in passing.
const PASSING_EVERY: i64 = 16 * HOUR;
/// How often a crawler or competitor comes, and how many pages it reads.
const CRAWL_EVERY: i64 = 8 * HOUR;
const CRAWL_PAGES: i64 = 40;
/// Once in this time a record is broken.
const FLAWS_EVERY: i64 = 36 * HOUR;
/// Share of events that are sent a second time, some minutes later.
const TWICE: f64 = 0.015;
/// Share of events that reach the log late: some by minutes, some by more than a day.
const LATE: f64 = 0.03;

/// Which input topic a record belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topic {
    Events,
    Accounts,
}

/// A record to produce.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrafficRecord {
    pub topic: Topic,
    /// The account.
    pub key: String,
    pub value: Vec<u8>,
    /// When the log gets it.
    pub time: Timestamp,
}

/// The generator.
pub struct Traffic {
    random: Random,
    companies: Vec<Company>,
    /// Companies on a journey, which do not set out on another.
    away: HashSet<usize>,
    /// The company that set out first.
    first: Option<usize>,
    agenda: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    events: u64,
}

struct Planned {
    at: Timestamp,
    /// Keeps what is planned for one moment in the order in which it was planned.
    number: u64,
    what: Plan,
}

enum Plan {
    /// Somebody sets out on a journey.
    SetOut,
    /// A company does something, or something is reported of it.
    Do(usize, Act),
    /// A company has come home.
    Home(usize),
    /// Somebody passes by.
    Pass,
    /// A crawler or a competitor reads a lot.
    Crawl(usize),
    /// A record is broken.
    Break,
    /// A record is sent again.
    Repeat(TrafficRecord),
}

impl Planned {
    fn order(&self) -> (Timestamp, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Traffic {
    /// Traffic of `accounts` companies (at least 1) from `start` on.
    pub fn new(seed: u64, accounts: usize, start: Timestamp) -> Self {
        let mut random = Random::new(seed);
        let companies = companies::found(&mut random, accounts.max(1));
        let mut traffic = Self {
            random,
            companies,
            away: HashSet::new(),
            first: None,
            agenda: BinaryHeap::new(),
            planned: 0,
            events: 0,
        };
        traffic.begin(start);
        traffic
    }

    fn begin(&mut self, start: Timestamp) {
        for at in 0..self.companies.len() {
            let Company { role, known, profile, .. } = &self.companies[at];
            let (role, lifecycle) = (*role, known.then_some(profile.lifecycle));
            if let Some(lifecycle) = lifecycle {
                self.plan(start, Plan::Do(at, Act::Lifecycle(lifecycle)));
            }
            if role != Role::Buyer {
                let first = after(start, self.random.gap(CRAWL_EVERY));
                self.plan(first, Plan::Crawl(at));
            }
        }
        for plan in [Plan::SetOut, Plan::Pass, Plan::Break] {
            self.plan(start, plan);
        }
    }

    /// The account that set out first: one that is worth a look.
    pub fn first_account(&self) -> &str {
        &self.companies[self.first.unwrap_or(0)].account
    }

    /// The records up to `until`, included, in the order of their times; each comes once.
    pub fn next_until(&mut self, until: Timestamp) -> Vec<TrafficRecord> {
        let mut records = Vec::new();
        while self.agenda.peek().is_some_and(|Reverse(next)| next.at <= until) {
            if let Some(Reverse(Planned { at, what, .. })) = self.agenda.pop() {
                records.extend(self.happen(at, what));
            }
        }
        records
    }

    fn plan(&mut self, at: Timestamp, what: Plan) {
        self.planned += 1;
        self.agenda.push(Reverse(Planned { at, number: self.planned, what }));
    }

    fn happen(&mut self, at: Timestamp, what: Plan) -> Option<TrafficRecord> {
        let companies = self.companies.len() as i64;
        match what {
            Plan::Do(company, Act::Lifecycle(stage)) => self.attributes(company, stage, at),
            Plan::Do(company, act) => self.event(company, &act, at),
            Plan::SetOut => {
                self.set_out(at);
                let next = self.random.gap((JOURNEYS_EVERY / companies).min(2 * DAY));
                self.plan(after(at, next), Plan::SetOut);
                None
            }
            Plan::Home(company) => {
                self.away.remove(&company);
                None
            }
            Plan::Pass => {
                let next = self.random.gap(PASSING_EVERY / companies);
                self.plan(after(at, next), Plan::Pass);
                let (company, act) = (self.any_company(), journeys::pass_by(&mut self.random));
                self.event(company, &act, at)
            }
            Plan::Crawl(company) => {
                self.crawl(company, at);
                None
            }
            Plan::Break => {
                let next = self.random.gap(FLAWS_EVERY);
                self.plan(after(at, next), Plan::Break);
                Some(self.flawed(at))
            }
            Plan::Repeat(record) => Some(TrafficRecord { time: at, ..record }),
        }
    }

    fn any_company(&mut self) -> usize {
        self.random.between(0, self.companies.len() as i64 - 1) as usize
    }

    /// Sends a buyer that is at home on a journey, if one can be found.
    fn set_out(&mut self, at: Timestamp) {
        for _ in 0..8 {
            let company = self.any_company();
            if self.companies[company].role == Role::Buyer && self.away.insert(company) {
                self.first.get_or_insert(company);
                let journey = journeys::journey(&mut self.random, at);
                for (at, act) in journey.acts {
                    self.plan(at, Plan::Do(company, act));
                }
                let rest = self.random.between(10 * DAY, 40 * DAY);
                self.plan(after(journey.end, rest), Plan::Home(company));
                return;
            }
        }
    }

    fn crawl(&mut self, company: usize, at: Timestamp) {
        let mut time = at;
        let is_crawler = self.companies[company].role == Role::Crawler;
        for _ in 0..if is_crawler { CRAWL_PAGES } else { 2 } {
            time = after(time, self.random.gap(MINUTE / 2));
            let act = match is_crawler {
                true => journeys::crawl(&mut self.random, company.is_multiple_of(2)),
                false => journeys::spy(&mut self.random),
            };
            self.plan(time, Plan::Do(company, act));
        }
        let next = self.random.gap(CRAWL_EVERY);
        self.plan(after(time, next), Plan::Crawl(company));
    }

    fn event(&mut self, company: usize, act: &Act, at: Timestamp) -> Option<TrafficRecord> {
        let account = self.companies[company].account.clone();
        let late = match self.random.chance(LATE) {
            true if self.random.chance(0.3) => self.random.between(26 * HOUR, 3 * DAY),
            true => self.random.between(MINUTE, 30 * MINUTE),
            false => 0,
        };
        let happened = Timestamp::from_millis(at.millis() - late);
        let value = events::encode(act, &self.next_id(), &account, happened)?;
        let record = TrafficRecord { topic: Topic::Events, key: account, value, time: at };
        if self.random.chance(TWICE) {
            let again = after(at, self.random.between(MINUTE, 10 * MINUTE));
            self.plan(again, Plan::Repeat(record.clone()));
        }
        Some(record)
    }

    fn attributes(&mut self, company: usize, lifecycle: &'static str, at: Timestamp) -> Option<TrafficRecord> {
        let Company { account, profile, .. } = &mut self.companies[company];
        profile.lifecycle = lifecycle;
        let value = serde_json::to_vec(profile).ok()?;
        Some(TrafficRecord { topic: Topic::Accounts, key: account.clone(), value, time: at })
    }

    fn flawed(&mut self, at: Timestamp) -> TrafficRecord {
        let account = self.any_company();
        let key = self.companies[account].account.clone();
        let flaw = self.random.pick(&Flaw::ALL);
        let value = flaw.record(&self.next_id(), &key, at);
        TrafficRecord { topic: Topic::Events, key, value, time: at }
    }

    fn next_id(&mut self) -> String {
        self.events += 1;
        format!("demo-{}", self.events)
    }
}
