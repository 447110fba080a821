//! Topics of a test: created, filled with events, read to their end.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::Value;

use super::{kafka::Broker, wait_until};

/// The broker is on this machine; what takes longer than this does not come.
const LIMIT: Duration = Duration::from_secs(60);

/// A record as read, or as to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// The record time, in milliseconds since the epoch.
    pub time: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The key as text.
    pub fn key_text(&self) -> &str {
        std::str::from_utf8(self.key.as_deref().expect("the record has a key")).expect("the key is text")
    }

    /// The value as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().expect("the record has a value")).expect("the value is JSON")
    }

    /// The value of a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(std::str::from_utf8(value).expect("the header is text"))
    }
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// Those of committed transactions, up to the first open one.
    Committed,
    /// All.
    Uncommitted,
}

impl Isolation {
    /// The client library's name for it.
    pub const fn level(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// Creates topics with `partitions` partitions and these properties.
pub fn create(broker: &Broker, names: &[&str], partitions: i32, properties: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let created = block_on(admin.create_topics(&topics, &options())).expect("the broker creates topics");
    for result in created {
        result.expect("the topic is created");
    }
    // The broker answers before it tells others of them.
    wait_until("the broker to tell of new topics", LIMIT, || {
        let metadata = admin.inner().fetch_metadata(None, LIMIT).expect("the broker knows its topics");
        let told = |name: &&str| metadata.topics().iter().any(|topic| topic.name() == *name);
        names.iter().all(told).then_some(())
    });
}

/// Removes the records of a partition below an offset, as retention does.
pub fn delete_before(broker: &Broker, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a valid offset");
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let deleted = block_on(admin.delete_records(&list, &options)).expect("the broker deletes records");
    deleted.elements().iter().for_each(|element| element.error().expect("the records are deleted"));
}

/// Deletes topics, and returns when the broker no longer tells of them.
pub fn delete(broker: &Broker, names: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    for result in block_on(admin.delete_topics(names, &options())).expect("the broker deletes topics") {
        result.expect("the topic is deleted");
    }
    wait_until("the broker to forget the topics", LIMIT, || {
        let metadata = admin.inner().fetch_metadata(None, LIMIT).expect("the broker knows its topics");
        let told = |name: &&str| metadata.topics().iter().any(|topic| topic.name() == *name);
        (!names.iter().any(told)).then_some(())
    });
}

/// Adds partitions to a topic, up to this count.
pub fn add_partitions(broker: &Broker, name: &str, count: usize) {
    let admin: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    let more = [NewPartitions::new(name, count)];
    for result in block_on(admin.create_partitions(&more, &options())).expect("the broker adds partitions") {
        result.expect("the partitions are added");
    }
}

/// Deletes a group without members, with its offsets.
pub fn delete_group(broker: &Broker, group: &str) {
    let admin: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    for result in block_on(admin.delete_groups(&[group], &options())).expect("the broker deletes groups") {
        result.expect("the group is deleted");
    }
}

/// Moves what a group without members has committed, as an administrator's tools do it.
pub fn reset_offsets(broker: &Broker, group: &str, topic: &str, to: impl Fn(i64) -> i64) {
    let consumer: BaseConsumer = broker.client().set("group.id", group).create().expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(committed(broker, group, topic)) {
        let offset = to(offset.expect("the group has committed"));
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a valid offset");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("the offsets are reset");
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT))
}

/// Runs one future to its end, for the client library's asynchronous parts.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Writes records to topics; keys go to the partitions that Kafka's Java clients would choose.
pub struct Writer {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Writer {
    /// A writer without transactions.
    pub fn plain(broker: &Broker) -> Self {
        Self { producer: Self::config(broker).create().expect("a producer") }
    }

    /// A writer whose records appear in transactions; see [`Self::begin`].
    pub fn transactional(broker: &Broker, id: &str) -> Self {
        let producer: ThreadedProducer<_> =
            Self::config(broker).set("transactional.id", id).create().expect("a producer");
        producer.init_transactions(LIMIT).expect("transactions");
        Self { producer }
    }

    fn config(broker: &Broker) -> ClientConfig {
        let mut config = broker.client();
        config
            .set("partitioner", "murmur2_random")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.max.bytes", "10000000");
        config
    }

    /// Begins a transaction.
    pub fn begin(&self) {
        self.producer.begin_transaction().expect("a transaction begins");
    }

    /// Ends the transaction well.
    pub fn commit(&self) {
        self.flush();
        self.producer.commit_transaction(LIMIT).expect("the transaction is committed");
    }

    /// Ends the transaction as if it had not been.
    pub fn abort(&self) {
        self.producer.abort_transaction(LIMIT).expect("the transaction is aborted");
    }

    /// Sends a record; its partition follows from the key.
    pub fn send(&self, topic: &str, record: &Record) {
        wait_until("room in the producer's queue", LIMIT, || {
            let headers = record
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let mut sent = BaseRecord::<[u8], [u8]>::to(topic).timestamp(record.time).headers(headers);
            sent.key = record.key.as_deref();
            sent.payload = record.value.as_deref();
            match self.producer.send(sent) {
                Ok(()) => Some(()),
                Err((error, _)) if is_queue_full(&error) => None,
                Err((error, _)) => panic!("cannot send to {topic}: {error}"),
            }
        });
    }

    /// Returns when the broker has everything.
    pub fn flush(&self) {
        self.producer.flush(LIMIT).expect("the broker takes the records");
    }
}

fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
}

/// All records that a topic holds now, partition by partition, each in order.
pub fn read(broker: &Broker, topic: &str, isolation: Isolation) -> Vec<Record> {
    let consumer = reader(broker, isolation);
    let count = partition_count(&consumer, topic);
    let mut assignment = TopicPartitionList::new();
    for partition in 0..count {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a valid offset");
    }
    consumer.assign(&assignment).expect("the partitions exist");
    let mut partitions: Vec<Vec<Record>> = (0..count).map(|_| Vec::new()).collect();
    let mut at_end = 0;
    while at_end < count {
        match consumer.poll(LIMIT) {
            Some(Ok(message)) => partitions[message.partition() as usize].push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => at_end += 1,
            Some(Err(error)) => panic!("cannot read {topic}: {error}"),
            None => panic!("{topic} has no end within {LIMIT:?}"),
        }
    }
    partitions.concat()
}

fn reader(broker: &Broker, isolation: Isolation) -> BaseConsumer {
    broker
        .client()
        .set("group.id", "reads-without-a-group")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation.level())
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer")
}

fn partition_count(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("the broker knows its topics");
    let count = metadata.topics()[0].partitions().len();
    assert!(count > 0, "there is no topic {topic}");
    count as i32
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        time: message.timestamp().to_millis().expect("every record has a time"),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// The offset after the last record, for every partition, open transactions included.
pub fn ends(broker: &Broker, topic: &str) -> Vec<i64> {
    let consumer = reader(broker, Isolation::Uncommitted);
    (0..partition_count(&consumer, topic))
        .map(|partition| {
            // Nobody leads it for a moment when the broker has just come back.
            let end = || consumer.fetch_watermarks(topic, partition, LIMIT).ok();
            wait_until(&format!("the end of {topic} {partition}"), LIMIT, end).1
        })
        .collect()
}

/// The offset that a group has committed, for every partition; nothing where it has not yet, and
/// while the broker is still finding the group's coordinator.
pub fn committed(broker: &Broker, group: &str, topic: &str) -> Vec<Option<i64>> {
    let consumer: BaseConsumer = broker.client().set("group.id", group).create().expect("a consumer");
    let partitions = partition_count(&consumer, topic);
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let Ok(committed) = consumer.committed_offsets(asked, LIMIT) else { return vec![None; partitions as usize] };
    committed.elements().iter().map(|element| element.offset().to_raw().filter(|&offset| offset >= 0)).collect()
}
