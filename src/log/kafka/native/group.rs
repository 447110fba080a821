//! The consumer of a group's member, whose records are taken many at a time.
//!
//! An event for each record would cost three readings of the clock and three locks. A batch of the
//! consumer's own queue is no way out: there the library answers a rebalance in our place. So
//! records come in a queue apart.

use std::{ffi::CString, marker::PhantomData, ops::Deref, ptr::NonNull, time::Duration};

use rdkafka::{
    bindings,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaMessage,
};

use super::{Callbacks, Message, Polled, Queue, millis};

/// The consumer of a group's member. Records and what is said of partitions are taken; all else is
/// polled.
pub(in super::super) struct GroupConsumer {
    /// Of the partitions that are led to `records`.
    led: Vec<Queue>,
    // Before the client, as in `Polled`. As its owner we empty it when we let it go: a record that
    // nobody takes would keep the client from ending.
    records: Queue,
    consumer: Polled<BaseConsumer<Callbacks>>,
}

impl Deref for GroupConsumer {
    type Target = Polled<BaseConsumer<Callbacks>>;
    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

impl GroupConsumer {
    /// Takes over the polling of a consumer that has a group id.
    pub(in super::super) fn new(client: BaseConsumer<Callbacks>) -> Option<Self> {
        let consumer = Polled::consumer(client)?;
        // SAFETY: the client is alive.
        let records = NonNull::new(unsafe { bindings::rd_kafka_queue_new(consumer.client.client().native_ptr()) })?;
        Some(Self { led: Vec::new(), records: Queue(records), consumer })
    }

    /// From now on records of these partitions, their ends and their errors are what is taken; to be
    /// called before the partitions are assigned. Those of no other partition are.
    pub(in super::super) fn lead<'t>(&mut self, partitions: impl Iterator<Item = (&'t str, i32)>) {
        let client = self.consumer.client.client().native_ptr();
        self.led.clear();
        self.led.extend(partitions.filter_map(|(topic, partition)| {
            let topic = CString::new(topic).ok()?;
            // SAFETY: client and topic are alive; the handle is ours.
            let queue = unsafe { bindings::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
            NonNull::new(queue).map(Queue)
        }));
        self.lead_again();
    }

    /// The library forgets where a partition is led when it ends fetching it, which it does at some
    /// time after another assignment was asked for; what has come meanwhile is led along.
    fn lead_again(&self) {
        for queue in &self.led {
            // SAFETY: both queues are alive; the library counts its own references.
            unsafe { bindings::rd_kafka_queue_forward(queue.0.as_ptr(), self.records.0.as_ptr()) };
        }
    }

    /// What partitions that are led have to say, at most `most`; if that is nothing yet, waits for
    /// the first for at most `wait` (rounded up to whole milliseconds). Nothing may also come back
    /// early.
    pub(in super::super) fn take(&self, wait: Duration, most: usize) -> Batch<'_> {
        self.lead_again();
        let mut batch = Batch { messages: Vec::with_capacity(most), client: PhantomData };
        batch.fill(&self.records, Duration::ZERO, most);
        if batch.messages.is_empty() && !wait.is_zero() {
            // The library waits until there are as many as it is asked for.
            batch.fill(&self.records, wait, 1);
        }
        batch
    }
}

/// Messages that were taken together.
pub(in super::super) struct Batch<'a> {
    messages: Vec<NonNull<RDKafkaMessage>>,
    client: PhantomData<&'a ()>,
}

impl Batch<'_> {
    /// Takes up to `most` messages more, as far as there is room.
    fn fill(&mut self, queue: &Queue, wait: Duration, most: usize) {
        let room = self.messages.spare_capacity_mut();
        let most = most.min(room.len());
        // SAFETY: the queue is alive; the library writes at most `most` pointers into the room, none
        // of them null, and says how many; the messages become ours.
        unsafe {
            let start = room.as_mut_ptr().cast();
            let count = bindings::rd_kafka_consume_batch_queue(queue.0.as_ptr(), millis(wait), start, most);
            self.messages.set_len(self.messages.len() + usize::try_from(count).unwrap_or(0));
        }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(in super::super) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: the messages are alive as long as their batch.
        self.messages.iter().map(|message| Message(unsafe { message.as_ref() }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: the messages are ours and each is let go once.
        self.messages.iter().for_each(|message| unsafe { bindings::rd_kafka_message_destroy(message.as_ptr()) });
    }
}
