//! The event queue of a librdkafka client and a few calls that the safe wrapper lacks: all the
//! unsafe code of this library.
//!
//! The wrapper's own polls lose what we need. Its consumer forgets the topic of an end of partition
//! and the place of a fetch error; its producer spins through waits below a millisecond and sits
//! out those above, where one wait on the queue ends as soon as a delivery report is there.

use std::{
    ffi::{CStr, c_char, c_int},
    marker::PhantomData,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use rdkafka::{
    ClientContext,
    bindings::{self, rd_kafka_resp_err_t as Code},
    client::Client,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
    types::{RDKafkaEvent, RDKafkaMessage, RDKafkaQueue},
};

mod group;

pub(super) use self::group::GroupConsumer;

/// The callbacks of a client. They only pass on what the library logs; a rebalance is answered here
/// by the wrapper's default, which assigns at once, only while the consumer is being closed.
pub(super) struct Callbacks;

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        report_log(level as i32, facility, text);
    }

    fn error(&self, error: rdkafka::error::KafkaError, text: &str) {
        // While a consumer is being closed, the wrapper takes the end of a partition for an error.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(code) => tell(code, text),
            None => tracing::warn!(target: "kafka", %error, "{text}"),
        }
    }

    // Nobody asks for statistics; the default would parse and print them.
    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Callbacks {}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Whether a line of the library's log says that a connection was lost on which requests may have
/// been under way. It says so of every one only when it is asked to log what brokers do. It gives up
/// connections of its own too: to the bootstrap address, once it knows the brokers.
fn tells_of_lost_connection(facility: &str, line: &str) -> bool {
    facility.trim() == "FAIL" && line.contains(" in state UP") && !line.contains("(_DESTROY_BROKER)")
}

fn report_log(level: i32, facility: &str, text: &str) {
    match level {
        // Consumer settings given to a producer and the reverse: the pass-through goes to both.
        _ if facility == "CONFWARN" => tracing::debug!(target: "kafka", facility, "{text}"),
        0..=3 => tracing::error!(target: "kafka", facility, "{text}"),
        4 => tracing::warn!(target: "kafka", facility, "{text}"),
        5 | 6 => tracing::info!(target: "kafka", facility, "{text}"),
        _ => tracing::debug!(target: "kafka", facility, "{text}"),
    }
}

/// A client whose events are ours to poll: the consumer's records, rebalances and errors, or the
/// producer's delivery reports and errors.
pub(super) struct Polled<C> {
    // Before the client, so that it is let go first: the library demands it.
    queue: Queue,
    client: C,
}

struct Queue(NonNull<RDKafkaQueue>);

// The library's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this is the only handle to this reference of the queue, and `Polled` drops it
        // before the client.
        unsafe { bindings::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

impl<C> Deref for Polled<C> {
    type Target = C;
    fn deref(&self) -> &C {
        &self.client
    }
}

impl Polled<BaseConsumer<Callbacks>> {
    /// Takes over the polling of a consumer that has a group id.
    pub(super) fn consumer(client: BaseConsumer<Callbacks>) -> Option<Self> {
        // SAFETY: the client is alive; the queue is null for a consumer without a group id.
        let queue = NonNull::new(unsafe { bindings::rd_kafka_queue_get_consumer(client.client().native_ptr()) })?;
        Some(Self { queue: Queue(queue), client })
    }
}

impl Polled<BaseProducer<Callbacks>> {
    /// Takes over the polling of a producer.
    pub(super) fn producer(client: BaseProducer<Callbacks>) -> Option<Self> {
        // SAFETY: the client is alive.
        let queue = NonNull::new(unsafe { bindings::rd_kafka_queue_get_main(client.client().native_ptr()) })?;
        Some(Self { queue: Queue(queue), client })
    }
}

/// Whole milliseconds, rounded up.
fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

impl<C> Polled<C> {
    /// The next event, waiting at most `wait` (rounded up to whole milliseconds). Nothing may also
    /// come back early.
    pub(super) fn poll(&self, wait: Duration) -> Option<Event<'_>> {
        // SAFETY: the queue is alive; the event becomes ours.
        let event = NonNull::new(unsafe { bindings::rd_kafka_queue_poll(self.queue.0.as_ptr(), millis(wait)) })?;
        Some(Event { event, client: PhantomData })
    }
}

/// One event, which owns what its [`Kind`] borrows.
pub(super) struct Event<'a> {
    event: NonNull<RDKafkaEvent>,
    client: PhantomData<&'a ()>,
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: the event is ours and is let go once.
        unsafe { bindings::rd_kafka_event_destroy(self.event.as_ptr()) }
    }
}

/// What an event says.
pub(super) enum Kind<'a> {
    Record(Message<'a>),
    AtEnd(Place),
    /// Partitions by topic that the group gives; it waits until they are assigned.
    Assigned(Vec<(String, i32)>),
    /// All partitions are taken back; the group waits until they are unassigned.
    Revoked,
    /// Fate of records that were sent.
    Delivered(Reports<'a>),
    Fault(Fault),
    /// A connection was lost, with whatever was under way on it. The library opens a new one and
    /// repeats its requests by itself.
    ConnectionLost,
    /// Of no further interest; what the library logs has been passed on.
    Other,
}

/// A place in a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// An error that the client reports on its own.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) code: RDKafkaErrorCode,
    /// The client instance is of no more use.
    pub(super) fatal: bool,
    pub(super) place: Option<Place>,
    pub(super) text: String,
}

impl Fault {
    /// Says it in the log.
    pub(super) fn tell(&self) {
        tell(self.code, &self.text);
    }
}

fn tell(code: RDKafkaErrorCode, text: &str) {
    match code {
        // The library says so twenty times a second as long as it is so. Connections that fail are told of
        // as well, and only now and then while they go on failing.
        RDKafkaErrorCode::AllBrokersDown => tracing::debug!(target: "kafka", ?code, "{text}"),
        _ => tracing::warn!(target: "kafka", ?code, "{text}"),
    }
}

/// What an error of the library says.
fn no_record<'a>(code: Code, fatal: bool, place: Option<Place>, text: String) -> Kind<'a> {
    match (code, place) {
        (Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(place)) => Kind::AtEnd(place),
        (Code::RD_KAFKA_RESP_ERR__FATAL, place) => Kind::Fault(Fault { code: code.into(), fatal: true, place, text }),
        (code, place) => Kind::Fault(Fault { code: code.into(), fatal, place, text }),
    }
}

impl Event<'_> {
    pub(super) fn kind(&self) -> Kind<'_> {
        // SAFETY: the event is alive.
        match unsafe { bindings::rd_kafka_event_type(self.event.as_ptr()) } {
            bindings::RD_KAFKA_EVENT_FETCH => self.next_message().map_or(Kind::Other, Kind::Record),
            bindings::RD_KAFKA_EVENT_DR => Kind::Delivered(Reports { event: self }),
            bindings::RD_KAFKA_EVENT_REBALANCE => self.rebalance(),
            bindings::RD_KAFKA_EVENT_ERROR => self.error(),
            bindings::RD_KAFKA_EVENT_LOG => self.pass_on_log(),
            _ => Kind::Other,
        }
    }

    fn next_message(&self) -> Option<Message<'_>> {
        // SAFETY: the event is alive and owns the message, which lives as long.
        unsafe { bindings::rd_kafka_event_message_next(self.event.as_ptr()).as_ref() }.map(Message)
    }

    fn rebalance(&self) -> Kind<'_> {
        // SAFETY: the event is alive.
        match unsafe { bindings::rd_kafka_event_error(self.event.as_ptr()) } {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Kind::Assigned(self.partitions()),
            // Every error of a rebalance leaves the member without partitions.
            _ => Kind::Revoked,
        }
    }

    fn partitions(&self) -> Vec<(String, i32)> {
        // SAFETY: the event is alive and owns the list, whose elements are `cnt` in number and have
        // C strings as topics.
        unsafe {
            let Some(list) = bindings::rd_kafka_event_topic_partition_list(self.event.as_ptr()).as_ref() else {
                return Vec::new();
            };
            let count = usize::try_from(list.cnt).unwrap_or(0);
            (0..count).map(|at| &*list.elems.add(at)).map(|one| (text(one.topic), one.partition)).collect()
        }
    }

    fn error(&self) -> Kind<'_> {
        // SAFETY: the event is alive and is an error, which is what these getters are for.
        let (code, fatal, text) = unsafe {
            let event = self.event.as_ptr();
            let fatal = bindings::rd_kafka_event_error_is_fatal(event) != 0;
            (bindings::rd_kafka_event_error(event), fatal, text(bindings::rd_kafka_event_error_string(event)))
        };
        no_record(code, fatal, self.place(), text)
    }

    fn place(&self) -> Option<Place> {
        // SAFETY: the event is alive; the returned element is ours to let go.
        unsafe {
            let raw = bindings::rd_kafka_event_topic_partition(self.event.as_ptr());
            let place =
                raw.as_ref().map(|raw| Place { topic: text(raw.topic), partition: raw.partition, offset: raw.offset });
            if place.is_some() {
                bindings::rd_kafka_topic_partition_destroy(raw);
            }
            place
        }
    }

    fn pass_on_log(&self) -> Kind<'_> {
        let Some((level, facility, line)) = self.log() else { return Kind::Other };
        report_log(level, facility.trim(), line.trim());
        if tells_of_lost_connection(&facility, &line) { Kind::ConnectionLost } else { Kind::Other }
    }

    /// A line of the library's log: its level, what it is about, and its text.
    fn log(&self) -> Option<(i32, String, String)> {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive, and owns both strings if it is a line of the log.
        unsafe {
            let outcome = bindings::rd_kafka_event_log(self.event.as_ptr(), &mut facility, &mut line, &mut level);
            (outcome == 0).then(|| (level, text(facility), text(line)))
        }
    }
}

/// Fate of records that were sent, one by one.
pub(super) struct Reports<'a> {
    event: &'a Event<'a>,
}

impl<'a> Iterator for Reports<'a> {
    type Item = Message<'a>;
    fn next(&mut self) -> Option<Message<'a>> {
        self.event.next_message()
    }
}

/// A record that was fetched or sent, or what is said of a partition in place of one.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(&'a RDKafkaMessage);

impl<'a> Message<'a> {
    /// What a message that was taken says.
    pub(super) fn kind(self) -> Kind<'a> {
        if self.0.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Kind::Record(self);
        }
        // SAFETY: the message is alive and was fetched, which is what this getter is for.
        let text = unsafe { text(bindings::rd_kafka_message_errstr(self.0)) };
        let place = || Place { topic: self.topic().to_owned(), partition: self.partition(), offset: self.offset() };
        no_record(self.0.err, false, (!self.0.rkt.is_null()).then(place), text)
    }

    /// Why the record was not delivered, if it was not.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        (self.0.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.0.err.into())
    }

    /// Whether both records are of one topic, as far as the client's handles of topics tell: no name is compared.
    pub(super) fn shares_topic(&self, other: &Message<'_>) -> bool {
        self.0.rkt == other.0.rkt
    }

    pub(super) fn topic(&self) -> &'a str {
        // SAFETY: the message holds a reference to its topic, whose name is a C string.
        unsafe {
            let name = bindings::rd_kafka_topic_name(self.0.rkt);
            if name.is_null() { "" } else { CStr::from_ptr(name).to_str().unwrap_or_default() }
        }
    }

    pub(super) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message owns its key of this length.
        unsafe { bytes(self.0.key.cast(), self.0.key_len) }
    }

    pub(super) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the message owns its payload of this length.
        unsafe { bytes(self.0.payload.cast(), self.0.len) }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn time(&self) -> Option<i64> {
        let mut kind = bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis = unsafe { bindings::rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(millis)
    }
}

/// The lines of the library's log about failed connections since the last call, of a client whose
/// main queue nobody else polls.
pub(super) fn failed_connections<C: ClientContext>(client: &Client<C>) -> Vec<String> {
    // SAFETY: the client is alive.
    let queue = NonNull::new(unsafe { bindings::rd_kafka_queue_get_main(client.native_ptr()) });
    let Some(polled) = queue.map(|queue| Polled { queue: Queue(queue), client }) else { return Vec::new() };
    let events = std::iter::from_fn(|| polled.poll(Duration::ZERO));
    let lines = events.filter_map(|event| event.log());
    lines.filter(|(_, facility, _)| facility == "FAIL").map(|(.., line)| line).collect()
}

/// Who a member is within its group; both change with every rebalance that it misses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    /// Below zero outside of a group.
    pub(super) generation: i32,
    /// Empty outside of a group.
    pub(super) member: String,
}

/// Who this consumer is in its group now.
pub(super) fn identity(consumer: &BaseConsumer<Callbacks>) -> Option<Identity> {
    // SAFETY: the client is alive; the metadata is ours to let go and owns the member id.
    unsafe {
        let metadata = bindings::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let identity = Identity {
            generation: bindings::rd_kafka_consumer_group_metadata_generation_id(metadata),
            member: text(bindings::rd_kafka_consumer_group_metadata_member_id(metadata)),
        };
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        Some(identity)
    }
}

/// The offset after the last record of a partition, as the last fetch response had it.
pub(super) fn known_end<C: ClientContext>(client: &Client<C>, topic: &CStr, partition: i32) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: client and topic are alive; the call reads memory of the client only.
    let code = unsafe {
        bindings::rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
    };
    (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// Whether the client has learned of no broker, or has forgotten all.
pub(super) fn knows_no_broker<C: ClientContext>(client: &Client<C>) -> bool {
    let mut count = 0;
    // SAFETY: the client is alive; the list, of which the length is enough here, is ours to let go.
    unsafe {
        let learned = bindings::rd_kafka_brokers_learned_ids(client.native_ptr(), &mut count);
        bindings::rd_kafka_mem_free(client.native_ptr(), learned.cast());
    }
    count == 0
}

/// Has the client ask these brokers, separated by commas, for those of the cluster.
pub(super) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &CStr) {
    // SAFETY: client and text are alive; the library copies the text.
    unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}

/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, length) })
}

/// # Safety
/// `start` is null or points to a C string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
