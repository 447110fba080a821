//! Reading topics from outside of the group: nothing is joined, committed or written.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers},
};

use super::{
    close::close_aside,
    config::{ANSWER_WITHIN, KafkaConfig},
    fault,
    member::{bounds, committed},
    native::{Callbacks, Fault, Place},
};
use crate::{
    log::{Committed, END_HANGING, LogError, Offset, Partition},
    model::Timestamp,
};

/// A scan that brings nothing for this long has lost its broker.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longer than a transaction can stay open that was begun with the broker's longest time-out.
const DECIDED_WITHIN: Duration = Duration::from_secs(15 * 60 + 30);
/// Between two looks for the end of a transaction.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Asks about the group and the topics.
pub struct Outside {
    config: Arc<KafkaConfig>,
    /// Sees committed records only, and asks on behalf of the group.
    reader: BaseConsumer<Callbacks>,
    /// Sees the true ends of logs.
    observer: BaseConsumer<Callbacks>,
}

impl Outside {
    /// Clients that ask; nothing is sent yet.
    pub fn new(config: Arc<KafkaConfig>) -> Result<Self, LogError> {
        let reader = config.scanner("group").create_with_context(Callbacks).map_err(|error| super::refused(&error))?;
        let observer = config.observer(0).create_with_context(Callbacks).map_err(|error| super::refused(&error))?;
        Ok(Self { config, reader, observer })
    }

    /// What the group has committed for every input of a partition, in the order of the inputs.
    pub fn committed(&self, partition: Partition) -> Result<Vec<Option<Committed>>, LogError> {
        let answer = committed(&self.reader, self.config.topics.inputs(), &[partition])?;
        Ok(answer.into_iter().flatten().collect())
    }

    /// Whether the group has members now; nothing if the broker does not tell.
    pub fn group_is_alive(&self) -> Option<bool> {
        let answer = self.reader.fetch_group_list(Some(&self.config.group), ANSWER_WITHIN).ok()?;
        Some(answer.groups().iter().any(|group| !group.members().is_empty()))
    }

    /// Where a log begins and ends now, open transactions included.
    pub fn bounds(&self, topic: &str, partition: Partition) -> Result<Range<Offset>, LogError> {
        bounds(&self.observer, topic, partition)
    }

    /// Where a log begins and where its first open transaction, if any, ends what is decided.
    pub fn decided(&self, topic: &str, partition: Partition) -> Result<Range<Offset>, LogError> {
        bounds(&self.reader, topic, partition)
    }

    /// Waits until every transaction that began below `end` is decided.
    pub fn await_decided(&self, topic: &str, partition: Partition, end: Offset) -> Result<(), LogError> {
        await_decided(&self.reader, topic, partition, end)
    }
}

/// Waits until a consumer of committed records can read as far as `end`.
fn await_decided(
    consumer: &BaseConsumer<Callbacks>,
    topic: &str,
    partition: Partition,
    end: Offset,
) -> Result<(), LogError> {
    let deadline = Instant::now() + DECIDED_WITHIN;
    while bounds(consumer, topic, partition)?.end < end {
        if Instant::now() > deadline {
            return Err(LogError::Refused(format!(
                "`{topic}` partition {}: a transaction has been open below offset {} for {DECIDED_WITHIN:?}; {}",
                partition.0, end.0, END_HANGING
            )));
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    Ok(())
}

/// A record as it was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scanned {
    pub offset: i64,
    /// The record time; old message formats have none.
    pub time: Option<Timestamp>,
    pub key: Option<Vec<u8>>,
    /// Nothing is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Scanned {
    /// The value of a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Reads ranges of one topic, the records of committed transactions only.
pub struct Scan {
    /// Nothing once closed.
    consumer: Option<BaseConsumer<Callbacks>>,
    topic: Arc<str>,
    partition: Partition,
    end: Offset,
    done: bool,
}

impl Scan {
    /// A reader of `topic`; `role` names its client.
    pub fn open(config: &KafkaConfig, topic: &Arc<str>, role: &str) -> Result<Self, LogError> {
        let consumer = config.scanner(role).create_with_context(Callbacks).map_err(|error| super::refused(&error))?;
        Ok(Self { consumer: Some(consumer), topic: topic.clone(), partition: Partition(0), end: Offset(0), done: true })
    }

    /// The topic that it reads.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Goes to a range of a partition. Waits until every transaction that began below its end is
    /// decided: only then can the range be read to its end.
    pub fn start(&mut self, partition: Partition, range: Range<Offset>) -> Result<(), LogError> {
        (self.partition, self.end) = (partition, range.end);
        self.done = range.start >= range.end;
        if self.done {
            return Ok(());
        }
        if let Some(consumer) = &self.consumer {
            await_decided(consumer, &self.topic, self.partition, self.end)?;
        }
        self.assign(range.start).map_err(|error| self.passing(&error))
    }

    fn assign(&self, from: Offset) -> KafkaResult<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition.0, rdkafka::Offset::Offset(from.0))?;
        consumer.unassign()?;
        consumer.assign(&list)
    }

    /// The next record of the range; nothing at its end.
    pub fn read(&mut self) -> Result<Option<Scanned>, LogError> {
        let deadline = Instant::now() + SILENCE_MAX;
        while !self.done {
            let Some(consumer) = &self.consumer else { break };
            match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(message)) if message.partition() != self.partition.0 => {}
                Some(Ok(message)) => {
                    let record = scanned(&message);
                    drop(message);
                    self.done = record.offset + 1 >= self.end.0;
                    return Ok((record.offset < self.end.0).then_some(record));
                }
                // All below the end was decided when reading began, so this lies at the end or beyond.
                Some(Err(KafkaError::PartitionEOF(partition))) => self.done = partition == self.partition.0,
                Some(Err(error)) => self.check(&error)?,
                None => {
                    return Err(self.passing(&format!("nothing came for {SILENCE_MAX:?}")));
                }
            }
        }
        Ok(None)
    }

    /// An error, unless the library deals with it by itself.
    fn check(&self, error: &KafkaError) -> Result<(), LogError> {
        let Some(code) = error.rdkafka_error_code() else { return Err(self.passing(error)) };
        let place = Some(Place { topic: self.topic.to_string(), partition: self.partition.0, offset: -1 });
        let found = Fault { code, fatal: false, place, text: error.to_string() };
        fault::of_consumer(&found).map_or(Ok(()), Err)
    }

    fn passing(&self, error: &dyn std::fmt::Display) -> LogError {
        LogError::Passing(format!("reading `{}` partition {}: {error}", self.topic, self.partition.0))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            close_aside("scan", consumer);
        }
    }
}

fn scanned(message: &BorrowedMessage<'_>) -> Scanned {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
    });
    Scanned {
        offset: message.offset(),
        time: message.timestamp().to_millis().map(Timestamp::from_millis),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
