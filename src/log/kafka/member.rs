//! One member of the consumer group: the assignment, delivery, and what the group has committed.

use std::{
    collections::BTreeSet,
    ffi::CString,
    iter, mem,
    ops::Range,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    client::Client,
    consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata},
    error::{KafkaError, KafkaResult},
};

use super::{
    Topics,
    bootstrap::Bootstrap,
    config::{ANSWER_WITHIN, KafkaConfig},
    fault,
    native::{self, Callbacks, Fault, GroupConsumer, Identity, Kind, Message, Place, Polled},
};
use crate::{
    drill::{self, Rule},
    log::{Committed, End, Fetched, InputId, Inputs, LogError, Offset, Partition, Progress, Record},
    model::Timestamp,
};

/// A consumer that gives away its polling.
pub(super) type PolledConsumer = Polled<BaseConsumer<Callbacks>>;

/// Messages that are taken from the client before they are handed on together.
const MESSAGES_AT_ONCE: usize = 256;
/// How long questions for the ends of inputs may take: nothing else is done meanwhile.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How long a question for the end of a single one may take at least.
const END_WITHIN_LEAST: Duration = Duration::from_millis(50);

/// One member of the consumer group.
pub(super) struct Member {
    consumer: GroupConsumer,
    /// Asks for the ends of logs, which the member itself would see only up to the first undecided
    /// transaction.
    observer: BaseConsumer<Callbacks>,
    bootstrap: Bootstrap,
    observer_bootstrap: Bootstrap,
    topics: Topics,
    taken: Taken,
    /// Of the inputs that were last asked for their ends some had none to tell.
    ends_missing: bool,
    /// Up to which of them they were last asked one by one.
    asked_last: usize,
}

impl Member {
    /// Joins the group, which shows in a later [`Self::poll`].
    pub(super) fn join(config: &KafkaConfig, worker: usize) -> KafkaResult<Self> {
        let consumer: BaseConsumer<Callbacks> = config.member(worker).create_with_context(Callbacks)?;
        let observer = config.observer(worker).create_with_context(Callbacks)?;
        let inputs = config.topics.inputs();
        consumer.subscribe(&inputs.0.iter().map(|(name, _)| &**name).collect::<Vec<_>>())?;
        let consumer = GroupConsumer::new(consumer)
            .ok_or_else(|| KafkaError::ClientCreation("the consumer has no queue of events".into()))?;
        Ok(Self {
            consumer,
            observer,
            bootstrap: Bootstrap::new(config),
            observer_bootstrap: Bootstrap::new(config),
            topics: config.topics.clone(),
            taken: Taken::new(inputs.0.len()),
            ends_missing: false,
            asked_last: 0,
        })
    }

    pub(super) fn poll(
        &mut self,
        wait: Duration,
        max: usize,
        handle: &mut dyn FnMut(Fetched<'_>),
    ) -> Result<(), LogError> {
        self.serve();
        let deadline = Instant::now() + wait;
        // Without a partition there are no records to wait for.
        let wait = if self.taken.is_empty() { wait } else { Duration::ZERO };
        if self.hear(wait, handle)? {
            return Ok(());
        }
        let mut delivered = 0;
        while delivered < max {
            let left = if delivered == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.take(left, MESSAGES_AT_ONCE.min(max - delivered), handle)? {
                Some(taken) => delivered += taken,
                None if left.is_zero() => break,
                // Nothing also comes back early.
                None => {}
            }
        }
        Ok(())
    }

    /// Hands on what the client says apart from records, and says whether that was the group's word.
    fn hear(&mut self, mut wait: Duration, handle: &mut dyn FnMut(Fetched<'_>)) -> Result<bool, LogError> {
        while let Some(event) = self.consumer.poll(mem::take(&mut wait)) {
            match event.kind() {
                Kind::Assigned(partitions) => {
                    handle(Fetched::Assigned(common_partitions(&self.topics, &partitions)?));
                    return Ok(true);
                }
                Kind::Revoked => {
                    // The library forgets to say so when the member was dropped with this unanswered.
                    let lost = self.consumer.assignment_lost() || self.identity().is_none();
                    let lost = lost && !drill::breaks(Rule::HeedLostAssignment);
                    handle(Fetched::Revoked { lost });
                    return Ok(true);
                }
                Kind::Fault(found) => heed(&found, &mut self.bootstrap)?,
                // Never seen; what is taken up anew is led to its place anew.
                Kind::Record(_) | Kind::AtEnd(_) => {
                    return Err(LogError::Passing("the Kafka client put a record in the wrong queue".into()));
                }
                Kind::ConnectionLost | Kind::Delivered(_) | Kind::Other => {}
            }
        }
        Ok(false)
    }

    /// Hands on what partitions have to say, records in runs of one partition. Says how much that was, if the client
    /// had anything.
    fn take(
        &mut self,
        wait: Duration,
        most: usize,
        handle: &mut dyn FnMut(Fetched<'_>),
    ) -> Result<Option<usize>, LogError> {
        let Self { consumer, topics, taken, bootstrap, .. } = self;
        let batch = consumer.take(wait, most);
        let (mut records, mut delivered) = (Vec::with_capacity(batch.len()), 0);
        let mut last: Option<(Message<'_>, Option<InputId>)> = None;
        for message in batch.messages() {
            match message.kind() {
                Kind::Record(message) => {
                    let input = match last {
                        Some((before, input)) if message.shares_topic(&before) => input,
                        _ => topics.input(message.topic()),
                    };
                    last = Some((message, input));
                    records.extend(input.and_then(|input| accept(input, taken, &message)));
                }
                Kind::AtEnd(place) => {
                    delivered += hand_on(&mut records, handle);
                    if let Some(end) = pass_end(consumer, topics, taken, &place) {
                        handle(Fetched::AtEnd(end));
                        delivered += 1;
                    }
                }
                Kind::Fault(found) => {
                    delivered += hand_on(&mut records, handle);
                    heed(&found, bootstrap)?;
                }
                _ => {}
            }
        }
        delivered += hand_on(&mut records, handle);
        Ok((batch.len() > 0).then_some(delivered))
    }

    /// Looks after the clients themselves.
    fn serve(&mut self) {
        // What the observer has to say would pile up.
        while let Some(event) = self.observer.poll(Duration::ZERO) {
            let code = event.err().and_then(|error| error.rdkafka_error_code());
            code.into_iter().for_each(|code| self.observer_bootstrap.note(code));
        }
        self.observer_bootstrap.serve(self.observer.client());
        self.bootstrap.serve(self.consumer.client());
    }

    pub(super) fn start(&mut self, at: &[(InputId, Partition, Offset)]) -> Result<(), LogError> {
        let list = self.list(at.iter().map(|(input, partition, offset)| (*input, *partition, Some(offset.0))));
        let inputs = self.topics.inputs();
        self.consumer.lead(at.iter().map(|(input, partition, _)| (&**inputs.name(*input), partition.0)));
        // Paused before the next poll, hence before anything is delivered.
        let started = self.consumer.assign(&list).and_then(|()| self.consumer.pause(&list));
        self.taken.clear();
        started.map_err(|error| LogError::Passing(format!("taking up the assigned partitions: {error}")))?;
        for (input, partition, offset) in at {
            self.taken.set(*input, *partition, offset.0);
        }
        Ok(())
    }

    pub(super) fn release(&mut self) -> Result<(), LogError> {
        self.taken.clear();
        self.consumer.lead(iter::empty());
        self.consumer
            .unassign()
            .map_err(|error| LogError::Passing(format!("giving the partitions back to the group: {error}")))
    }

    pub(super) fn pause(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        let list = self.list(inputs.iter().map(|(input, partition)| (*input, *partition, None)));
        self.consumer.pause(&list).map_err(|error| LogError::Passing(format!("pausing partitions: {error}")))
    }

    pub(super) fn resume(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        let list = self.list(inputs.iter().map(|(input, partition)| (*input, *partition, None)));
        self.consumer.resume(&list).map_err(|error| LogError::Passing(format!("resuming partitions: {error}")))
    }

    pub(super) fn committed(&mut self, partitions: &[Partition]) -> Result<Vec<Vec<Option<Committed>>>, LogError> {
        committed(&self.consumer, self.topics.inputs(), partitions)
    }

    /// Where a log begins and ends, transactions that are still open included.
    pub(super) fn extent(&self, topic: &str, partition: Partition) -> Result<Range<Offset>, LogError> {
        // What the member itself sees ends at the last stable offset.
        let broken = drill::breaks(Rule::RestoreToTheEnd);
        bounds(if broken { &self.consumer } else { &self.observer }, topic, partition)
    }

    pub(super) fn hold_more(&mut self, inputs: &[(InputId, Partition)]) -> Vec<Option<bool>> {
        // One question for all; one for each while some have no answer, so that a partition without a leader does
        // not keep the others from theirs.
        if self.ends_missing {
            return self.ask_one_by_one(inputs);
        }
        let more = self.ask_for_more(inputs, END_WITHIN);
        self.ends_missing = more.contains(&None);
        more
    }

    fn ask_one_by_one(&mut self, inputs: &[(InputId, Partition)]) -> Vec<Option<bool>> {
        let deadline = Instant::now() + END_WITHIN;
        let each = END_WITHIN_LEAST.max(END_WITHIN / inputs.len().max(1) as u32);
        let mut more = vec![None; inputs.len()];
        // Who comes too late this time comes first the next.
        let first = self.asked_last;
        self.ends_missing = false;
        for at in (0..inputs.len()).map(|turn| (first + turn) % inputs.len()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            more[at] = self.ask_for_more(&inputs[at..=at], each.min(left))[0];
            self.ends_missing |= more[at].is_none();
            self.asked_last = at + 1;
        }
        more
    }

    fn ask_for_more(&self, inputs: &[(InputId, Partition)], within: Duration) -> Vec<Option<bool>> {
        let mut latest = self.list(inputs.iter().map(|(input, partition)| (*input, *partition, None)));
        let asked = latest.set_all_offsets(rdkafka::Offset::End);
        match asked.and_then(|()| self.observer.offsets_for_times(latest, within)) {
            Ok(answer) => inputs.iter().map(|place| self.holds_more(*place, &answer)).collect(),
            Err(error) => {
                tracing::debug!(target: "kafka", %error, "nobody says where inputs end");
                vec![None; inputs.len()]
            }
        }
    }

    fn holds_more(&self, (input, partition): (InputId, Partition), ends: &TopicPartitionList) -> Option<bool> {
        let end = ends.find_partition(self.topics.inputs().name(input), partition.0)?;
        let end = end.error().ok().and_then(|()| end.offset().to_raw())?;
        Some(self.taken.next(input, partition).is_none_or(|next| next < end))
    }

    pub(super) fn lag(&self, input: InputId, partition: Partition) -> Option<u64> {
        let next = self.taken.next(input, partition)?;
        let end = known_end(self.consumer.client(), self.topics.inputs().name(input), partition)?;
        u64::try_from(end - next).ok().or(Some(0))
    }

    /// The proof of membership that a transaction's offsets carry, if there is one: brokers accept
    /// that of a member outside of the group without fencing it.
    pub(super) fn proof(&self, progress: &[Progress]) -> Result<ConsumerGroupMetadata, String> {
        if let Some(stray) = progress.iter().find(|one| self.taken.next(one.input, one.partition).is_none()) {
            return Err(format!("partition {} is not taken up", stray.partition.0));
        }
        let before = self.identity();
        let proof = self.consumer.group_metadata();
        // The proof itself cannot be looked into. What is the same before and after is what it holds:
        // a member that is dropped comes back under another generation or id.
        match (before, proof, self.identity()) {
            (Some(before), Some(proof), Some(after)) if before == after && !self.consumer.assignment_lost() => {
                Ok(proof)
            }
            (_, Some(proof), _) if drill::breaks(Rule::HeedLostAssignment) => Ok(proof),
            _ => Err("this worker is no member of the group any more".into()),
        }
    }

    /// Who this member is; nothing while it is outside of the group.
    fn identity(&self) -> Option<Identity> {
        native::identity(&self.consumer).filter(|now| now.generation >= 0 && !now.member.is_empty())
    }

    /// The clients, to be closed elsewhere.
    pub(super) fn into_clients(self) -> (GroupConsumer, BaseConsumer<Callbacks>) {
        (self.consumer, self.observer)
    }

    fn list(&self, partitions: impl Iterator<Item = (InputId, Partition, Option<i64>)>) -> TopicPartitionList {
        list(self.topics.inputs(), partitions)
    }
}

fn list(inputs: &Inputs, partitions: impl Iterator<Item = (InputId, Partition, Option<i64>)>) -> TopicPartitionList {
    partitions
        .map(|(input, partition, offset)| {
            let offset = offset.map_or(rdkafka::Offset::Invalid, rdkafka::Offset::Offset);
            ((inputs.name(input).to_string(), partition.0), offset)
        })
        .collect()
}

/// What the group of a consumer has committed, per partition and input; the consumer need not be a
/// member. Waits for transactions that hold undecided offsets.
pub(super) fn committed(
    consumer: &BaseConsumer<Callbacks>,
    inputs: &Inputs,
    partitions: &[Partition],
) -> Result<Vec<Vec<Option<Committed>>>, LogError> {
    let asked = partitions.iter().flat_map(|partition| inputs.ids().map(|input| (input, *partition, None)));
    let list = list(inputs, asked);
    let answer = fault::insist(
        || "asking for the committed offsets of the group".into(),
        ANSWER_WITHIN,
        |left| {
            let answer = consumer.committed_offsets(list.clone(), left)?;
            // Undecided offsets of a previous owner are an error of their partition.
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        },
    )?;
    let mut found = answer.elements().into_iter().map(|element| match element.offset() {
        rdkafka::Offset::Offset(offset) => {
            Some(Committed { offset: Offset(offset), metadata: element.metadata().to_owned() })
        }
        _ => None,
    });
    Ok(partitions.iter().map(|_| inputs.ids().map(|_| found.next().flatten()).collect()).collect())
}

/// Hands on records in runs of one partition, and says how many.
fn hand_on(records: &mut Vec<Record<'_>>, handle: &mut dyn FnMut(Fetched<'_>)) -> usize {
    for run in records.chunk_by(|a, b| (a.input, a.partition) == (b.input, b.partition)) {
        handle(Fetched::Records(run));
    }
    records.drain(..).len()
}

fn heed(found: &Fault, bootstrap: &mut Bootstrap) -> Result<(), LogError> {
    match fault::of_consumer(found) {
        Some(error) => Err(error),
        None => {
            bootstrap.hear(found);
            Ok(())
        }
    }
}

/// The record, unless it stems from before the last start or release.
fn accept<'a>(input: InputId, taken: &mut Taken, message: &Message<'a>) -> Option<Record<'a>> {
    let partition = Partition(message.partition());
    let offset = Offset(message.offset());
    if !taken.pass(input, partition, offset.0..offset.next().0) {
        return None;
    }
    let time = message.time().map(Timestamp::from_millis);
    Some(Record { input, partition, offset, time, key: message.key(), value: message.value() })
}

/// The end of an input partition, unless that is said of before the last start or release.
fn pass_end(consumer: &GroupConsumer, topics: &Topics, taken: &mut Taken, place: &Place) -> Option<End> {
    let (input, partition, offset) = (topics.input(&place.topic)?, Partition(place.partition), Offset(place.offset));
    // It is the end of what may be read: the log's own lies further on while a transaction is open.
    let undecided = known_end(consumer.client(), &place.topic, partition).is_some_and(|end| end > offset.0);
    taken.pass(input, partition, offset.0..offset.0).then_some(End { input, partition, offset, undecided })
}

/// The partitions, which must be the same of every input topic.
fn common_partitions(topics: &Topics, assigned: &[(String, i32)]) -> Result<Vec<Partition>, LogError> {
    let of = |name: &str| -> BTreeSet<_> {
        assigned.iter().filter(|(topic, _)| topic == name).map(|(_, partition)| Partition(*partition)).collect()
    };
    let inputs = topics.inputs();
    let first = inputs.name(InputId(0));
    let common = of(first);
    for input in inputs.ids() {
        let name = inputs.name(input);
        let partitions = of(name);
        if partitions != common {
            let numbers = |set: &BTreeSet<Partition>| set.iter().map(|one| one.0).collect::<Vec<_>>();
            return Err(LogError::Refused(format!(
                "the group gave this worker partitions {:?} of `{first}` but {:?} of `{name}`: all topics need the \
                 same number of partitions, and all members the same topics; `tidemark topics` shows what differs",
                numbers(&common),
                numbers(&partitions)
            )));
        }
    }
    Ok(common.into_iter().collect())
}

/// Where a log begins and ends; for a reader of committed records it ends at the first undecided
/// transaction.
pub(super) fn bounds(
    observer: &BaseConsumer<Callbacks>,
    topic: &str,
    partition: Partition,
) -> Result<Range<Offset>, LogError> {
    let what = || format!("asking for the bounds of `{topic}` partition {}", partition.0);
    let (low, high) = fault::insist(what, ANSWER_WITHIN, |left| observer.fetch_watermarks(topic, partition.0, left))?;
    Ok(Offset(low)..Offset(high))
}

fn known_end(client: &Client<Callbacks>, topic: &str, partition: Partition) -> Option<i64> {
    native::known_end(client, &CString::new(topic).ok()?, partition.0)
}

/// The next offset of every input partition that is taken up.
struct Taken(Vec<Vec<Option<i64>>>);

impl Taken {
    fn new(inputs: usize) -> Self {
        Self(vec![Vec::new(); inputs])
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    fn set(&mut self, input: InputId, partition: Partition, next: i64) {
        let Ok(at) = usize::try_from(partition.0) else { return };
        let partitions = &mut self.0[usize::from(input.0)];
        if partitions.len() <= at {
            partitions.resize(at + 1, None);
        }
        partitions[at] = Some(next);
    }

    fn next(&self, input: InputId, partition: Partition) -> Option<i64> {
        *self.0.get(usize::from(input.0))?.get(usize::try_from(partition.0).ok()?)?
    }

    /// Moves past what was read, unless that is behind or nothing is taken up.
    fn pass(&mut self, input: InputId, partition: Partition, read: Range<i64>) -> bool {
        let ahead = self.next(input, partition).is_some_and(|next| read.start >= next);
        if ahead {
            self.set(input, partition, read.end);
        }
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::super::TopicNames;
    use super::*;

    fn topics() -> Topics {
        Topics::try_from(TopicNames::default()).unwrap()
    }

    fn assigned(partitions: &[(&str, i32)]) -> Vec<(String, i32)> {
        partitions.iter().map(|(topic, partition)| (topic.to_string(), *partition)).collect()
    }

    #[test]
    fn partitions_are_those_of_every_input() {
        let same =
            assigned(&[("intent.events", 1), ("intent.accounts", 0), ("intent.events", 0), ("intent.accounts", 1)]);
        assert_eq!(common_partitions(&topics(), &same).unwrap(), [Partition(0), Partition(1)]);
        assert_eq!(common_partitions(&topics(), &[]).unwrap(), []);
    }

    #[test]
    fn a_torn_assignment_is_refused_by_name() {
        let torn = assigned(&[("intent.events", 0), ("intent.events", 1), ("intent.accounts", 0)]);
        match common_partitions(&topics(), &torn) {
            Err(LogError::Refused(text)) => {
                assert!(text.contains("[0, 1] of `intent.events` but [0] of `intent.accounts`"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn delivery_has_gaps_but_no_steps_back() {
        let (input, partition) = (InputId(0), Partition(2));
        let mut taken = Taken::new(1);
        assert!(!taken.pass(input, partition, 5..6), "nothing is taken up");
        taken.set(input, partition, 5);
        assert!(taken.pass(input, partition, 9..10), "a gap");
        assert!(!taken.pass(input, partition, 9..10), "a second time");
        assert!(taken.pass(input, partition, 12..12), "the end, after records that are not shown");
        assert!(!taken.pass(input, Partition(1), 12..13), "another partition");
        assert_eq!(taken.next(input, partition), Some(12));
        taken.set(input, partition, 5);
        assert!(taken.pass(input, partition, 5..6), "moved back on purpose");
        taken.clear();
        assert!(!taken.pass(input, partition, 9..10), "released");
    }
}
