//! What events mean to a small model that uses everything the decoder can do.

use proptest::prelude::*;

use super::*;
use crate::model::{DistinctSet, Fit, Glob, HalfLife, Matcher, ModelId, ModelParts, Scoring, Signal, Test as Check};

const KEYS: [&str; 10] =
    ["type", "path", "host", "query.utm_source", "campaign", "person", "score", "topics", "url", "status"];
const NOON: i64 = 1_795_262_400_000;

fn text(key: &str, pattern: &str) -> (KeyId, Check) {
    (id_of(key), Check::Text(Glob::new(pattern)))
}

fn id_of(key: &str) -> KeyId {
    KeyId(KEYS.iter().position(|name| *name == key).unwrap() as u16)
}

fn model() -> Arc<Model> {
    let half_life = HalfLife::new(Span::days(7)).unwrap();
    let additive = || Scoring::Additive { half_life };
    let signal = |name: &str, tests: Vec<(KeyId, Check)>, scoring| Signal {
        name: name.into(),
        matcher: Matcher(tests),
        points: 1.0,
        cap: None,
        scoring,
    };
    let set = |signal, field: &str| DistinctSet {
        signal: SignalId(signal),
        field: id_of(field),
        field_name: field.into(),
        within: Span::days(7),
        keep: 4,
    };
    let not_mail = (id_of("query.utm_source"), Check::Not(Box::new(Check::Text(Glob::new("mail")))));
    model_of(
        vec![Matcher(vec![text("path", "/careers*")])],
        vec![
            signal("pricing", vec![text("type", "page_view"), text("path", "/pricing*")], additive()),
            signal("ours", vec![text("host", "*.acme.com"), not_mail], additive()),
            signal("surge", vec![text("type", "surge")], Scoring::Level { field: id_of("score"), half_life }),
            signal("people", vec![text("campaign", "c*")], Scoring::Distinct { set: DistinctId(0) }),
        ],
        vec![set(3, "person"), set(3, "topics")],
    )
}

fn model_of(ignore: Vec<Matcher>, signals: Vec<Signal>, distinct_sets: Vec<DistinctSet>) -> Arc<Model> {
    let parts = ModelParts {
        id: ModelId { name: "m".into(), version: 1, digest: "d".into() },
        event_keys: KEYS.map(Into::into).to_vec(),
        attribute_keys: vec![],
        ignore,
        signals,
        distinct_sets,
        facts: vec![],
        fit: Fit::default(),
        tiers: vec![],
        segments: vec![],
        suppress: vec![],
    };
    Arc::new(Model::new(parts).unwrap())
}

fn decoder() -> Decoder {
    Decoder::new(model(), PersonKey::from_secret("k"), Span::seconds(300))
}

/// The fields that every event needs, and `more`.
fn event(more: &str) -> String {
    format!(r#"{{"id":"e1","type":"page_view","account":"acme.com","time":"2026-11-21T12:00:00Z"{more}}}"#)
}

fn raw(value: &str) -> RawRecord<'_> {
    RawRecord { key: None, value: Some(value.as_bytes()), recorded: Some(Timestamp::from_millis(NOON)) }
}

/// The hits of an event that has `more`, or why it is ignored or rejected.
fn hits(more: &str) -> Result<Vec<Hit>, String> {
    match decoder().decode(raw(&event(more))) {
        Ok(Decoded::Event(event)) => Ok(event.hits.to_vec()),
        Ok(Decoded::Ignored { why, .. }) => Err(why.name().to_owned()),
        Err(rejected) => Err(format!("{} {}", rejected.fault.name(), rejected.path)),
    }
}

fn seen(set: u8, text: &str) -> Hit {
    Hit::Seen(DistinctId(set), PersonKey::from_secret("k").hash(text))
}

const PRICING: Hit = Hit::Count(SignalId(0));
const OURS: Hit = Hit::Count(SignalId(1));
const SURGE: Hit = Hit::Count(SignalId(2));
const PEOPLE: Hit = Hit::Count(SignalId(3));

#[test]
fn an_event_is_read() {
    let value = event(r#","url":"https://x.com/pricing","unknown":{"deep":[1,{"a":null}]},"properties":{"x":1}"#);
    let mut decoder = decoder();
    let Ok(Decoded::Event(event)) = decoder.decode(raw(&value)) else { panic!("not an event") };
    let noon = Timestamp::from_millis(NOON);
    let id = EventId(xxh3_64(b"e1"));
    assert_eq!(event, Event { account: "acme.com", id, time: noon, recorded: noon, hits: &[PRICING] });
}

#[test]
fn a_key_is_looked_for_on_top_then_in_the_url_then_in_the_properties() {
    for (more, expected) in [
        (r#","path":"/pricing""#, Ok(vec![PRICING])),
        (r#","path":"/x","url":"https://x.com/pricing""#, Err("no_signal")),
        (r#","url":"https://x.com/pricing?x","properties":{"path":"/x"}"#, Ok(vec![PRICING])),
        (r#","url":"\/pricing\/eu""#, Ok(vec![PRICING])),
        (r#","properties":{"path":"/pricing"}"#, Ok(vec![PRICING])),
        (r#","path":null,"properties":{"path":"/pricing"}"#, Ok(vec![PRICING])),
        (r#","properties":{"type":"surge","path":"/pricing"}"#, Ok(vec![PRICING])),
        (r#","url":"https://WWW.Acme.com""#, Ok(vec![OURS])),
        (r#","url":"https://www.acme.com/pricing?utm_source=g2""#, Ok(vec![PRICING, OURS])),
        (r#","url":"https://www.acme.com?utm_source=ma%69l""#, Err("no_signal")),
        (r#","properties":null"#, Err("no_signal")),
    ] {
        assert_eq!(hits(more), expected.map_err(str::to_owned), "{more}");
    }
}

#[test]
fn an_account_that_only_the_key_names_is_matched_too() {
    let text = "model: m\nversion: 1\nignore: [{ match: { account: \"*.internal\" } }]\n\
                signals: [{ name: s, match: { type: t }, points: 1, half_life: 1d }]\n\
                tiers: [{ name: hot, intent: { enter: 2, exit: 1 } }]\n";
    let model = crate::wire::model_file::parse(text, "inline").unwrap().model;
    let mut decoder = Decoder::new(model, PersonKey::from_secret("k"), Span::seconds(300));
    for (key, account, ignored) in [
        ("x.internal", "", true),
        ("x.internal", r#","account":"acme.com""#, false),
        ("acme.com", r#","account":"x.internal""#, true),
        ("acme.com", r#","properties":{"account":"x.internal"}"#, false),
    ] {
        let value = format!(r#"{{"id":"1","type":"t","time":"2026-11-21T12:00:00Z"{account}}}"#);
        let record = RawRecord { key: Some(key.as_bytes()), ..raw(&value) };
        let decoded = decoder.decode(record).unwrap();
        assert_eq!(matches!(decoded, Decoded::Ignored { why: Ignored::Rule, .. }), ignored, "{key} {account}");
    }
}

#[test]
fn of_a_name_that_stands_twice_the_last_one_counts() {
    assert_eq!(hits(r#","path":"/pricing","path":"/x""#), Err("no_signal".to_owned()));
    assert_eq!(hits(r#","properties":{"path":"/pricing"},"properties":{}"#), Err("no_signal".to_owned()));
    assert_eq!(hits(r#","properties":1,"properties":{}"#), Err("wrong_type $.properties".to_owned()));
}

#[test]
fn ignore_comes_before_signals() {
    assert_eq!(hits(r#","path":"/careers/pricing","campaign":"c1""#), Err("rule".to_owned()));
}

#[test]
fn a_level_is_a_number_within_bounds() {
    for (more, expected) in [
        (r#""score":70.5"#, Ok(vec![SURGE, Hit::Level(SignalId(2), 70.5)])),
        (r#""properties":{"score":0}"#, Ok(vec![SURGE, Hit::Level(SignalId(2), 0.0)])),
        (r#""properties":{}"#, Err("unknown_level $.score")),
        (r#""score":"70""#, Err("unknown_level $.score")),
        (r#""score":-1"#, Err("unknown_level $.score")),
        (r#""score":1e9"#, Ok(vec![SURGE, Hit::Level(SignalId(2), 1e9)])),
        (r#""score":1.1e9"#, Err("unknown_level $.score")),
        (r#""score":1e308"#, Err("unknown_level $.score")),
        (r#""properties":{"score":[70]}"#, Err("unknown_level $.properties.score")),
    ] {
        assert_eq!(hits(&format!(r#","type":"surge",{more}"#)), expected.map_err(str::to_owned), "{more}");
    }
    let Ok(negative_zero) = hits(r#","type":"surge","score":-0.0"#) else { panic!("rejected") };
    assert!(matches!(negative_zero[1], Hit::Level(_, level) if level.is_sign_positive()));
}

#[test]
fn distinct_values_are_hashed() {
    for (more, expected) in [
        (r#""person":"p-1""#, vec![PEOPLE, seen(0, "p-1")]),
        (r#""person":17,"topics":["crm","",true,[1]]"#, vec![PEOPLE, seen(0, "17"), seen(1, "crm"), seen(1, "true")]),
        (r#""person":"""#, vec![PEOPLE]),
        (r#""person":{"id":1}"#, vec![PEOPLE]),
    ] {
        assert_eq!(hits(&format!(r#","campaign":"c1",{more}"#)), Ok(expected), "{more}");
    }
    assert_ne!(PersonKey::from_secret("a").hash("p"), PersonKey::from_secret("b").hash("p"));
    assert_eq!(format!("{:?}", PersonKey::from_secret("hush")), "PersonKey(secret)");
}

#[test]
fn what_cannot_be_used_says_why_and_where() {
    let long = "x".repeat(257);
    for (value, expected) in [
        ("", "malformed $"),
        ("{", "malformed $"),
        ("{} {}", "malformed $"),
        (r#"{"properties":{"a":}}"#, "malformed $.properties"),
        ("[]", "wrong_type $"),
        ("null", "wrong_type $"),
        ("{}", "missing_field $.id"),
        (&event(r#","id":1"#), "wrong_type $.id"),
        (&event(r#","id":"""#), "missing_field $.id"),
        (&event(r#","type":null"#), "missing_field $.type"),
        (&event(r#","type":["page_view"]"#), "wrong_type $.type"),
        (&event(r#","time":1795262400000"#), "wrong_type $.time"),
        (&event(r#","time":null"#), "missing_field $.time"),
        (&event(r#","time":"2026-11-21""#), "bad_time $.time"),
        (&event(r#","time":"1969-12-31T23:59:59Z""#), "bad_time $.time"),
        (&event(r#","time":"2600-01-01T00:00:00Z""#), "bad_time $.time"),
        (&event(r#","time":"2026-11-21T12:05:00.001Z""#), "far_future $.time"),
        (&event(r#","account":5"#), "wrong_type $.account"),
        (&event(r#","account":"""#), "bad_account $.account"),
        (&event(&format!(r#","account":"{long}""#)), "bad_account $.account"),
        (&event(r#","account":null"#), "missing_field $.account"),
        (&event(r#","properties":"x""#), "wrong_type $.properties"),
        (&event(r#","url":5"#), "wrong_type $.url"),
        (&event(&format!(r#","x":"{}""#, "x".repeat(1 << 20))), "oversize $"),
        (&event(r#","score":1e999"#), "malformed $"),
    ] {
        let rejected = decoder().decode(raw(value)).unwrap_err();
        assert_eq!(format!("{} {}", rejected.fault.name(), rejected.path), expected, "{value:.200}: {rejected}");
    }
    let not_utf8 = RawRecord { value: Some(b"{\"id\":\"\xff\"}"), ..RawRecord::default() };
    assert_eq!(decoder().decode(not_utf8).unwrap_err().fault, Fault::Malformed);
    assert_eq!(decoder().decode(RawRecord::default()).unwrap_err().fault, Fault::MissingField);
}

#[test]
fn the_skew_is_measured_from_the_record_time() {
    let value = event(r#","time":"2026-11-21T12:05:00Z","path":"/pricing""#);
    assert!(decoder().decode(raw(&value)).is_ok(), "exactly at the limit");
    let mut decoder = decoder();
    let in_file = RawRecord { recorded: None, ..raw(&value) };
    let Ok(Decoded::Event(event)) = decoder.decode(in_file) else { panic!("rejected") };
    assert_eq!(event.recorded, event.time, "a file's record takes its event time");
}

#[test]
fn the_account_may_come_from_the_key() {
    let account = |more: &str, key: &[u8]| match decoder().decode(RawRecord { key: Some(key), ..raw(&event(more)) }) {
        Ok(Decoded::Event(event)) => event.account.to_owned(),
        Ok(Decoded::Ignored { why, .. }) => why.name().to_owned(),
        Err(rejected) => format!("{} {}", rejected.fault.name(), rejected.path),
    };
    let pricing = r#","path":"/pricing","account":"#;
    assert_eq!(account(&format!("{pricing}null"), b"from-key"), "from-key");
    assert_eq!(account(&format!(r#"{pricing}"Acme \u00e4""#), b"from-key"), "Acme \u{e4}");
    assert_eq!(account(&format!("{pricing}null"), b""), "bad_account key");
    assert_eq!(account(&format!("{pricing}null"), b"\xff"), "bad_account key");
}

#[test]
fn buffers_are_kept_between_events() {
    let mut decoder = decoder();
    let value = event(r#","path":"/pricing","properties":{"topics":["a"]}"#);
    assert!(decoder.decode(raw(&value)).is_ok());
    let (fields, hits) = (decoder.fields.as_ptr(), decoder.hits.as_ptr());
    assert!(decoder.fields.capacity() > KEYS.len());
    assert!(decoder.decode(raw("{]")).is_err());
    assert!(decoder.decode(raw(&value)).is_ok());
    assert_eq!((decoder.fields.as_ptr(), decoder.hits.as_ptr()), (fields, hits));
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let bomb = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for place in ["unknown", "topics", "path"] {
            let value = event(&format!(r#","{place}":{bomb}"#));
            // Either outcome is sound; what counts is to get there.
            let _ = decoder().decode(raw(&value));
        }
        let _ = decoder().decode(raw(&bomb));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_panic(key in any::<Option<Vec<u8>>>(), value in any::<Vec<u8>>(), at in any::<i64>()) {
        let recorded = Some(Timestamp::from_millis(at));
        let _ = decoder().decode(RawRecord { key: key.as_deref(), value: Some(&value), recorded });
    }

    #[test]
    fn a_damaged_event_is_decoded_without_panic(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
        let mut value = event(r#","url":"https://x.com/pricing?a=%41","properties":{"score":1,"topics":["a"]}"#).into_bytes();
        let len = value.len();
        value[at % len] = byte;
        value.truncate(len - cut % len);
        let _ = decoder().decode(RawRecord { value: Some(&value), ..RawRecord::default() });
    }
}

/// Decodes views of kinds and paths, each with whether it worked, under rules most of which are about the path: what
/// an earlier one of the same path left behind changes nothing.
fn check_recall(views: Vec<(String, String, bool)>) {
    let page = |name: &str, kind: &str, test| {
        let (matcher, half_life) = (Matcher(vec![text("type", kind), test]), HalfLife::new(Span::days(7)).unwrap());
        Signal { name: name.into(), matcher, points: 1.0, cap: None, scoring: Scoring::Additive { half_life } }
    };
    let not_docs = (id_of("path"), Check::Not(Box::new(Check::Text(Glob::new("/docs*")))));
    let failed = (id_of("status"), Check::Number(500.0));
    let ignore = vec![Matcher(vec![text("type", "page_view"), text("path", "*/bb")]), Matcher(vec![failed])];
    let signals = vec![
        page("pricing", "page_view", text("path", "/pricing*")),
        page("elsewhere", "page_view", not_docs.clone()),
        page("download", "download", text("path", "/docs/*")),
        page("other", "other", not_docs),
    ];
    let model = model_of(ignore, signals, vec![]);
    let decoder = || Decoder::new(model.clone(), PersonKey::from_secret("k"), Span::seconds(300));
    let mut recalling = decoder();
    for (kind, path, worked) in views {
        let status = if worked { 200 } else { 500 };
        let json = event(&format!(r#","url":"https://acme.com{path}","status":{status}"#)).replace("page_view", &kind);
        let mut fresh = decoder();
        assert_eq!(recalling.decode(raw(&json)), fresh.decode(raw(&json)), "{kind} {path}");
    }
}

#[test]
fn a_view_that_failed_is_not_recalled_for_one_that_worked() {
    let view = |worked| ("page_view".to_owned(), "/pricing".to_owned(), worked);
    check_recall(vec![view(false), view(true)]);
}

proptest! {
    /// Some paths that come again and again.
    #[test]
    fn what_is_recalled_of_a_path_is_what_it_means(
        views in prop::collection::vec(
            ("page_view|download|other", "/(pricing|docs)?(/[ab]{0,2})?", prop::bool::weighted(0.8)), 1..60,
        ),
    ) {
        check_recall(views);
    }
}
