//! How far the service has got with its input.

use std::time::Duration;

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::support::kafka::Broker;

const LIMIT: Duration = Duration::from_secs(60);

/// Asks the broker for ends and committed offsets, over one connection.
pub struct Progress {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Progress {
    /// The progress of a group with a topic of so many partitions.
    pub fn new(broker: &Broker, group: &str, topic: &str, partitions: i32) -> Self {
        let mut config = broker.client();
        // Else the broker makes the answer wait for the end of transactions, of which there is
        // always one.
        config.set("group.id", group).set("isolation.level", "read_uncommitted");
        Self { consumer: config.create().expect("a consumer"), topic: topic.to_owned(), partitions }
    }

    /// Records that the group has committed, over all partitions; nothing while the broker does not say.
    pub fn committed(&self) -> Option<u64> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&self.topic, 0, self.partitions - 1);
        let committed = self.consumer.committed_offsets(asked, LIMIT).ok()?;
        let offsets =
            committed.elements().into_iter().filter_map(|element| element.offset().to_raw()).map(|at| at.max(0));
        Some(offsets.sum::<i64>() as u64)
    }

    /// Records that the topic holds, over all partitions.
    pub fn end(&self) -> u64 {
        let end = |partition| {
            let watermarks = self.consumer.fetch_watermarks(&self.topic, partition, LIMIT);
            watermarks.expect("the broker tells where the topic ends").1
        };
        (0..self.partitions).map(end).sum::<i64>() as u64
    }
}
