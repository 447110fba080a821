//! The parts of an event's way through the process, one by one: decode, apply by the number of
//! accounts and their skew, falls and the computation of when they are due, page encode and restore.
//! `cargo bench --bench engine [-- PART_OF_A_NAME]`; ten million accounts take minutes and 4 GB.

use std::{
    fmt::Write,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemark::{
    engine::{Engine, Mode, PageId, Remap, Step},
    model::{Event, EventId, Hit, Model, Scoring, SignalId, Span, Timestamp},
    wire::{
        event::{Decoder, PersonKey, RawRecord},
        model_file, page,
    },
};

const ACCOUNTS: u64 = 1_000_000;
/// From what fits the caches to what fits nothing.
const SIZES: [(&str, u64); 4] = [("10k", 10_000), ("100k", 100_000), ("1M", 1_000_000), ("10M", 10_000_000)];
/// 29 days.
const MONTH_MS: f64 = 29.0 * 86_400_000.0;
const START: i64 = 1_795_000_000_000;
const GRACE: Span = Span::seconds(5);

fn default_model() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models/default.yaml");
    model_file::load(&path).expect("the default model").model
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An engine with accounts, and a stream of events to them that goes on.
struct Load {
    engine: Engine,
    accounts: u64,
    /// The name of the account in hand. A table of all names would be another miss of the caches.
    name: String,
    signals: Vec<SignalId>,
    random: Random,
    events: u64,
    zipf: bool,
    step: Step,
}

impl Load {
    fn new(accounts: u64, zipf: bool) -> Self {
        let model = default_model();
        let additive =
            |(_, signal): &(usize, &tidemark::model::Signal)| matches!(signal.scoring, Scoring::Additive { .. });
        let signals = model.signals().iter().enumerate().filter(additive).map(|(id, _)| SignalId(id as u8)).collect();
        let mut load = Self {
            engine: Engine::new(model, GRACE),
            accounts,
            name: String::new(),
            signals,
            random: Random(7),
            events: 0,
            zipf,
            step: Step::default(),
        };
        (0..accounts).for_each(|account| load.apply(account));
        (0..4 * accounts).for_each(|_| load.next());
        load
    }

    /// How long so many events take. One more per account, and everything begins again: otherwise
    /// small tables would be measured at an age that large ones do not reach.
    fn take(&mut self, mut events: u64) -> Duration {
        let mut took = Duration::ZERO;
        while events > 0 {
            if self.events == 6 * self.accounts {
                *self = Self::new(self.accounts, self.zipf);
            }
            let some = events.min(6 * self.accounts - self.events);
            let began = Instant::now();
            (0..some).for_each(|_| self.next());
            took += began.elapsed();
            events -= some;
        }
        took
    }

    /// Zipf with exponent 1 by inverting its continuous form: rank = N^u.
    fn next(&mut self) {
        let unit = self.random.unit();
        let accounts = self.accounts as f64;
        let account = if self.zipf { accounts.powf(unit) - 1.0 } else { accounts * unit };
        self.apply(account as u64);
    }

    fn apply(&mut self, account: u64) {
        self.events += 1;
        self.name(account);
        let time = self.now();
        let signal = self.signals[(self.random.next() % self.signals.len() as u64) as usize];
        let hits = [Hit::Count(signal)];
        let event = Event { account: &self.name, id: EventId(self.random.next()), time, recorded: time, hits: &hits };
        // As a worker does: the clock follows the records, grace behind.
        self.engine.advance(time.back(GRACE), 1000, time, &mut self.step);
        self.engine.apply(&event, Mode::Live, time, &mut self.step);
        if self.step.changes.len() > 1000 {
            self.step = Step::default();
        }
    }

    fn name(&mut self, account: u64) {
        self.name.clear();
        write!(self.name, "company-{account}.example").expect("memory takes it");
    }

    /// When the last event was: five events per account take 29 days, however many accounts there are.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START + (self.events as f64 * MONTH_MS / (5.0 * self.accounts as f64)) as i64)
    }

    /// How long the next fall takes. When all have fallen, everything begins again.
    fn fall(&mut self) -> Duration {
        let due = loop {
            match self.engine.next_deadline() {
                Some(due) => break due,
                None => *self = Self::new(self.accounts, self.zipf),
            }
        };
        let began = Instant::now();
        self.engine.advance(due, 1, due, &mut self.step);
        let took = began.elapsed();
        self.step.changes.clear();
        self.step.standings.clear();
        took
    }
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5)).sample_size(20);
    for (size, accounts) in SIZES {
        for (skew, zipf) in [("uniform", false), ("zipf", true)] {
            // Made only if it is asked for.
            let mut load = None;
            group.bench_function(format!("{skew}_{size}_accounts"), |b| {
                let load = load.get_or_insert_with(|| Load::new(accounts, zipf));
                b.iter_custom(|events| load.take(events))
            });
            if let Some(load) = load {
                let bytes = load.engine.footprint() as f64 / load.engine.len() as f64;
                println!("{skew}_{size}: {bytes:.0} bytes per account after {} events", load.events);
            }
        }
    }
    group.finish();
}

/// Time goes to the next fall: it is taken from the queue, published, and the next one armed.
fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let mut load = None;
    group.bench_function("fall_due_1M_accounts", |b| {
        let load = load.get_or_insert_with(|| Load::new(ACCOUNTS, false));
        b.iter_custom(|falls| (0..falls).map(|_| load.fall()).sum())
    });
    group.finish();
}

/// What `explain` asks for is dominated by the search for the moment of the next change: accounts
/// have several signals with half-lives of their own.
fn crossing(c: &mut Criterion) {
    let mut load = None;
    c.bench_function("crossing/explain_with_next_change", |b| {
        let load = load.get_or_insert_with(|| Load::new(SIZES[0].1, false));
        let at = load.now();
        b.iter(|| {
            let account = load.random.next() % load.accounts;
            load.name(account);
            black_box(load.engine.explain(&load.name, at))
        })
    });
}

fn decode(c: &mut Criterion) {
    let mut decoder = Decoder::new(default_model(), PersonKey::from_secret("bench"), Span::seconds(300));
    let json = r#"{"id":"e-000000000017","type":"page_view","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","url":"https://www.example.com/pricing?utm_source=newsletter","properties":{"referrer":"https://search.example/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","status":200,"x":"y"}}"#;
    let recorded = tidemark::wire::time::parse_rfc3339("2026-11-21T17:00:00.100Z");
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function(format!("event_of_{}_bytes", json.len()), |b| {
        b.iter(|| {
            let record = RawRecord { key: None, value: Some(black_box(json.as_bytes())), recorded };
            black_box(decoder.decode(record).is_ok())
        })
    });
    group.finish();
}

fn pages(c: &mut Criterion) {
    let load = Load::new(ACCOUNTS, false);
    let schema = load.engine.schema();
    let page = PageId(7);
    let accounts = load.engine.images(page).len() as u64;
    let encode = || page::encode(page, 0, &[], &schema, load.engine.images(page), usize::MAX).remove(0);
    let bytes = encode();
    let mut group = c.benchmark_group("page");
    group.throughput(Throughput::Elements(accounts));
    group.bench_function(format!("encode_{accounts}_accounts_{}_bytes", bytes.len()), |b| {
        b.iter(|| black_box(encode()))
    });
    let mut engine = Engine::new(default_model(), GRACE);
    let remap = Remap::new(schema.clone(), &engine).expect("the same schema");
    group.bench_function(format!("restore_{accounts}_accounts"), |b| {
        b.iter_batched(
            || (),
            |()| {
                engine.clear_page(page);
                let mut part = page::decode(&bytes).expect("a page");
                engine.reserve(page, part.accounts_left());
                while let Some(account) = part.next_account().expect("an account") {
                    engine.load(&account, &remap);
                }
            },
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

criterion_group!(benches, decode, apply, timers, crossing, pages);
criterion_main!(benches);
