//! What is fuzzed: every decoder of bytes from outside, with what must hold of any input. A property
//! that does not hold is a panic.
//!
//! `cargo fuzz` runs these functions with coverage (`Cargo.toml` beside); `tests/fuzz_corpus.rs` runs
//! them on the kept inputs and on mutations of those, in every test run.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use tidemark::{
    engine::{AccountImage, Engine, Mode, Remap, Step},
    log::{InputId, Offset, Partition, Record},
    model::{MAX_ACCOUNT_BYTES, Model, Span, Timestamp},
    settings::{Settings, Surroundings},
    wire::{
        attributes::AttributeDecoder,
        dead_letter::{Rejected, dead_letter},
        event::{Decoded, Decoder, PersonKey, RawRecord},
        model_file,
        page::{self, PageError, PageHeader, PagePart},
        standing::{decode_standing, encode_standing},
    },
};

/// A decoder's name, and the function that feeds it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("event", event),
    ("attributes", attributes),
    ("model_file", model_file),
    ("page", page),
    ("standing", standing),
    ("settings", settings),
];

/// When the log got the record: 21 November 2026.
const RECORDED: Timestamp = Timestamp::from_millis(1_795_280_400_000);
/// An account in memory takes at most this: the model bounds what is kept, whatever comes.
const ACCOUNT_BYTES_MAX: usize = 64 * 1024;
/// Changes that one account can have until it has faded: each mark of the default model, many times.
const TIMERS_MAX: usize = 10_000;

/// A record of an event topic is applied, ignored with a reason, or a dead letter with a reason.
pub fn event(value: &[u8]) {
    for raw in records(value) {
        let mut decoder = Decoder::new(model(), PersonKey::from_secret("fuzz"), Span::seconds(300));
        match decoder.decode(raw) {
            Ok(Decoded::Event(event)) => {
                check_account(event.account);
                assert!(event.time.is_representable());
                // At most one hit for each value of a list, for each signal.
                assert!(event.hits.len() <= (2 + value.len()) * 2 * model().signals().len());
                runs_its_course(|engine, step| engine.apply(&event, Mode::Live, RECORDED, step));
            }
            Ok(Decoded::Ignored { why, time }) => assert!(!why.name().is_empty() && time.is_representable()),
            Err(rejected) => goes_to_the_dead_letters(&raw, &rejected),
        }
    }
}

/// A record of the accounts topic becomes facts, or a dead letter with a reason.
pub fn attributes(value: &[u8]) {
    for raw in records(value) {
        match AttributeDecoder::new(model()).decode(raw) {
            Ok(attributes) => {
                check_account(attributes.account);
                assert!(attributes.recorded.is_representable());
                runs_its_course(|engine, step| engine.apply_attributes(&attributes, Mode::Live, RECORDED, step));
            }
            Err(rejected) => goes_to_the_dead_letters(&raw, &rejected),
        }
    }
}

/// A model file is a model that an engine can run, or a message of bounded length.
pub fn model_file(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    match model_file::parse(text, "fuzz.yaml") {
        Ok(loaded) => {
            let again = model_file::parse(text, "fuzz.yaml").expect("what was read once is read again");
            assert_eq!(loaded.model.id().digest, again.model.id().digest);
            assert!(loaded.warnings.iter().all(|warning| warning.to_string().len() <= message_bytes_max(text)));
            let engine = Engine::new(loaded.model, Span::ZERO);
            assert!(Remap::new(engine.schema(), &engine).is_ok(), "a page of this model can be read");
        }
        Err(error) => assert!(error.to_string().len() <= message_bytes_max(text)),
    }
}

/// A part of a state page comes back as it was written, or is refused; damage is always noticed.
pub fn page(bytes: &[u8]) {
    load(bytes);
    // Past the checksum, which random bytes never meet: what a bug of ours, or an attacker, writes.
    if let Some(body) = bytes.len().checked_sub(8) {
        let mut sealed = bytes[..body].to_vec();
        sealed.extend(xxhash_rust::xxh3::xxh3_64(&sealed).to_le_bytes());
        load(&sealed);
    }
}

/// A standing comes back as it was written, or is refused, and the engine can go on from it.
pub fn standing(value: &[u8]) {
    let Ok(standing) = decode_standing(value) else { return };
    let model = model();
    let mut written = Vec::new();
    encode_standing(&standing, model.id(), &mut written);
    let read = decode_standing(&written).unwrap_or_else(|error| panic!("{error}: {standing:?}"));
    let mut rewritten = Vec::new();
    encode_standing(&read, model.id(), &mut rewritten);
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&rewritten));
    runs_its_course(|engine, _| {
        engine.load_standing(&standing);
        engine.arm_all();
    });
}

/// A configuration is sound, or refused with a message of bounded length.
pub fn settings(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let surroundings = Surroundings::new(|_| None, |_| Err(io::ErrorKind::NotFound.into()));
    match Settings::parse(text, Path::new("fuzz.yaml"), &surroundings) {
        Ok(settings) => assert!(settings.http.listen.ip().is_loopback() || settings.http.token.is_some()),
        Err(error) => assert!(error.to_string().len() <= message_bytes_max(text)),
    }
}

fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let text = include_str!("../../config/models/default.yaml");
    MODEL.get_or_init(|| model_file::parse(text, "default.yaml").expect("the default model is one").model).clone()
}

/// The value in records of every kind: with and without a key and a record time.
fn records(value: &[u8]) -> [RawRecord<'_>; 3] {
    let (key, recorded) = (Some(b"acme.com".as_slice()), Some(RECORDED));
    [
        RawRecord { key, value: Some(value), recorded },
        RawRecord { key: None, value: Some(value), recorded: None },
        RawRecord { key: Some(value), value: None, recorded },
    ]
}

fn check_account(account: &str) {
    assert!((1..=MAX_ACCOUNT_BYTES).contains(&account.len()), "an account of {} bytes", account.len());
}

/// Lets an empty engine take something in and all time pass: within bounded memory and time.
fn runs_its_course(take_in: impl FnOnce(&mut Engine, &mut Step)) {
    let (mut engine, mut step) = (Engine::new(model(), Span::seconds(5)), Step::default());
    let before = engine.footprint();
    take_in(&mut engine, &mut step);
    assert!(engine.footprint() <= before + ACCOUNT_BYTES_MAX, "{} bytes for one account", engine.footprint());
    let due = engine.advance(Timestamp::LATEST, TIMERS_MAX, RECORDED, &mut step);
    assert!(!due, "time does not end");
    let in_order = step.changes.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
    assert!(in_order, "the sequence rises: {:?}", step.changes);
}

/// The dead letter of a record has it as received, and headers that fit.
fn goes_to_the_dead_letters(raw: &RawRecord<'_>, rejected: &Rejected) {
    let RawRecord { key, value, recorded: time } = *raw;
    let record = Record { input: InputId(0), partition: Partition(0), offset: Offset(0), time, key, value };
    let letter = dead_letter(&record, "intent.events", rejected, usize::MAX);
    assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (key, value));
    let headers: usize = letter.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(headers <= 8 * 1024, "{headers} bytes of headers");
}

/// Messages quote what was written, escaped; they do not multiply it.
fn message_bytes_max(text: &str) -> usize {
    16 * text.len() + 8 * 1024
}

/// Reads a part of a page, takes its accounts in, and writes it again.
fn load(bytes: &[u8]) {
    let Ok(mut part) = page::decode(bytes) else { return };
    let mut stored = Vec::new();
    let sound = loop {
        match next(&mut part, bytes.len()) {
            Ok(Some(AccountImage { name, settled, tier, ids, words })) => {
                stored.push((name.to_owned(), settled, tier, ids, words.to_owned()));
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let images = stored.iter().map(|(name, settled, tier, ids, words)| AccountImage {
        name,
        settled: *settled,
        tier: *tier,
        ids: *ids,
        words,
    });
    let PageHeader { page, partition, part, parts, positions, schema } = part.header;
    let Ok(schema) = schema.decode() else { return };
    if sound && (part, parts) == (0, 1) {
        let positions: Vec<(Arc<str>, i64)> = positions.iter().map(|(topic, at)| ((*topic).into(), *at)).collect();
        let written = page::encode(page, partition, &positions, &schema, images.clone(), usize::MAX);
        assert!(written == [bytes], "what is read is what was written");
        let mut damaged = bytes.to_vec();
        let bit = xxhash_rust::xxh3::xxh3_64(bytes) as usize % (8 * bytes.len());
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(page::decode(&damaged).is_err(), "bit {bit} was flipped");
    }
    let (mut engine, mut step) = (Engine::new(model(), Span::seconds(5)), Step::default());
    let Ok(remap) = Remap::new(schema, &engine) else { return };
    let taken = images.filter(|image| engine.load(image, &remap).is_some()).count();
    assert!(engine.len() <= taken);
    engine.arm_all();
    engine.advance(Timestamp::LATEST, TIMERS_MAX, RECORDED, &mut step);
}

/// The next account of a part, which has no more in it than the bytes of the part.
fn next<'a>(part: &mut PagePart<'a>, bytes: usize) -> Result<Option<AccountImage<'a>>, PageError> {
    let next = part.next_account();
    if let Ok(Some(image)) = &next {
        assert!(image.name.len() + 8 * image.words.len() <= bytes);
    }
    next
}
