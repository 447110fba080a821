//! What brokers refuse, or cannot answer: one of several is lost, or a right is missing. On the client
//! library's mock, which has several brokers and says what it is told to say: that a transaction which is
//! refused leaves nothing behind is shown elsewhere, on the real one.

#[path = "support/mod.rs"]
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    mocking::{MockCluster, MockCoordinator},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
    types::{RDKafkaApiKey as Request, RDKafkaRespErr as Code},
};
use support::wait_until;
use tidemark::log::{
    Fetched, InputId, Log, LogError, Offset, Output, OutputTopic, Partition, Progress, Transaction,
    kafka::{KafkaConfig, KafkaLog, Properties, TopicNames, Topics},
};

const EVENTS: InputId = InputId(0);
const ACCOUNTS: InputId = InputId(1);
const GROUP: &str = "refusals";
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

fn connect(cluster: &MockCluster<'static, DefaultProducerContext>, topics: &Topics) -> Result<KafkaLog, LogError> {
    let config = KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        group: GROUP.into(),
        instance: "one".into(),
        topics: topics.clone(),
        properties: Properties::new(BTreeMap::new()).expect("no properties"),
    };
    KafkaLog::connect(Arc::new(config), 0)
}

fn poll(log: &mut KafkaLog, mut handle: impl FnMut(Fetched<'_>)) {
    match log.poll(SLICE, 100, &mut handle) {
        Ok(()) | Err(LogError::Passing(_)) => {}
        Err(refused) => panic!("{refused}"),
    }
}

/// All partitions of all inputs.
fn inputs() -> Vec<(InputId, Partition)> {
    [EVENTS, ACCOUNTS].into_iter().flat_map(|input| [0, 1].map(|at| (input, Partition(at)))).collect()
}

/// A log that delivers all of them.
fn take_up(cluster: &MockCluster<'static, DefaultProducerContext>, topics: &Topics) -> KafkaLog {
    let mut log = connect(cluster, topics).expect("a log");
    wait_until("an assignment", LIMIT, || {
        let mut assigned = false;
        poll(&mut log, |fetched| assigned |= matches!(fetched, Fetched::Assigned(_)));
        assigned.then_some(())
    });
    let at: Vec<_> = inputs().into_iter().map(|(input, at)| (input, at, Offset(0))).collect();
    log.start(&at).expect("a start");
    log.resume(&inputs()).expect("a resume");
    log
}

#[test]
fn the_ends_of_inputs_are_asked_of_whoever_leads_now() {
    let topics = Topics::try_from(TopicNames::default()).expect("names");
    let cluster = cluster(&topics);
    let mut log = take_up(&cluster, &topics);
    let inputs = inputs();
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

/// A change, and how far it has brought the input.
fn transaction(topic: OutputTopic) -> Transaction {
    let output = Output {
        topic,
        partition: Partition(1),
        key: Some(b"acme.com".to_vec()),
        value: Some(b"up".to_vec()),
        headers: Vec::new(),
    };
    let progress = Progress { input: EVENTS, partition: Partition(1), offset: Offset(1), metadata: "m".into() };
    Transaction { outputs: vec![output], progress: vec![progress] }
}

#[test]
fn a_right_that_is_missing_is_named_and_ends_the_process() {
    const TOPIC: Code = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    const GROUP: Code = Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    const ID: Code = Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    let topics = Topics::try_from(TopicNames::default()).expect("names");
    let cluster = cluster(&topics);
    let check = |outcome: Result<(), LogError>, place: &str, right: &str| match outcome {
        Err(LogError::Refused(text)) => {
            let told =
                text.starts_with(place) && text.contains(right) && text.ends_with("; grant the rights and restart");
            assert!(told, "{text}");
        }
        other => panic!("{place}: {other:?}"),
    };
    let mut log = take_up(&cluster, &topics);
    let (tiers, segments) = (OutputTopic::TierChanges, OutputTopic::SegmentChanges);
    for (request, code, topic, place, right) in [
        (Request::AddOffsetsToTxn, GROUP, tiers, "adding the offsets to the transaction: ", "Group authorization"),
        (Request::TxnOffsetCommit, GROUP, tiers, "adding the offsets to the transaction: ", "Group authorization"),
        (Request::EndTxn, ID, tiers, "committing the transaction: ", "Transactional Id authorization"),
        // The library goes on denying a topic by itself: each of these is the last of its topic.
        (Request::Produce, TOPIC, tiers, "writing to `intent.tier-changes` partition 1: ", "Topic authorization"),
        (Request::AddPartitionsToTxn, TOPIC, segments, "writing to `intent.segment-changes` partition 1: ", "Topic"),
    ] {
        cluster.request_errors(request, &[code]);
        check(log.commit(transaction(topic)), place, right);
    }
    cluster.request_errors(Request::InitProducerId, &[ID]);
    check(connect(&cluster, &topics).map(drop), "starting transactions as `refusals-one-0` at ", "Transactional Id");
}
