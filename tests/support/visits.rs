//! Real traffic: ten thousand page views of a public web site (`tests/data/README.md`).

use std::{fs::File, io::Read};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tidemark::{
    model::Timestamp,
    wire::time::{format_rfc3339, parse_rfc3339},
};

use super::{
    kafka::Broker,
    topics::{Record, Writer},
    verdict::EXPECTED_REASON,
};

/// One record in so many is rubbish; it is a number that the kinds of rubbish do not share.
const RUBBISH_EVERY: usize = 97;

/// The file of the visits, as events, one a line.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-visits.ndjson.gz");

/// The visits as events, one a line.
pub fn lines() -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(FILE).expect("the visits are there")).read_to_string(&mut text).expect("they are text");
    text.lines().map(str::to_owned).collect()
}

/// The visits as records: keyed by account, the record time that of the event.
pub fn records() -> Vec<Record> {
    lines().iter().map(|line| event_record(line)).collect()
}

/// Writes events, one a line, to a topic, with rubbish among them.
pub fn write<'a>(broker: &Broker, topic: &str, lines: impl IntoIterator<Item = &'a String>) {
    let writer = Writer::plain(broker);
    for (number, line) in lines.into_iter().enumerate() {
        let visit = event_record(line);
        writer.send(topic, &visit);
        if number % RUBBISH_EVERY == 0 {
            writer.send(topic, &rubbish(number, &visit));
        }
    }
    writer.flush();
}

/// A record that cannot be used, beside a visit; the kinds take turns.
pub fn rubbish(number: usize, visit: &Record) -> Record {
    let kinds: [(&str, String); 6] = [
        ("malformed", format!("{{\"id\": \"rubbish-{number}\",")),
        ("wrong_type", format!("[\"rubbish-{number}\"]")),
        ("missing_field", r#"{"type": "page_view", "time": "2015-05-17T10:05:03.000Z"}"#.to_owned()),
        ("bad_time", format!(r#"{{"id": "rubbish-{number}", "type": "page_view", "time": "yesterday"}}"#)),
        ("far_future", format!(r#"{{"id": "rubbish-{number}", "type": "page_view", "time": "2199-01-01T00:00:00Z"}}"#)),
        ("bad_account", event_line(&format!("rubbish-{number}"), &"x".repeat(300), visit.time)),
    ];
    let (reason, value) = &kinds[number / RUBBISH_EVERY % kinds.len()];
    Record {
        value: Some(value.clone().into_bytes()),
        headers: vec![(EXPECTED_REASON.to_owned(), reason.as_bytes().to_vec())],
        ..visit.clone()
    }
}

/// A record for an event that is written as one line of JSON.
pub fn event_record(line: &str) -> Record {
    let event: Value = serde_json::from_str(line).expect("the event is JSON");
    let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {line}")).to_owned();
    Record {
        time: parse_rfc3339(&text("time")).expect("the time is RFC 3339").millis(),
        key: Some(text("account").into_bytes()),
        value: Some(line.as_bytes().to_vec()),
        ..Record::default()
    }
}

/// A page view as one line of JSON; `time` in milliseconds since the epoch.
pub fn event_line(id: &str, account: &str, time: i64) -> String {
    page_view(id, account, time, "/")
}

/// A view of the page at `path`.
pub fn page_view(id: &str, account: &str, time: i64, path: &str) -> String {
    let (time, url) = (format_rfc3339(Timestamp::from_millis(time)), format!("https://example.com{path}"));
    json!({"id": id, "type": "page_view", "account": account, "time": time, "url": url}).to_string()
}
