//! The broker that the other tests stand on does what exactly-once needs of a broker.

use crate::support::{
    kafka::Broker,
    topics::{self, Isolation, Record, Writer},
};

mod support;

fn record(key: &str, value: &str) -> Record {
    // Long ago: the broker must neither refuse nor expire old records.
    Record { time: 1_431_857_103_000, key: Some(key.into()), value: Some(value.into()), ..Record::default() }
}

fn values(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(record.value.as_deref().unwrap_or_default()).unwrap()).collect()
}

#[test]
fn a_transaction_is_visible_only_after_its_commit() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.namespace("transaction");
    topics::create(broker, &[&topic], 1, &[]);
    let writer = Writer::transactional(broker, &topic);

    writer.begin();
    writer.send(&topic, &record("acme.com", "aborted"));
    writer.flush();
    writer.abort();
    writer.begin();
    writer.send(&topic, &record("acme.com", "committed"));
    writer.flush();

    assert_eq!(values(&topics::read(broker, &topic, Isolation::Committed)), [""; 0]);
    assert_eq!(values(&topics::read(broker, &topic, Isolation::Uncommitted)), ["aborted", "committed"]);
    writer.commit();
    let after_marker = topics::ends(broker, &topic);
    support::wait_until("the commit marker", std::time::Duration::from_secs(30), || {
        (values(&topics::read(broker, &topic, Isolation::Committed)) == ["committed"]).then_some(())
    });
    assert!(after_marker[0] >= 3, "two records and the abort marker come before the end {after_marker:?}");
}

#[test]
fn keys_go_to_the_partitions_that_java_clients_choose() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.namespace("partitions");
    topics::create(broker, &[&topic], 4, &[]);
    let writer = Writer::plain(broker);
    let mut sent = record("acme.com", "{}");
    sent.headers = vec![("ce_type".to_owned(), b"test".to_vec())];
    // murmur2("21") is -973932308 and murmur2("foobar") is -790332482, as Kafka's own tests have it.
    for key in ["21", "foobar"] {
        writer.send(&topic, &Record { key: Some(key.into()), ..sent.clone() });
    }
    writer.flush();

    let read = topics::read(broker, &topic, Isolation::Committed);
    let mut placed: Vec<(&str, i32)> = read.iter().map(|record| (record.key_text(), record.partition)).collect();
    placed.sort_unstable();
    let partition = |hash: i32| (hash & i32::MAX) % 4;
    assert_eq!(placed, [("21", partition(-973_932_308)), ("foobar", partition(-790_332_482))]);
    assert!(read.iter().all(|record| record.time == sent.time && record.header("ce_type") == Some("test")));
    assert_eq!(topics::committed(broker, &topic, &topic), [None; 4]);
}
