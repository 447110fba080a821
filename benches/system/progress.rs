//! How far the service has got with its input.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
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
        Some(records(&committed))
    }

    /// Records that the topic holds, over all partitions.
    pub fn end(&self) -> u64 {
        let mut asked = TopicPartitionList::new();
        for partition in 0..self.partitions {
            asked.add_partition_offset(&self.topic, partition, Offset::End).expect("a valid offset");
        }
        let ends = self.consumer.offsets_for_times(asked, LIMIT).expect("the broker tells where the topic ends");
        for partition in ends.elements() {
            partition.error().expect("the broker tells where every partition ends");
        }
        records(&ends)
    }
}

/// What offsets come to, over all partitions.
fn records(offsets: &TopicPartitionList) -> u64 {
    offsets.elements().into_iter().filter_map(|element| element.offset().to_raw()).map(|at| at.max(0) as u64).sum()
}
