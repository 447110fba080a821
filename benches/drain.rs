//! Drains a preloaded topic under exactly-once, with real Kafka beside it, and counts the events
//! per second of CPU time of the Tidemark process (its threads in the client library included).
//!
//! `cargo bench --bench drain [-- EVENTS [ACCOUNTS [WORKERS]]]`, by default 2,000,000 events of about
//! 300 bytes over 1,000,000 accounts, and two workers. Needs Java 17 and Maven, as the tests do.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use support::{
    kafka::{Broker, Tuning},
    tidemark::Running,
    topics::{self, Record, Writer},
};

const PARTITIONS: i32 = 8;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [events, accounts, workers] = [(0, 2_000_000), (1, 1_000_000), (2, 2)]
        .map(|(at, default): (usize, u64)| numbers.get(at).copied().unwrap_or(default));
    let broker = match Broker::start(Tuning::Throughput) {
        Ok(broker) => broker,
        Err(reason) => return println!("SKIPPED: no Kafka: {reason}"),
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("tidemark.yaml");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/config/models/default.yaml");
    fs::write(&config, configuration(broker.bootstrap(), model, workers)).expect("a file in it");
    let config = config.to_str().expect("a path of UTF-8");
    support::tidemark::run_well(&[
        "topics",
        "-c",
        config,
        "--create",
        "--partitions",
        &PARTITIONS.to_string(),
        "--replication-factor",
        "1",
    ]);
    let bytes = preload(&broker, events, accounts);
    println!("{events} events of {} bytes on average over {accounts} accounts are in the topic", bytes / events);

    let began = Instant::now();
    let mut tidemark = Running::start("drain", directory.path(), &["run", "-c", config]);
    support::wait_until("the topic to be drained", Duration::from_secs(600), || {
        assert!(tidemark.is_running(), "{}", tidemark.log());
        let committed = topics::committed(&broker, "drain", "intent.events");
        let done: i64 = committed.into_iter().flatten().sum();
        (done as u64 >= events).then_some(())
    });
    let (wall, cpu) = (began.elapsed(), cpu_seconds(tidemark.id()));
    let resident = resident_bytes(tidemark.id());
    tidemark.terminate(Duration::from_secs(30));
    let changes: i64 = ["intent.tier-changes", "intent.segment-changes"]
        .iter()
        .flat_map(|topic| topics::read(&broker, topic, support::topics::Isolation::Committed))
        .count() as i64;
    println!("changes  {:.1} per thousand events", changes as f64 * 1e3 / events as f64);
    println!(
        "wall     {:.2} s, joining the group included: {:.0} events/s",
        wall.as_secs_f64(),
        events as f64 / wall.as_secs_f64()
    );
    println!("cpu      {cpu:.2} s: {:.0} events per CPU-second", events as f64 / cpu);
    println!("resident {:.0} MB: {:.0} bytes per account", resident as f64 / 1e6, resident as f64 / accounts as f64);
}

fn configuration(brokers: &str, model: &str, workers: u64) -> String {
    format!(
        "kafka: {{ brokers: \"{brokers}\", group_id: drain, instance: bench }}\nmodel: \"{model}\"\nworkers: {workers}\n\
         http: {{ listen: \"127.0.0.1:0\" }}\n"
    )
}

/// Uniform accounts of one person each, and page views of which one in 256 is of the pricing page, so
/// that changes are rare; a second of record time for every thousand events, ending now.
fn preload(broker: &Broker, events: u64, accounts: u64) -> u64 {
    let writer = Writer::plain(broker);
    let now = chrono::Utc::now().timestamp_millis();
    let (mut random, mut bytes) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for event in 0..events {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let company = (random >> 33) % accounts;
        let account = format!("company-{company}.example");
        let at = now - (events - event) as i64;
        let path = match (random >> 24) % 256 {
            0 => "/pricing",
            choice => ["/blog/intent", "/company/about"][choice as usize % 2],
        };
        let time = tidemark::wire::time::format_rfc3339(tidemark::model::Timestamp::from_millis(at));
        let json = format!(
            r#"{{"id":"e-{event:012}","type":"page_view","account":"{account}","time":"{time}","person":"p-{company}","url":"https://www.example.com{path}?utm_source=newsletter","properties":{{"referrer":"https://search.example/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","status":200}}}}"#
        );
        bytes += json.len() as u64;
        let record =
            Record { key: Some(account.into_bytes()), value: Some(json.into_bytes()), time: at, ..Record::default() };
        writer.send("intent.events", &record);
    }
    writer.flush();
    bytes
}

/// User and system time of a process, from `/proc`.
fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields are counted after the command, which is in parentheses: utime is the 14th, stime the 15th.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
