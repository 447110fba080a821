//! Of several brokers one is lost, and later another leads its partitions. On the client library's mock,
//! which has several brokers and is told who leads: nothing here is a claim about transactions.

#[path = "support/mod.rs"]
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    mocking::{MockCluster, MockCoordinator},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use support::wait_until;
use tidemark::log::{
    Fetched, InputId, Log, LogError, Offset, Partition,
    kafka::{KafkaConfig, KafkaLog, Properties, TopicNames, Topics},
};

const EVENTS: InputId = InputId(0);
const ACCOUNTS: InputId = InputId(1);
const GROUP: &str = "leaders";
/// The broker that is lost, and the one that stays.
const LOST: i32 = 1;
const STAYS: i32 = 2;
const LIMIT: Duration = Duration::from_secs(30);
const SLICE: Duration = Duration::from_millis(50);

/// Two partitions of every topic. The lost broker leads the first one of the events, and nothing else.
fn cluster(topics: &Topics) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(2).expect("a cluster");
    for (_, name) in topics.all() {
        cluster.create_topic(name, 2, 2).expect("a topic");
        for partition in 0..2 {
            cluster.partition_leader(name, partition, Some(STAYS)).expect("a leader");
        }
    }
    cluster.partition_leader(events(topics), 0, Some(LOST)).expect("a leader");
    cluster.coordinator(MockCoordinator::Group(GROUP.into()), STAYS).expect("a coordinator");
    cluster
}

fn events(topics: &Topics) -> &str {
    topics.inputs().name(EVENTS)
}

fn connect(cluster: &MockCluster<'static, DefaultProducerContext>, topics: &Topics) -> KafkaLog {
    let config = KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        group: GROUP.into(),
        instance: "one".into(),
        topics: topics.clone(),
        properties: Properties::new(BTreeMap::new()).expect("no properties"),
    };
    KafkaLog::connect(Arc::new(config), 0).expect("a log")
}

fn poll(log: &mut KafkaLog, mut handle: impl FnMut(Fetched<'_>)) {
    match log.poll(SLICE, 100, &mut handle) {
        Ok(()) | Err(LogError::Passing(_)) => {}
        Err(refused) => panic!("{refused}"),
    }
}

#[test]
fn the_ends_of_inputs_are_asked_of_whoever_leads_now() {
    let topics = Topics::try_from(TopicNames::default()).expect("names");
    let cluster = cluster(&topics);
    let mut log = connect(&cluster, &topics);
    wait_until("an assignment", LIMIT, || {
        let mut assigned = false;
        poll(&mut log, |fetched| assigned |= matches!(fetched, Fetched::Assigned(_)));
        assigned.then_some(())
    });
    let inputs: Vec<_> =
        [EVENTS, ACCOUNTS].into_iter().flat_map(|input| [0, 1].map(|at| (input, Partition(at)))).collect();
    log.start(&inputs.iter().map(|(input, at)| (*input, *at, Offset(0))).collect::<Vec<_>>()).expect("a start");
    log.resume(&inputs).expect("a resume");
    wait_until("the ends", LIMIT, || (log.hold_more(&inputs) == [Some(false); 4]).then_some(()));

    cluster.broker_down(LOST).expect("it is down");
    // The others are asked for theirs, although the cluster goes on naming the lost broker.
    wait_until("the ends of what has a leader", LIMIT, || {
        poll(&mut log, |_| {});
        (log.hold_more(&inputs) == [None, Some(false), Some(false), Some(false)]).then_some(())
    });
    cluster.partition_leader(events(&topics), 0, Some(STAYS)).expect("a leader");
    wait_until("all ends", LIMIT, || {
        poll(&mut log, |_| {});
        (log.hold_more(&inputs) == [Some(false); 4]).then_some(())
    });
    write(&cluster, events(&topics));
    wait_until("a record from the new leader", LIMIT, || {
        let mut delivered = false;
        poll(&mut log, |fetched| delivered |= matches!(fetched, Fetched::Records(_)));
        delivered.then_some(())
    });
}

/// Writes a record to the first partition.
fn write(cluster: &MockCluster<'static, DefaultProducerContext>, topic: &str) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    producer.send(BaseRecord::to(topic).partition(0).key("k").payload("v")).expect("room in the queue");
    producer.flush(LIMIT).expect("the record arrives");
}
