//! Random models and random histories, drawn so that edges are common: times fall on the ends of
//! windows, scores on marks, records on the grace.

use std::sync::Arc;

use proptest::{option, prelude::*, sample::select};
use tidemark::model::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// How late an event may come and still be judged at its own time.
pub const GRACE_MS: i64 = 5_000;
/// When histories start.
pub const START: i64 = 1_795_000_000_000;
/// How many accounts a history has at most.
pub const ACCOUNTS: usize = 3;

/// The signals of every random model, by number: two that add up, a level, a buying committee.
pub const SIGNALS: [&str; 4] = ["visit", "click", "surge", "committee"];

/// One record of a history.
#[derive(Clone, Debug)]
pub struct Record {
    pub account: usize,
    pub recorded: i64,
    pub body: Body,
}

/// What it says.
#[derive(Clone, Debug)]
pub enum Body {
    Event { id: u64, time: i64, hits: Vec<Hit> },
    Attributes(Facts),
}

impl Record {
    /// The earliest moment at which the record may be judged: no clock is ahead of it.
    pub fn earliest(&self) -> i64 {
        match self.body {
            Body::Event { .. } => self.recorded - GRACE_MS,
            Body::Attributes(_) => self.recorded,
        }
    }
}

#[derive(Clone, Debug)]
enum Draft {
    Event { late_ms: i64, signal: usize, value: u64 },
    Again { back: usize },
    Attributes { known: u64, holds: u64 },
}

/// A random history of at most `len` records. A duplicate repeats an event that the account still
/// remembers.
pub fn histories(len: usize) -> impl Strategy<Value = Vec<Record>> {
    let gap = prop_oneof![
        3 => select(vec![0, 1, 999, 60_000]),
        5 => select(vec![HOUR, 6 * HOUR, DAY, 3 * DAY]),
        2 => 0..10 * DAY,
    ];
    // Input topics are merged: their record times are in order only on the whole.
    let slip = prop_oneof![8 => Just(0), 1 => 0..3_000i64, 1 => 0..2 * DAY];
    let record = (gap, slip, 0..ACCOUNTS, drafts());
    prop::collection::vec(record, 1..=len).prop_map(|drafts| {
        let mut records: Vec<Record> = Vec::new();
        let mut clock = START;
        for (gap, slip, account, draft) in drafts {
            clock += gap;
            let recorded = clock - slip;
            if let Some(body) = body(&records, account, recorded, draft) {
                records.push(Record { account, recorded, body });
            }
        }
        records
    })
}

/// Random events of one account, each with its record time equal to its own. Times are whole hours,
/// so that many events share one.
pub fn events(len: usize) -> impl Strategy<Value = Vec<Record>> {
    histories(len).prop_map(|mut records| {
        records.retain(|record| matches!(record.body, Body::Event { .. }));
        for record in &mut records {
            record.account = 0;
            if let Body::Event { time, .. } = &mut record.body {
                *time -= time.rem_euclid(HOUR);
                record.recorded = *time;
            }
        }
        records
    })
}

/// The same without duplicates.
pub fn distinct_events(len: usize) -> impl Strategy<Value = Vec<Record>> {
    events(len).prop_map(|mut records| {
        let mut ids = std::collections::HashSet::new();
        records.retain(|record| matches!(record.body, Body::Event { id, .. } if ids.insert(id)));
        records
    })
}

fn drafts() -> impl Strategy<Value = Draft> {
    let late_ms = prop_oneof![
        6 => Just(0),
        2 => select(vec![1, GRACE_MS - 1, GRACE_MS, GRACE_MS + 1, -1_000, -300_000]),
        2 => select(vec![60_000, HOUR, DAY, 5 * DAY]),
    ];
    prop_oneof![
        10 => (late_ms, 0..SIGNALS.len(), 0..6u64)
            .prop_map(|(late_ms, signal, value)| Draft::Event { late_ms, signal, value }),
        1 => (1..6usize).prop_map(|back| Draft::Again { back }),
        2 => (0..32u64, 0..32u64).prop_map(|(known, holds)| Draft::Attributes { known, holds: holds & known }),
        // Tells of fit without suppressing.
        2 => (0..8u64).prop_map(|holds| Draft::Attributes { known: 31, holds }),
    ]
}

fn body(records: &[Record], account: usize, recorded: i64, draft: Draft) -> Option<Body> {
    match draft {
        Draft::Event { late_ms, signal, value } => {
            Some(Body::Event { id: scatter(records.len() as u64), time: recorded - late_ms, hits: hits(signal, value) })
        }
        Draft::Again { back } => {
            let mine = records.iter().rev().filter(|record| record.account == account);
            mine.filter(|record| matches!(record.body, Body::Event { .. })).nth(back - 1).map(|it| it.body.clone())
        }
        Draft::Attributes { known, holds } => Some(Body::Attributes(Facts { known, holds })),
    }
}

/// Spreads small numbers over 64 bits, as hashed ids are.
pub fn scatter(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hits(signal: usize, value: u64) -> Vec<Hit> {
    let id = SignalId(signal as u8);
    let person = PersonId(scatter(value));
    match signal {
        1 => vec![Hit::Count(id), Hit::Seen(DistinctId(1), person)],
        2 => vec![Hit::Count(id), Hit::Level(id, [0.0, 10.0, 40.0, 50.0, 80.0, 100.0][value as usize])],
        3 => vec![Hit::Count(id), Hit::Seen(DistinctId(0), person)],
        _ => vec![Hit::Count(id)],
    }
}

/// Random models over the same four signals, two distinct sets and five facts.
pub fn models() -> impl Strategy<Value = Model> {
    let signals = (additive("visit"), additive("click"), level(), committee(), windows(), 3..8u16);
    let tiers = prop::collection::vec(tiers(), 1..=3);
    let segments = prop::collection::vec(rules(), 0..=2);
    (signals, tiers, segments).prop_map(|(signals, tiers, segments)| {
        let (visit, click, surge, (committee, keep), within, click_keep) = signals;
        let name = |kind: &str, id: usize| -> Arc<str> { format!("{kind}_{id}").into() };
        let named = |(id, tier): (usize, Tier)| Tier { name: name("tier", id + 1), ..tier };
        let segment = |(id, rule)| Segment { name: name("segment", id), action: "alert".into(), rule };
        let set = |signal, within, keep| DistinctSet {
            signal: SignalId(signal),
            field: KeyId(0),
            field_name: "person".into(),
            within,
            keep,
        };
        let fact = |id| Fact { statement: name("fact", id), matcher: Matcher::default() };
        let criterion = |id: u8, points| Criterion { name: name("criterion", id.into()), points, fact: FactId(id) };
        Model::new(ModelParts {
            id: ModelId { name: "random".into(), version: 1, digest: "digest".into() },
            event_keys: vec!["person".into()],
            attribute_keys: vec![],
            ignore: vec![],
            signals: vec![visit, click, surge, committee],
            distinct_sets: vec![set(3, within, keep), set(1, within, click_keep)],
            facts: (0..5).map(fact).collect(),
            fit: Fit { criteria: vec![criterion(0, 50.0), criterion(1, 30.0)], grades: None },
            tiers: tiers.into_iter().enumerate().map(named).collect(),
            segments: segments.into_iter().enumerate().map(segment).collect(),
            suppress: vec![
                Suppression { name: "customer".into(), fact: FactId(3) },
                Suppression { name: "competitor".into(), fact: FactId(4) },
            ],
        })
        .expect("all parts are in range")
    })
}

fn half_lives() -> impl Strategy<Value = HalfLife> {
    select(vec![HOUR, 6 * HOUR, DAY, 5 * DAY]).prop_map(|ms| HalfLife::new(span(ms)).expect("not zero"))
}

fn windows() -> impl Strategy<Value = Span> {
    select(vec![HOUR, 6 * HOUR, DAY, 3 * DAY]).prop_map(span)
}

fn span(ms: i64) -> Span {
    Span::from_millis(ms).expect("not negative")
}

fn signal(name: &str, points: f64, cap: Option<f64>, scoring: Scoring) -> Signal {
    Signal { name: name.into(), matcher: Matcher::default(), points, cap, scoring }
}

fn additive(name: &'static str) -> impl Strategy<Value = Signal> {
    (select(vec![4.0, 6.0, 12.5, 30.0]), option::of(select(vec![10.0, 24.0, 45.0])), half_lives())
        .prop_map(move |(points, cap, half_life)| signal(name, points, cap, Scoring::Additive { half_life }))
}

fn level() -> impl Strategy<Value = Signal> {
    (select(vec![0.3, 1.0]), option::of(Just(25.0)), half_lives()).prop_map(|(points, cap, half_life)| {
        signal("surge", points, cap, Scoring::Level { field: KeyId(0), half_life })
    })
}

fn committee() -> impl Strategy<Value = (Signal, u16)> {
    (option::of(Just(12.0)), 2..6u16)
        .prop_map(|(cap, keep)| (signal("committee", 4.0, cap, Scoring::Distinct { set: DistinctId(0) }), keep))
}

fn tiers() -> impl Strategy<Value = Tier> {
    let band = (select(vec![6.0, 12.0, 24.0, 30.0, 45.0]), select(vec![0.5, 0.75, 0.9]))
        .prop_map(|(enter, share)| Band::new(enter, enter * share).expect("a share is below the whole"));
    let intent = prop_oneof![1 => Just(None), 5 => band.prop_map(Some)];
    let fit = prop_oneof![3 => Just(None), 1 => select(vec![30.0, 50.0, 80.0]).prop_map(Some)];
    let rule = prop_oneof![2 => Just(None), 1 => rules().prop_map(Some)];
    let dwell = select(vec![0, 0, HOUR, DAY, 3 * DAY]).prop_map(span);
    (intent, fit, rule, dwell).prop_map(|(intent, fit, rule, min_dwell)| Tier {
        name: "".into(),
        intent,
        fit,
        rule,
        min_dwell,
    })
}

fn rules() -> impl Strategy<Value = Rule> {
    let signals = || (0..SIGNALS.len() as u8).prop_map(SignalId);
    let marks = || select(vec![3.0, 6.0, 12.0, 20.0, 30.0]);
    let leaf = prop_oneof![
        4 => (signals(), 1..=3u32, windows()).prop_map(|(signal, min, within)| Leaf::Count { signal, min, within }),
        2 => (0..2u8, 1..=2u32, windows())
            .prop_map(|(set, min, within)| Leaf::Distinct { set: DistinctId(set), min, within }),
        2 => marks().prop_map(|min| Leaf::Intent { min }),
        2 => (signals(), marks()).prop_map(|(signal, min)| Leaf::Score { signal, min }),
        1 => select(vec![30.0, 50.0]).prop_map(|min| Leaf::Fit { min }),
        1 => Just(Leaf::Attribute(FactId(2))),
    ];
    leaf.prop_map(Rule::Leaf).prop_recursive(2, 6, 3, |inner| {
        let many = prop::collection::vec(inner.clone(), 1..=3);
        prop_oneof![
            many.clone().prop_map(Rule::All),
            many.prop_map(Rule::Any),
            inner.prop_map(|rule| Rule::Not(Box::new(rule))),
        ]
    })
}

/// The same model with its lists in reverse and one more signal: everything has another number.
pub struct Reordered {
    pub model: Arc<Model>,
}

impl Reordered {
    pub fn new(model: &Model) -> Self {
        let reversed = |list: &[Signal]| list.iter().rev().cloned().collect::<Vec<_>>();
        let mut signals = reversed(model.signals());
        for signal in &mut signals {
            if let Scoring::Distinct { set } = &mut signal.scoring {
                *set = Self::set(*set);
            }
        }
        let half_life = HalfLife::new(span(DAY)).expect("not zero");
        signals.insert(2, signal("extra", 5.0, None, Scoring::Additive { half_life }));
        let sets = model.distinct_sets().iter().rev();
        let sets = sets.map(|set| DistinctSet { signal: Self::signal(set.signal), ..set.clone() }).collect();
        let criteria = model.fit().criteria.iter().map(|it| Criterion { fact: Self::fact(it.fact), ..it.clone() });
        let tiers = model.tiers().iter().map(|tier| Tier { rule: tier.rule.as_ref().map(Self::rule), ..tier.clone() });
        let segments = model.segments().iter().rev();
        let suppress = model.suppress().iter().map(|it| Suppression { fact: Self::fact(it.fact), ..it.clone() });
        let parts = ModelParts {
            id: ModelId { digest: "reordered".into(), ..model.id().clone() },
            event_keys: model.event_keys().clone(),
            attribute_keys: model.attribute_keys().clone(),
            ignore: model.ignore().to_vec(),
            signals,
            distinct_sets: sets,
            facts: model.facts().iter().rev().cloned().collect(),
            fit: Fit { criteria: criteria.collect(), grades: model.fit().grades },
            tiers: tiers.collect(),
            segments: segments.map(|it| Segment { rule: Self::rule(&it.rule), ..it.clone() }).collect(),
            suppress: suppress.collect(),
        };
        Self { model: Arc::new(Model::new(parts).expect("the original was in range")) }
    }

    /// The record as the other model reads it.
    pub fn record(&self, record: &Record) -> Record {
        let body = match &record.body {
            Body::Event { id, time, hits } => {
                Body::Event { id: *id, time: *time, hits: hits.iter().map(Self::hit).collect() }
            }
            Body::Attributes(Facts { known, holds }) => {
                let mirror =
                    |word: u64| (0..5).filter(|bit| word & (1 << bit) != 0).fold(0, |all, bit| all | 16 >> bit);
                Body::Attributes(Facts { known: mirror(*known), holds: mirror(*holds) })
            }
        };
        Record { body, ..record.clone() }
    }

    /// The same, and every event is one of the additional signal too.
    pub fn record_with_extra(&self, record: &Record) -> Record {
        let mut record = self.record(record);
        if let Body::Event { hits, .. } = &mut record.body {
            hits.push(Hit::Count(SignalId(2)));
        }
        record
    }

    fn signal(id: SignalId) -> SignalId {
        SignalId([4, 3, 1, 0][usize::from(id.0)])
    }

    fn set(id: DistinctId) -> DistinctId {
        DistinctId(1 - id.0)
    }

    fn fact(id: FactId) -> FactId {
        FactId(4 - id.0)
    }

    fn hit(hit: &Hit) -> Hit {
        match *hit {
            Hit::Count(signal) => Hit::Count(Self::signal(signal)),
            Hit::Level(signal, value) => Hit::Level(Self::signal(signal), value),
            Hit::Seen(set, person) => Hit::Seen(Self::set(set), person),
        }
    }

    fn rule(rule: &Rule) -> Rule {
        match rule {
            Rule::All(rules) => Rule::All(rules.iter().map(Self::rule).collect()),
            Rule::Any(rules) => Rule::Any(rules.iter().map(Self::rule).collect()),
            Rule::Not(rule) => Rule::Not(Box::new(Self::rule(rule))),
            Rule::Leaf(leaf) => Rule::Leaf(match *leaf {
                Leaf::Count { signal, min, within } => Leaf::Count { signal: Self::signal(signal), min, within },
                Leaf::Distinct { set, min, within } => Leaf::Distinct { set: Self::set(set), min, within },
                Leaf::Score { signal, min } => Leaf::Score { signal: Self::signal(signal), min },
                Leaf::Attribute(fact) => Leaf::Attribute(Self::fact(fact)),
                leaf @ (Leaf::Intent { .. } | Leaf::Fit { .. }) => leaf,
            }),
        }
    }
}
