//! Events on their way into Kafka: compressed, in large batches, without copies of our own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use crate::{
    support::{kafka::Broker, poll_until},
    traffic::Written,
};

const LIMIT: Duration = Duration::from_secs(120);

/// How records are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As many at once as there are.
    Bulk,
    /// Each soon: within the five milliseconds that Kafka's own producer waits by default.
    Prompt,
}

/// A producer for the events topic.
pub struct Sender {
    producer: ThreadedProducer<Losses>,
    topic: String,
}

/// Counts events that have not arrived.
#[derive(Default)]
struct Losses(AtomicU64);

impl ClientContext for Losses {}

impl ProducerContext for Losses {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}

impl Sender {
    /// A sender to a topic.
    pub fn new(broker: &Broker, topic: &str, pace: Pace) -> Self {
        let mut config = broker.client();
        let (linger, batch) = match pace {
            Pace::Bulk => ("50", "1000000"),
            Pace::Prompt => ("5", "1000000"),
        };
        config
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            // Keeps the order of record times within a partition when a request is repeated.
            .set("enable.idempotence", "true")
            .set("linger.ms", linger)
            // Only what has not arrived is told of.
            .set("delivery.report.only.error", "true")
            .set("batch.size", batch)
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "1048576");
        let producer = config.create_with_context(Losses::default()).expect("a producer");
        Self { producer, topic: topic.to_owned() }
    }

    /// Sends one event, when there is room for it.
    pub fn send(&self, event: &Written<'_>) {
        if self.try_send(event) {
            return;
        }
        let sent = poll_until(LIMIT, || self.try_send(event).then_some(()));
        assert!(sent.is_some(), "the broker takes nothing for {LIMIT:?}");
    }

    fn try_send(&self, event: &Written<'_>) -> bool {
        let record = BaseRecord::to(&self.topic).key(event.key).payload(event.value).timestamp(event.time.millis());
        match self.producer.send(record) {
            Ok(()) => true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
            Err((error, _)) => panic!("cannot send to {}: {error}", self.topic),
        }
    }

    /// Returns when the broker has everything.
    pub fn flush(&self) {
        self.producer.flush(LIMIT).expect("the broker takes the events");
        assert_eq!(self.producer.context().0.load(Ordering::Relaxed), 0, "events that have not arrived");
    }
}
