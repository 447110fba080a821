//! The parts of an event's way through the process, one by one: decode, apply (uniform and Zipf
//! accounts), page encode and restore. `cargo bench --bench engine`.

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

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
    names: Vec<String>,
    signals: Vec<SignalId>,
    random: Random,
    events: u64,
    zipf: bool,
    step: Step,
}

impl Load {
    fn new(zipf: bool) -> Self {
        let model = default_model();
        let additive =
            |(_, signal): &(usize, &tidemark::model::Signal)| matches!(signal.scoring, Scoring::Additive { .. });
        let signals = model.signals().iter().enumerate().filter(additive).map(|(id, _)| SignalId(id as u8)).collect();
        let mut load = Self {
            engine: Engine::new(model, GRACE),
            names: (0..ACCOUNTS).map(|id| format!("company-{id}.example")).collect(),
            signals,
            random: Random(7),
            events: 0,
            zipf,
            step: Step::default(),
        };
        for account in 0..ACCOUNTS {
            load.apply(account as usize);
        }
        (0..4 * ACCOUNTS).for_each(|_| load.next());
        load
    }

    /// Zipf with exponent 1 by inverting its continuous form: rank = N^u.
    fn next(&mut self) {
        let unit = self.random.unit();
        let account = if self.zipf { (ACCOUNTS as f64).powf(unit) - 1.0 } else { ACCOUNTS as f64 * unit };
        self.apply(account as usize);
    }

    fn apply(&mut self, account: usize) {
        self.events += 1;
        // Five million events take 29 days.
        let time = Timestamp::from_millis(START + self.events as i64 * 500);
        let signal = self.signals[(self.random.next() % self.signals.len() as u64) as usize];
        let hits = [Hit::Count(signal)];
        let event =
            Event { account: &self.names[account], id: EventId(self.random.next()), time, recorded: time, hits: &hits };
        // As a worker does: the clock follows the records, grace behind.
        self.engine.advance(time.back(GRACE), 1000, time, &mut self.step);
        self.engine.apply(&event, Mode::Live, time, &mut self.step);
        if self.step.changes.len() > 1000 {
            self.step = Step::default();
        }
    }
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5)).sample_size(20);
    for zipf in [false, true] {
        let mut load = Load::new(zipf);
        let name = if zipf { "zipf_1M_accounts" } else { "uniform_1M_accounts" };
        let bytes = load.engine.footprint() as f64 / load.engine.len() as f64;
        println!("{name}: {bytes:.0} bytes per account after {} events", load.events);
        group.bench_function(name, |b| b.iter(|| load.next()));
    }
    group.finish();
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
    let load = Load::new(false);
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
                while let Some(account) = part.next_account().expect("an account") {
                    engine.load(&account, &remap);
                }
            },
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

criterion_group!(benches, decode, apply, pages);
criterion_main!(benches);
