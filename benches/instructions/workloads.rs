//! What is measured. Each workload does the same work at every call.

use std::{hint::black_box, path::Path, sync::Arc};

use tidemark::{
    engine::{Engine, Mode, PageId, Remap, Step, account_hash, page_of},
    model::{DistinctId, Event, EventId, Hit, Model, PersonId, Scoring, Signal, SignalId, Span, Timestamp},
    wire::{
        attributes::AttributeDecoder,
        event::{Decoder, PersonKey, RawRecord},
        model_file, page,
        time::parse_rfc3339,
    },
};

/// One unit of work, to be done again and again.
pub type Work = Box<dyn FnMut()>;

/// A workload's name, how to prepare it, and how often to repeat it.
type Workload = (&'static str, fn() -> Work, usize);

/// The shapes of records that are decoded: what producers send, and, behind these, what takes the slow way.
const RECORDS: [(&str, &str); 10] = [
    (
        "page_view",
        r#"{"id":"e-000000000017","type":"page_view","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","url":"https://www.example.com/pricing?utm_source=newsletter","properties":{"referrer":"https://search.example/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","status":200,"x":"y"}}"#,
    ),
    (
        "page_view_of_a_web_log",
        r#"{"id":"log-00001","type":"page_view","account":"83.149.9.216","time":"2015-05-17T10:05:03.000Z","person":"0b53e053eeb0","url":"http://semicomplete.com/presentations/logstash-monitorama-2013/images/kibana-search.png","properties":{"status":200,"method":"GET","referrer":"http://semicomplete.com/presentations/logstash-monitorama-2013/","user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36"}}"#,
    ),
    (
        "page_view_ignored",
        r#"{"id":"e-000000000018","type":"page_view","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","url":"https://www.example.com/careers/engineer","properties":{"referrer":"https://search.example/"}}"#,
    ),
    (
        "ad_click",
        r#"{"id":"0192f0c1-7c1e-7bb4-9d57-0d9a3c1f2e11","type":"ad_click","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","properties":{"campaign":"compare-crm","ad_group":"emea","cost_usd":1.25}}"#,
    ),
    (
        "form_submit",
        r#"{"id":"e-000000000019","type":"form_submit","account":"company-17.example","time":"2026-11-21T17:00:00Z","person":"jane@company-17.example","properties":{"form":"demo-request","fields":{"size":"50-200","country":"DE"},"consent":true}}"#,
    ),
    (
        "topic_score",
        r#"{"id":"b-2026-47-company-17-crm","type":"topic_score","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","properties":{"provider":"bombora","topic":"crm","score":71.5,"previous":null}}"#,
    ),
    (
        "third_party_with_spaces",
        r#"{"id": "g2-000000000020", "type": "third_party", "account": "company-17.example", "time": "2026-11-21T17:00:00.000Z", "properties": {"provider": "g2", "kind": "compare", "strength": 82, "products": ["ours", "theirs"]}}"#,
    ),
    (
        "no_signal",
        r#"{"id":"e-000000000021","type":"heartbeat","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","properties":{"session":"0192f0c1-7c1e"}}"#,
    ),
    (
        "page_view_escaped",
        r#"{"id":"e-000000000022","type":"page_view","account":"company-17.example","time":"2026-11-21T17:00:00.000Z","person":"p-4","url":"https:\/\/www.example.com\/pricing","properties":{"title":"\u201cPricing\u201d"}}"#,
    ),
    (
        "far_future",
        r#"{"id":"e-000000000023","type":"page_view","account":"company-17.example","time":"2026-11-22T17:00:00.000Z","url":"https://www.example.com/pricing"}"#,
    ),
];

/// How many of the records are of a kind that producers send.
const PLAIN: usize = 8;

const ATTRIBUTES: &str = r#"{"employees":400,"industry":"software","annual_revenue_usd":40000000,"country":"DE","technologies":["hubspot","kubernetes"],"business_model":"b2b","lifecycle":"prospect","name":"Company 17"}"#;

/// Accounts in the engines; they share a few pages, so that these are as full as with a million.
const ACCOUNTS: usize = 1024;
const PAGES_USED: u16 = 4;
const START: i64 = 1_795_000_000_000;
const GRACE: Span = Span::seconds(5);
const PAGE: PageId = PageId(2);

/// Names of all workloads.
pub fn names() -> impl Iterator<Item = String> {
    let decode = RECORDS.iter().map(|(shape, _)| format!("decode/{shape}"));
    decode.chain(OTHERS.iter().map(|(name, ..)| (*name).to_owned()))
}

/// The workloads other than decoding events.
const OTHERS: [Workload; 9] = [
    ("decode/attributes", decode_attributes, 1000),
    ("decode/plain_in_turn", decode_in_turn, 100 * PLAIN),
    ("engine/apply", || apply(false), 2000),
    ("engine/apply_person", || apply(true), 2000),
    ("engine/apply_duplicate", apply_duplicate, 1000),
    ("engine/apply_quiet", apply_quiet, 2000),
    ("engine/fall_due", fall_due, 1000),
    ("page/encode", encode_page, 20),
    ("page/restore", restore_page, 20),
];

/// The work of a workload, with all preparations made, and how often to repeat it.
pub fn named(name: &str) -> Option<(Work, usize)> {
    if let Some((_, prepare, times)) = OTHERS.iter().find(|(other, ..)| *other == name) {
        return Some((prepare(), *times));
    }
    let shape = name.strip_prefix("decode/")?;
    let (_, json) = RECORDS.iter().find(|(known, _)| *known == shape)?;
    Some((decode(json), 1000))
}

fn default_model() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models/default.yaml");
    model_file::load(&path).expect("the default model").model
}

fn raw(json: &'static str) -> RawRecord<'static> {
    let recorded = parse_rfc3339("2026-11-21T17:00:00.100Z");
    RawRecord { key: Some(b"company-17.example"), value: Some(json.as_bytes()), recorded }
}

fn decode(json: &'static str) -> Work {
    let mut decoder = Decoder::new(default_model(), PersonKey::from_secret("bench"), Span::seconds(300));
    let record = raw(json);
    Box::new(move || drop(black_box(decoder.decode(black_box(record)))))
}

/// One record after the other, none of the shape of the one before.
fn decode_in_turn() -> Work {
    let mut decoder = Decoder::new(default_model(), PersonKey::from_secret("bench"), Span::seconds(300));
    let mut records = RECORDS[..PLAIN].iter().map(|(_, json)| raw(json)).collect::<Vec<_>>().into_iter().cycle();
    Box::new(move || drop(black_box(decoder.decode(black_box(records.next().expect("there is no end"))))))
}

fn decode_attributes() -> Work {
    let mut decoder = AttributeDecoder::new(default_model());
    let record = raw(ATTRIBUTES);
    Box::new(move || drop(black_box(decoder.decode(black_box(record)))))
}

/// An engine with accounts, and a stream of events to them that goes on.
struct Load {
    engine: Engine,
    names: Vec<String>,
    additive: Vec<SignalId>,
    /// The distinct set that a signal counts.
    people: DistinctId,
    events: u64,
    step: Step,
}

impl Load {
    fn new() -> Self {
        let model = default_model();
        let signals = || model.signals().iter().enumerate();
        let is_additive = |signal: &Signal| matches!(signal.scoring, Scoring::Additive { .. });
        let additive = signals().filter(|(_, signal)| is_additive(signal)).map(|(id, _)| SignalId(id as u8)).collect();
        let set = |signal: &Signal| if let Scoring::Distinct { set } = signal.scoring { Some(set) } else { None };
        let people = signals().find_map(|(_, signal)| set(signal)).expect("the default model counts people");
        let names = (0..).map(|id| format!("company-{id}.example"));
        let names = names.filter(|name| page_of(account_hash(name)).0 < PAGES_USED).take(ACCOUNTS).collect();
        let engine = Engine::new(model, GRACE);
        let mut load = Self { engine, names, additive, people, events: 0, step: Step::default() };
        (0..5 * ACCOUNTS).for_each(|_| load.next(true));
        load
    }

    /// An event of some account and some signal, and perhaps of somebody.
    fn next(&mut self, by_somebody: bool) {
        self.events += 1;
        let random = random(self.events);
        let signal = self.additive[(random >> 32) as usize % self.additive.len()];
        let hits = [Hit::Count(signal), Hit::Seen(self.people, PersonId(random >> 62))];
        let hits = if by_somebody { &hits[..] } else { &hits[..1] };
        // Each account has an event every six hours or so.
        let time = Timestamp::from_millis(START + self.events as i64 * 20_000);
        self.apply(random, time, hits);
    }

    /// Somebody known looks at the blog, a millisecond after the event before: nothing changes.
    fn next_quiet(&mut self) {
        self.events += 1;
        let random = random(self.events);
        let time = Timestamp::from_millis(START + 5 * ACCOUNTS as i64 * 20_000 + self.events as i64);
        self.apply(random, time, &[Hit::Seen(self.people, PersonId(random >> 62))]);
    }

    fn apply(&mut self, random: u64, time: Timestamp, hits: &[Hit]) {
        let account = &self.names[random as usize % ACCOUNTS];
        let event = Event { account, id: EventId(random), time, recorded: time, hits };
        // As a worker does: the clock follows the records, grace behind.
        self.engine.advance(time.back(GRACE), 1000, time, &mut self.step);
        self.engine.apply(&event, Mode::Live, time, &mut self.step);
        self.step.changes.clear();
        self.step.standings.clear();
    }
}

/// SplitMix64 of a number.
fn random(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn apply(by_somebody: bool) -> Work {
    let mut load = Load::new();
    Box::new(move || load.next(by_somebody))
}

fn apply_quiet() -> Work {
    let mut load = Load::new();
    // Until everybody was there, and accounts remember as many events as they can.
    (0..24 * ACCOUNTS).for_each(|_| load.next_quiet());
    Box::new(move || load.next_quiet())
}

/// An event that the account knows already.
fn apply_duplicate() -> Work {
    let mut load = Load::new();
    Box::new(move || {
        load.events -= 1;
        load.next(false);
    })
}

/// Time goes to the next fall of an account: its change, and when the one after is due.
fn fall_due() -> Work {
    let Load { mut engine, mut step, .. } = Load::new();
    Box::new(move || {
        let due = engine.next_deadline().expect("an account that will fall");
        engine.advance(due, 1, due, &mut step);
        step.changes.clear();
        step.standings.clear();
    })
}

fn encode_page() -> Work {
    let engine = Load::new().engine;
    let schema = engine.schema();
    Box::new(move || drop(black_box(page::encode(PAGE, 0, &[], &schema, engine.images(PAGE), usize::MAX))))
}

fn restore_page() -> Work {
    let written = Load::new().engine;
    let bytes = page::encode(PAGE, 0, &[], &written.schema(), written.images(PAGE), usize::MAX).remove(0);
    let mut engine = Engine::new(default_model(), GRACE);
    let remap = Remap::new(written.schema(), &engine).expect("the same schema");
    Box::new(move || {
        engine.clear_page(PAGE);
        let mut part = page::decode(&bytes).expect("a page");
        engine.reserve(PAGE, part.accounts_left());
        while let Some(account) = part.next_account().expect("an account") {
            engine.load(&account, &remap);
        }
    })
}
