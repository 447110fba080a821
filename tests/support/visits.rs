//! Real traffic: ten thousand page views of a public web site (`tests/data/README.md`).

use std::{fs::File, io::Read};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tidemark::{
    model::Timestamp,
    wire::time::{format_rfc3339, parse_rfc3339},
};

use super::topics::Record;

/// The file of the visits, as events, one a line.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-visits.ndjson.gz");

/// The visits as records: keyed by account, the record time that of the event.
pub fn records() -> Vec<Record> {
    let mut text = String::new();
    GzDecoder::new(File::open(FILE).expect("the visits are there")).read_to_string(&mut text).expect("they are text");
    text.lines().map(event_record).collect()
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
    let time = format_rfc3339(Timestamp::from_millis(time));
    json!({"id": id, "type": "page_view", "account": account, "time": time, "url": "https://example.com/"}).to_string()
}
