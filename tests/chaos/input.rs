//! Input that is rubbish, too large, lopsided, or due all at once.

use std::time::Duration;

use tidemark::wire::time::format_rfc3339;

use crate::{
    load::{self, LIMIT, Load, await_ready, random},
    support::{
        kafka::Broker,
        tidemark::Running,
        topics::Record,
        verdict::{self, EXPECTED_REASON},
        visits, wait_until,
    },
};

/// For a million accounts, in a build that is not optimised.
const LONG_LIMIT: Duration = Duration::from_secs(1800);
/// A record's value that is read at all: 1 MiB.
const VALUE_BYTES_MAX: usize = 1 << 20;

#[test]
fn input_of_rubbish_only_is_buried_once_each_and_counted() {
    let Some(broker) = Broker::shared() else { return };
    let visit = visits::event_record(&visits::event_line("v", "acme.com", 1_400_000_000_000));
    let rubbish: Vec<Record> = (0..600)
        .map(|number| Record {
            key: Some(format!("account-{number}").into_bytes()),
            // The kinds take turns every so many visits.
            ..visits::rubbish(number * 97, &visit)
        })
        .collect();
    let load = Load::visits_after(broker, "rubbish", &rubbish, &[]);

    let process = load.deployment.start("only");
    load.deployment.wait_drained(LIMIT);
    await_ready(&process, LIMIT);
    let counted = || sum(&process.get("/metrics").1, "tidemark_dead_letters_total");
    wait_until("all of it to be counted", LIMIT, || (counted() == rubbish.len() as f64).then_some(()));
    let found = load.conclude(&mut [process]);
    assert_eq!(found.dead_letters, rubbish.len());
}

#[test]
fn records_at_the_limits_of_size_are_applied_or_pointed_to() {
    let Some(broker) = Broker::shared() else { return };
    let mut random = random();
    let lines = &mut visits::lines()[..600].to_vec();
    let time = visits::event_record(&lines[0]).time;
    // As large as a value may be, and used.
    let padding = VALUE_BYTES_MAX - visits::page_view("padded", "large.example", time, "/about?").len();
    lines.insert(0, visits::page_view("padded", "large.example", time, &format!("/about?{}", "x".repeat(padding))));

    let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| random.u8(..) | 0x80).collect() };
    let record = |key: Vec<u8>, value: Vec<u8>, reason: &str| Record {
        time,
        key: Some(key),
        value: Some(value),
        headers: vec![(EXPECTED_REASON.to_owned(), reason.as_bytes().to_vec())],
        ..Record::default()
    };
    let rubbish = [
        record(b"carried".to_vec(), noise(900_000), "malformed"),
        record(b"no room for headers".to_vec(), noise(999_900), "malformed"),
        record(b"just read".to_vec(), noise(VALUE_BYTES_MAX), "malformed"),
        record(b"not read".to_vec(), noise(VALUE_BYTES_MAX + 1), "oversize"),
        record(b"huge".to_vec(), noise(5_000_000), "oversize"),
        record(noise(1_200_000), b"{}".to_vec(), "missing_field"),
        record(noise(450_000), noise(700_000), "malformed"),
    ];
    let load = Load::visits_after(broker, "large", &rubbish, lines);

    let process = load.deployment.start("only");
    let found = load.check(&mut [process]);
    assert!(found.dead_letters > rubbish.len(), "{found:?}");
}

#[test]
fn one_account_has_nearly_all_of_the_traffic() {
    let Some(broker) = Broker::shared() else { return };
    let hot = |(number, line): (usize, &String)| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("an event");
        if number % 20 != 0 {
            event["account"] = "hot.example".into();
        }
        event.to_string()
    };
    let lines: Vec<String> = visits::lines()[..4000].iter().enumerate().map(hot).collect();
    let load = Load::visits_after(broker, "hot", &[], &lines);

    let mut processes = ["one", "other"].map(|name| load.deployment.start(name));
    load.await_progress(30);
    processes[0].kill();
    processes[0] = load.deployment.start("one");
    load.check(&mut processes);
}

#[test]
fn many_falls_at_one_moment_are_published_once_each() {
    let Some(broker) = Broker::shared() else { return };
    storm(broker, 20_000);
}

#[test]
#[ignore = "long: a million accounts"]
fn a_million_falls_at_one_moment_are_published_once_each() {
    let Some(broker) = Broker::shared() else { return };
    let accounts = 1_000_000;
    let deployment = load::storm(broker, "million", accounts).0;
    let mut process = deployment.start("only");
    wait_until("a rise and a fall of every account", LONG_LIMIT, || {
        (deployment.change_offsets() >= 2 * accounts as i64 && deployment.is_drained()).then_some(())
    });
    // An audit needs no room for all changes at once. What is left to commit is a matter of moments.
    wait_until("a clean audit", LONG_LIMIT, || (deployment.audit(&["--settle", "1s"]).code == Some(0)).then_some(()));
    check_pace(&process);
    assert_eq!(process.terminate(LIMIT).code(), Some(0), "{}", process.log());
    eprintln!("{}", deployment.audit(&["--until", &format_rfc3339(verdict::now())]).expect_clean());
}

/// They are all due before the process starts, as after an outage.
fn storm(broker: &'static Broker, accounts: usize) {
    let load = Load::storm(broker, "storm", accounts);
    assert_eq!(load.reference.change_count(), 2 * accounts);
    let process = load.deployment.start("only");
    load.reference.await_published(&load.deployment, LIMIT * 4);
    check_pace(&process);
    load.conclude(&mut [process]);
}

/// The group has not lost the process, and no transaction has failed.
fn check_pace(process: &Running) {
    let log = process.log();
    assert!(!log.contains("\"lost\":true") && !log.contains("restoring after"), "it kept up:\n{log}");
}

/// The sum of all series of a metric.
fn sum(exposition: &str, metric: &str) -> f64 {
    let series = exposition.lines().filter(|line| line.starts_with(metric));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
