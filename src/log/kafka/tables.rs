//! Restoring from the compacted topics of one partition.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
};

use super::{
    close::close_aside,
    config::KafkaConfig,
    fault,
    member::PolledConsumer,
    native::{Callbacks, Kind, Polled},
};
use crate::log::{LogError, Offset, Partition, Restoring, Table, TableReader, TakeRow};

/// Records delivered by one call at most, so that the caller serves its group in between.
const RECORDS_MAX: usize = 10_000;

/// Reads the tables of one partition.
///
/// It is done where the logs ended when it was opened, for a reader that sees undecided records
/// too: a commit is acknowledged before its markers land, and until they do a reader of committed
/// records is told of an earlier end. Such a reader passes the true end only when every transaction
/// below it is decided, so reading up to there is waiting for that.
pub struct KafkaTables {
    /// Nothing once closed.
    consumer: Option<PolledConsumer>,
    pending: Vec<Pending>,
}

/// A table that is not read to its end yet.
struct Pending {
    table: Table,
    topic: Arc<str>,
    end: Offset,
}

impl KafkaTables {
    /// Starts to read; the extents are the true ones of the logs.
    pub(super) fn open(
        config: &KafkaConfig,
        worker: usize,
        partition: Partition,
        extents: [(Table, Range<Offset>); 2],
    ) -> KafkaResult<Self> {
        let consumer: BaseConsumer<Callbacks> = config.table_reader(worker).create_with_context(Callbacks)?;
        let mut list = TopicPartitionList::new();
        for (table, extent) in &extents {
            // By its number: the library would look for the beginning before it knows whom to ask, and
            // try again only half a second later.
            let begin = rdkafka::Offset::Offset(extent.start.0);
            list.add_partition_offset(config.topics.table(*table), partition.0, begin)?;
        }
        consumer.assign(&list)?;
        let consumer = Polled::consumer(consumer)
            .ok_or_else(|| KafkaError::ClientCreation("the consumer has no queue of events".into()))?;
        let pending = extents.map(|(table, extent)| Pending {
            table,
            topic: config.topics.table(table).clone(),
            end: extent.end,
        });
        Ok(Self { consumer: Some(consumer), pending: pending.into() })
    }

    fn close(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            close_aside("table reader", consumer);
        }
    }
}

fn reached(pending: &mut Vec<Pending>, topic: &str, next: i64) {
    pending.retain(|one| *one.topic != *topic || next < one.end.0);
}

impl TableReader for KafkaTables {
    fn read(&mut self, wait: Duration, handle: &mut TakeRow<'_>) -> Result<Restoring, LogError> {
        let Some(consumer) = &self.consumer else { return Ok(Restoring::Done) };
        let deadline = Instant::now() + wait;
        let mut delivered = 0;
        while !self.pending.is_empty() && delivered < RECORDS_MAX {
            let left = if delivered == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let Some(event) = consumer.poll(left) else {
                // Nothing also comes back early, after an event that the library kept to itself.
                if left.is_zero() { break } else { continue }
            };
            match event.kind() {
                Kind::Record(message) => {
                    let topic = message.topic();
                    if let Some(one) = self.pending.iter().find(|one| *one.topic == *topic) {
                        handle(one.table, message.key().unwrap_or_default(), message.value());
                    }
                    delivered += 1;
                    reached(&mut self.pending, topic, message.offset() + 1);
                }
                Kind::AtEnd(place) => reached(&mut self.pending, &place.topic, place.offset),
                Kind::Fault(found) => match fault::of_consumer(&found) {
                    Some(error) => return Err(error),
                    None => found.tell(),
                },
                Kind::ConnectionLost | Kind::Assigned(_) | Kind::Revoked | Kind::Delivered(_) | Kind::Other => {}
            }
        }
        if !self.pending.is_empty() {
            return Ok(Restoring::More);
        }
        self.close();
        Ok(Restoring::Done)
    }
}

impl Drop for KafkaTables {
    fn drop(&mut self) {
        self.close();
    }
}
