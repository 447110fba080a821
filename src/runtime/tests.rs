//! Workers over the log in memory: whatever crashes, is fenced or loses its reply, the committed
//! changes are those that the records imply, once each and in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    engine::{Engine, Mode, Step},
    log::{
        InputId, InputKind, Inputs, OutputTopic, Partition,
        memory::{Cluster, Fault, MemoryLog},
    },
    model::*,
    settings::StartFrom,
    telemetry::{Metrics, Vocabulary},
    view::{QueryRouter, Status, View},
    wire::event::{Decoded, Decoder, PersonKey, RawRecord},
};

const START: i64 = 1_795_000_000_000;
const GRACE: Span = Span::seconds(5);
const PARTITIONS: i32 = 3;
const EVENTS: InputId = InputId(0);

/// A small, seeded generator (SplitMix64): histories must not depend on a library's version.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
struct TestClock(Arc<Mutex<i64>>);

impl TestClock {
    fn pass(&self, millis: i64) {
        *self.0.lock().unwrap() += millis;
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.lock().unwrap())
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis((*self.0.lock().unwrap() - START) as u64)
    }
}

fn model() -> Arc<Model> {
    let signal = |name: &str, points, hours: u32, cap| Signal {
        name: name.into(),
        matcher: Matcher(vec![(KeyId(0), Test::Text(Glob::new(name)))]),
        points,
        cap,
        scoring: Scoring::Additive { half_life: HalfLife::new(Span::seconds(hours * 3600)).unwrap() },
    };
    let tier = |name: &str, enter, exit, min_dwell| Tier {
        name: name.into(),
        intent: Band::new(enter, exit),
        fit: None,
        rule: None,
        min_dwell,
    };
    let rule = Rule::Leaf(Leaf::Count { signal: SignalId(0), min: 3, within: Span::seconds(7200) });
    let parts = ModelParts {
        id: ModelId { name: "t".into(), version: 1, digest: "d".into() },
        event_keys: vec!["type".into()],
        attribute_keys: vec![],
        ignore: vec![],
        signals: vec![signal("visit", 10.0, 2, Some(60.0)), signal("demo", 35.0, 6, None)],
        distinct_sets: vec![],
        facts: vec![],
        fit: Fit::default(),
        tiers: vec![tier("hot", 40.0, 30.0, Span::seconds(3600)), tier("warm", 20.0, 12.0, Span::ZERO)],
        segments: vec![Segment { name: "keen".into(), action: "alert".into(), rule }],
        suppress: vec![],
    };
    Arc::new(Model::new(parts).unwrap())
}

fn inputs() -> Inputs {
    // Nobody sends attributes: an input without records must not hold up the other.
    Inputs(vec![("intent.events".into(), InputKind::Events), ("intent.accounts".into(), InputKind::Accounts)])
}

fn settings(run: u64) -> WorkerSettings {
    WorkerSettings {
        inputs: inputs(),
        partitions: PARTITIONS,
        grace: GRACE,
        max_future_skew: Span::seconds(300),
        person_key: PersonKey::from_secret("test"),
        start_from: StartFrom::Earliest,
        checkpoint_interval: Duration::from_secs(20),
        commit_interval: Duration::from_millis(1000),
        commit_interval_min: Duration::from_millis(25),
        // Small portions: a restore reads its input again in many of them.
        commit_records_max: 3,
        page_bytes_max: 900,
        source: "test".into(),
        run: run.to_string().into(),
    }
}

struct World {
    random: Seeded,
    cluster: Cluster,
    clock: TestClock,
    workers: Vec<(u64, Worker<MemoryLog, TestClock>)>,
    started: u64,
    events: u64,
    log: Vec<Vec<(Timestamp, String)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let log = vec![Vec::new(); PARTITIONS as usize];
        let clock = TestClock(Arc::new(Mutex::new(START)));
        let cluster = Cluster::new(inputs(), PARTITIONS);
        Self { random: Seeded(seed), cluster, clock, workers: Vec::new(), started: 0, events: 0, log }
    }

    fn start_worker(&mut self) {
        self.started += 1;
        let log = self.cluster.join();
        let (id, model) = (log.member(), model());
        let metrics = Metrics::new(Vocabulary { model: &model, ignored: &[], dead_letters: &[] }).unwrap();
        let status = Arc::new(Status::new(1, Duration::from_secs(60), Instant::now()));
        let (_, mut questions) = QueryRouter::new(1);
        let publisher = Publisher::new(Arc::new(View::new()), Arc::new(metrics), status, 0, questions.remove(0));
        let stop = Arc::new(AtomicBool::new(false));
        let settings = Arc::new(settings(self.started));
        self.workers.push((id, Worker::new(log, self.clock.clone(), settings, model, publisher, stop)));
    }

    fn append(&mut self) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let account = format!("account-{partition}-{}", self.random.below(6));
        let kind = if self.random.chance(15) { "demo" } else { "visit" };
        // In time: within the grace of the moment at which the log gets it.
        let late = self.random.below(4000) as i64;
        let recorded = self.clock.wall();
        let time = crate::wire::time::format_rfc3339(Timestamp::from_millis(recorded.millis() - late));
        // One in ten is sent twice.
        self.events += u64::from(!self.random.chance(10));
        let id = format!("e{}", self.events);
        let json = format!(r#"{{"id":"{id}","type":"{kind}","account":"{account}","time":"{time}"}}"#);
        self.cluster.append(EVENTS, Partition(partition), recorded, &account, Some(json.as_bytes()));
        self.log[partition as usize].push((recorded, json));
    }

    fn turn_all(&mut self) {
        for (_, worker) in &mut self.workers {
            worker.turn().unwrap();
        }
    }

    fn disturb(&mut self) {
        match self.random.below(100) {
            0..4 if !self.workers.is_empty() => {
                let at = self.random.below(self.workers.len() as u64) as usize;
                let (id, _) = self.workers.remove(at);
                self.cluster.expel(id);
            }
            4..8 if self.workers.len() < 3 => self.start_worker(),
            // A zombie: it is expelled but goes on, and finds out at its next poll or commit.
            8..10 if !self.workers.is_empty() => {
                let at = self.random.below(self.workers.len() as u64) as usize;
                self.cluster.expel(self.workers[at].0);
            }
            10..14 => self.cluster.inject([Some(Fault::Aborted)]),
            14..18 => self.cluster.inject([Some(Fault::ReplyLost)]),
            18..22 => self.clock.pass(self.random.below(30_000_000) as i64),
            _ => {}
        }
    }

    fn heal(&mut self) {
        self.cluster.heal();
        self.workers.drain(..).for_each(|(id, _)| self.cluster.expel(id));
        self.start_worker();
        // Long enough for everything to fade below every mark.
        for _ in 0..3 {
            for _ in 0..200 {
                self.turn_all();
                self.clock.pass(50);
            }
            self.clock.pass(30 * 86_400_000);
        }
        (0..200).for_each(|_| {
            self.turn_all();
            self.clock.pass(50);
        });
    }

    /// What the records imply, decided by one engine per partition that nothing ever happens to.
    fn expected(&self) -> BTreeMap<String, Vec<String>> {
        let mut told = BTreeMap::<String, Vec<String>>::new();
        for records in &self.log {
            let mut engine = Engine::new(model(), GRACE);
            let mut decoder = Decoder::new(model(), PersonKey::from_secret("test"), Span::seconds(300));
            let mut step = Step::default();
            for (recorded, json) in records {
                let raw = RawRecord { key: None, value: Some(json.as_bytes()), recorded: Some(*recorded) };
                match decoder.decode(raw).unwrap() {
                    Decoded::Event(event) => engine.apply(&event, Mode::Live, *recorded, &mut step),
                    Decoded::Ignored { .. } => {}
                }
            }
            let end = self.clock.wall();
            engine.advance(end, usize::MAX, end, &mut step);
            for change in step.changes {
                told.entry(change.account.to_string()).or_default().push(tell(&change));
            }
        }
        told
    }

    fn published(&self) -> BTreeMap<String, Vec<String>> {
        let mut records = Vec::new();
        for topic in [OutputTopic::TierChanges, OutputTopic::SegmentChanges] {
            for output in self.cluster.outputs(topic) {
                let json: serde_json::Value = serde_json::from_slice(output.value.as_ref().unwrap()).unwrap();
                records.push((json["account"].as_str().unwrap().to_owned(), json["sequence"].as_i64().unwrap(), json));
            }
        }
        records.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut told = BTreeMap::<String, Vec<String>>::new();
        for (account, _, json) in records {
            told.entry(account).or_default().push(tell_json(&json));
        }
        told
    }
}

fn tell(change: &Change) -> String {
    let previous = change.previous_sequence.map_or("-".into(), |sequence| sequence.to_string());
    let what = match &change.transition {
        Transition::Tier { from, to, .. } => {
            format!("{} -> {}", from.as_deref().unwrap_or("none"), to.as_deref().unwrap_or("none"))
        }
        Transition::Segment { name, op } => format!("{name} {}", if *op == Op::Enter { "enter" } else { "exit" }),
    };
    let effective = crate::wire::time::format_rfc3339(change.effective_at);
    format!("{}<{previous} {what} @{effective} {}", change.sequence, change.cause.name())
}

fn tell_json(json: &serde_json::Value) -> String {
    let previous = json["previous_sequence"].as_i64().map_or("-".into(), |sequence| sequence.to_string());
    let what = if json["kind"] == "tier_change" {
        format!("{} -> {}", json["from"].as_str().unwrap_or("none"), json["to"].as_str().unwrap_or("none"))
    } else {
        format!("{} {}", json["segment"].as_str().unwrap(), json["op"].as_str().unwrap())
    };
    let (sequence, effective) = (json["sequence"].as_i64().unwrap(), json["effective_at"].as_str().unwrap());
    format!("{sequence}<{previous} {what} @{effective} {}", json["cause"].as_str().unwrap())
}

fn history(seed: u64) {
    let mut world = World::new(seed);
    world.start_worker();
    for _ in 0..400 {
        for _ in 0..world.random.below(4) {
            world.append();
        }
        world.disturb();
        world.turn_all();
        world.clock.pass(world.random.below(2000) as i64);
    }
    world.heal();
    let (published, expected) = (world.published(), world.expected());
    let again = format!("run it alone: TIDEMARK_SEED={seed} cargo test histories");
    for account in expected.keys().chain(published.keys()) {
        assert_eq!(published.get(account), expected.get(account), "account {account}, seed {seed}; {again}");
    }
}

#[test]
fn disturbed_histories_publish_what_an_undisturbed_one_does() {
    match std::env::var("TIDEMARK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => history(seed),
        None => (0..20).for_each(history),
    }
}
