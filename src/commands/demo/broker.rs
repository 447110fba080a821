//! A broker inside this process: the client library's mock cluster. It keeps records in memory, a
//! few megabytes a partition, and it plays along with transactions without making them atomic:
//! what is aborted stays visible, and offsets that go with a transaction are forgotten. It
//! shows how things look, and proves nothing about exactly once.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use xxhash_rust::xxh3::xxh3_64;

use super::traffic::{Topic, TrafficRecord};
use crate::log::{InputId, InputKind, OutputTopic, kafka::Topics};

/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;
/// How long the feed waits for room, and at its end for its last records to arrive.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// The running broker; it ends when dropped.
pub struct Broker {
    address: String,
    quit: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker that has these topics.
    pub fn start(topics: &Topics) -> anyhow::Result<Self> {
        let names: Vec<String> = topics.all().map(|(_, name)| name.to_string()).collect();
        let (tell, told) = channel();
        let (quit, wait_for_quit) = channel();
        // The cluster cannot move between threads, so it lives and dies on its own.
        let thread = std::thread::spawn(move || serve(&names, &tell, &wait_for_quit));
        let address =
            told.recv().context("the embedded broker's thread ended")?.context("starting the embedded broker")?;
        Ok(Self { address, quit: Some(quit), thread: Some(thread) })
    }

    /// `host:port` for clients.
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn serve(topics: &[String], tell: &Sender<Result<String, KafkaError>>, quit: &Receiver<()>) {
    let started = MockCluster::new(1).and_then(|cluster| {
        topics.iter().try_for_each(|topic| cluster.create_topic(topic, PARTITIONS, 1))?;
        Ok(cluster)
    });
    match started {
        Ok(cluster) => {
            // Whoever asked waits for the answer; the cluster runs until its owner lets go.
            let _ = tell.send(Ok(cluster.bootstrap_servers()));
            let _ = quit.recv();
        }
        Err(error) => drop(tell.send(Err(error))),
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.quit.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// Writes traffic to the input topics.
pub struct Feed {
    producer: ThreadedProducer<DefaultProducerContext>,
    events: String,
    accounts: String,
}

impl Feed {
    /// A producer for these topics.
    pub fn new(address: &str, topics: &Topics) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("linger.ms", "5").set("client.id", "tidemark-demo-traffic");
        let inputs = topics.inputs();
        let name = |kind| inputs.ids().find(|id| inputs.kind(*id) == kind).unwrap_or(InputId(0));
        Ok(Self {
            producer: config.create().context("starting the producer of the traffic")?,
            events: inputs.name(name(InputKind::Events)).to_string(),
            accounts: inputs.name(name(InputKind::Accounts)).to_string(),
        })
    }

    /// Sends a record under its own time, to the partition of its account. Waits while the
    /// producer is full.
    pub fn send(&self, record: &TrafficRecord) -> Result<(), KafkaError> {
        let topic = match record.topic {
            Topic::Events => &self.events,
            Topic::Accounts => &self.accounts,
        };
        let mut message = BaseRecord::to(topic)
            .key(&record.key)
            .payload(&record.value)
            .partition(partition_of(&record.key))
            .timestamp(record.time.millis());
        loop {
            match self.producer.send(message) {
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.flush()?;
                    message = back;
                }
                outcome => return outcome.map_err(|(error, _)| error),
            }
        }
    }

    /// Waits until everything has arrived.
    pub fn flush(&self) -> Result<(), KafkaError> {
        self.producer.flush(FLUSH_WITHIN)
    }
}

fn partition_of(account: &str) -> i32 {
    (xxh3_64(account.as_bytes()) % PARTITIONS.unsigned_abs() as u64) as i32
}

/// A subscriber: reads what comes out, as anybody could.
pub struct Subscriber {
    consumer: BaseConsumer,
    topics: Vec<(OutputTopic, String)>,
}

/// A record that came out.
pub struct Received<'a> {
    pub topic: OutputTopic,
    pub value: &'a [u8],
}

impl Subscriber {
    /// Reads these output topics from their start.
    pub fn new(address: &str, topics: &Topics, wanted: &[OutputTopic]) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address)
            .set("client.id", "tidemark-demo-subscriber")
            // The library wants a name even of a consumer that takes its partitions by itself.
            .set("group.id", "tidemark-demo-subscriber")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            // The broker sleeps for all of this when it has nothing, whatever arrives meanwhile.
            .set("fetch.wait.max.ms", "50")
            .create()
            .context("starting the consumer of the changes")?;
        let topics: Vec<_> = wanted.iter().map(|topic| (*topic, topics.output(*topic).to_string())).collect();
        let mut list = TopicPartitionList::new();
        for (_, name) in &topics {
            for partition in 0..PARTITIONS {
                list.add_partition_offset(name, partition, rdkafka::Offset::Beginning)?;
            }
        }
        consumer.assign(&list)?;
        Ok(Self { consumer, topics })
    }

    /// Hands over the next record, if one comes within `wait`. Returns whether one did.
    pub fn receive(&self, wait: Duration, handle: impl FnOnce(Received<'_>)) -> Result<bool, KafkaError> {
        let Some(message) = self.consumer.poll(wait).transpose()? else { return Ok(false) };
        let topic = self.topics.iter().find(|(_, name)| name == message.topic());
        if let (Some((topic, _)), Some(value)) = (topic, message.payload()) {
            handle(Received { topic: *topic, value });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;
    use crate::{
        log::{
            Fetched, Log, Output, Partition, Progress, Restoring, TableReader, Transaction,
            kafka::{KafkaConfig, KafkaLog, Properties, TopicNames},
        },
        model::Timestamp,
    };

    const PATIENCE: Duration = Duration::from_secs(30);

    fn topics() -> Topics {
        Topics::try_from(TopicNames::default()).unwrap()
    }

    fn connect(broker: &Broker) -> KafkaLog {
        let config = KafkaConfig {
            brokers: broker.address().to_owned(),
            group: "tidemark-demo".into(),
            instance: "demo".into(),
            topics: topics(),
            properties: Properties::default(),
        };
        KafkaLog::connect(Arc::new(config), 0).unwrap()
    }

    fn poll_until(log: &mut KafkaLog, mut done: impl FnMut(Fetched<'_>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut found = false;
        while !found {
            assert!(Instant::now() < deadline, "nothing came within {PATIENCE:?}");
            log.poll(Duration::from_millis(50), 100, &mut |fetched| found |= done(fetched)).unwrap();
        }
    }

    /// The real log over the embedded broker: a first start, a record in, a change out.
    #[test]
    fn the_log_of_the_real_service_works_over_the_embedded_broker() {
        let broker = Broker::start(&topics()).unwrap();
        let feed = Feed::new(broker.address(), &topics()).unwrap();
        let time = Timestamp::from_millis(1_900_000_000_000);
        let record = TrafficRecord { topic: Topic::Events, key: "acme.example".into(), value: b"{}".to_vec(), time };
        feed.send(&record).unwrap();
        feed.flush().unwrap();
        let mut log = connect(&broker);

        let mut assigned = Vec::new();
        poll_until(&mut log, |fetched| match fetched {
            Fetched::Assigned(partitions) => {
                assigned = partitions;
                true
            }
            _ => false,
        });
        assert_eq!(assigned, [0, 1, 2, 3].map(Partition));
        let committed = log.committed(&assigned).unwrap();
        assert!(committed.iter().flatten().all(Option::is_none), "a first start");
        let partition = Partition(partition_of("acme.example"));
        let bounds = log.bounds(InputId(0), partition).unwrap();
        assert_eq!((bounds.start.0, bounds.end.0), (0, 1));
        let mut tables = log.tables(partition, crate::log::Offset(0)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while tables.read(Duration::from_millis(50), &mut |_| panic!("there is no state")).unwrap() != Restoring::Done {
            assert!(Instant::now() < deadline, "the empty tables have no end");
        }

        let inputs: Vec<_> =
            topics().inputs().ids().flat_map(|input| assigned.iter().map(move |at| (input, *at))).collect();
        log.start(&inputs.iter().map(|(input, at)| (*input, *at, crate::log::Offset(0))).collect::<Vec<_>>()).unwrap();
        log.resume(&inputs).unwrap();
        let (mut seen, mut ends) = (None, 0);
        poll_until(&mut log, |fetched| {
            match fetched {
                Fetched::Records(records) => {
                    let last = records.last().expect("at least one");
                    seen = Some((last.time, last.offset, last.value.map(<[u8]>::to_vec)));
                }
                Fetched::AtEnd(..) => ends += 1,
                _ => {}
            }
            seen.is_some() && ends >= inputs.len()
        });
        assert_eq!(seen, Some((Some(time), crate::log::Offset(0), Some(b"{}".to_vec()))));

        let output = Output {
            topic: OutputTopic::TierChanges,
            partition,
            key: Some(b"acme.example".to_vec()),
            value: Some(b"change".to_vec()),
            headers: vec![("ce_id", b"1".to_vec())],
        };
        let progress =
            Progress { input: InputId(0), partition, offset: crate::log::Offset(1), metadata: "some words".into() };
        log.commit(Transaction { outputs: vec![output], progress: vec![progress] }).unwrap();
        let subscriber = Subscriber::new(broker.address(), &topics(), &[OutputTopic::TierChanges]).unwrap();
        let mut received = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while received.is_empty() {
            assert!(Instant::now() < deadline, "the change did not come out");
            subscriber.receive(Duration::from_millis(50), |record| received = record.value.to_vec()).unwrap();
        }
        assert_eq!(received, b"change");
        log.close();
    }
}
