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
    bootstrap::Bootstrap,
    close::close_aside,
    config::KafkaConfig,
    fault,
    member::PolledConsumer,
    native::{Callbacks, Kind, Polled},
};
use crate::log::{END_HANGING, LogError, Offset, Partition, Restoring, Row, Table, TableReader, TakeRow};

/// Records delivered by one call at most, so that the caller serves its group in between.
const RECORDS_MAX: usize = 10_000;

/// After how long without progress it is said what is waited for, again and again. The broker ends
/// transactions that nobody ends long before.
const SILENCE: Duration = Duration::from_secs(30);

/// Reads the tables of one partition.
///
/// It is done where the logs ended when it was opened, for a reader that sees undecided records
/// too: a commit is acknowledged before its markers land, and until they do a reader of committed
/// records is told of an earlier end. Such a reader passes the true end only when every transaction
/// below it is decided, so reading up to there is waiting for that.
pub struct KafkaTables {
    /// Nothing once closed.
    consumer: Option<PolledConsumer>,
    bootstrap: Bootstrap,
    rest: Rest,
}

/// What is still to be read.
struct Rest {
    partition: Partition,
    pending: Vec<Pending>,
    /// Since when it is known not to become less.
    quiet_since: Option<Instant>,
}

/// A table that is not read to its end yet.
struct Pending {
    table: Table,
    topic: Arc<str>,
    next: Offset,
    end: Offset,
}

impl KafkaTables {
    /// Starts to read these extents, whose ends are the true ones of the logs.
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
            next: extent.start,
            end: extent.end,
        });
        let rest = Rest { partition, pending: pending.into(), quiet_since: None };
        Ok(Self { consumer: Some(consumer), bootstrap: Bootstrap::new(config), rest })
    }

    fn close(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            close_aside("table reader", consumer);
        }
    }
}

impl Rest {
    /// Notes that a table was read up to `next`.
    fn reached(&mut self, topic: &str, next: i64) {
        let Some(at) = self.pending.iter().position(|one| *one.topic == *topic) else { return };
        let one = &mut self.pending[at];
        if next > one.next.0 {
            one.next = Offset(next);
            self.quiet_since = None;
        }
        if next >= one.end.0 {
            self.pending.remove(at);
        }
    }

    /// Whether nothing was read for long, as of now; the next time that long after.
    fn is_silent(&mut self, now: Instant) -> bool {
        let silent = now.duration_since(*self.quiet_since.get_or_insert(now)) >= SILENCE;
        if silent {
            self.quiet_since = Some(now);
        }
        silent
    }

    /// Says what is waited for.
    fn tell(&self) {
        for Pending { topic, next, end, .. } in &self.pending {
            tracing::warn!(
                target: "kafka", topic = &**topic, partition = self.partition.0, next = next.0, end = end.0,
                "restoring waits: nothing was read for {SILENCE:?}. If the broker can be reached, a transaction is \
                 undecided behind this offset; if it stays so, {}", END_HANGING
            );
        }
    }
}

impl TableReader for KafkaTables {
    fn read(&mut self, wait: Duration, handle: &mut TakeRow<'_>) -> Result<Restoring, LogError> {
        let Some(consumer) = &self.consumer else { return Ok(Restoring::Done) };
        self.bootstrap.serve(consumer.client());
        let deadline = Instant::now() + wait;
        let mut delivered = 0;
        let rest = &mut self.rest;
        while !rest.pending.is_empty() && delivered < RECORDS_MAX {
            let left = if delivered == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let Some(event) = consumer.poll(left) else {
                // Nothing also comes back early, after an event that the library kept to itself.
                if left.is_zero() { break } else { continue }
            };
            match event.kind() {
                Kind::Record(message) => {
                    let topic = message.topic();
                    if let Some(one) = rest.pending.iter().find(|one| *one.topic == *topic) {
                        let (key, value) = (message.key().unwrap_or_default(), message.value());
                        handle(Row { table: one.table, offset: Offset(message.offset()), key, value });
                    }
                    delivered += 1;
                    rest.reached(topic, message.offset() + 1);
                }
                Kind::AtEnd(place) => rest.reached(&place.topic, place.offset),
                Kind::Fault(found) => match fault::of_consumer(&found) {
                    Some(error) => return Err(error),
                    None => self.bootstrap.hear(&found),
                },
                Kind::ConnectionLost | Kind::Assigned(_) | Kind::Revoked | Kind::Delivered(_) | Kind::Other => {}
            }
        }
        if !rest.pending.is_empty() {
            if rest.is_silent(Instant::now()) {
                rest.tell();
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_noticed_again_and_again_until_more_is_read() {
        let pending = vec![Pending { table: Table::State, topic: "state".into(), next: Offset(3), end: Offset(9) }];
        let mut rest = Rest { partition: Partition(0), pending, quiet_since: None };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert!(!rest.is_silent(start));
        assert!(!rest.is_silent(start + SILENCE - second));
        assert!(rest.is_silent(start + SILENCE));
        assert!(!rest.is_silent(start + 2 * SILENCE - second));
        // The end that readers of committed records are told of, again.
        rest.reached("state", 3);
        assert!(rest.is_silent(start + 2 * SILENCE));
        rest.reached("state", 4);
        assert!(!rest.is_silent(start + 3 * SILENCE));
        assert!(!rest.is_silent(start + 4 * SILENCE - second));
        assert_eq!(rest.pending[0].next, Offset(4));
        rest.reached("state", 9);
        assert!(rest.pending.is_empty());
    }
}
