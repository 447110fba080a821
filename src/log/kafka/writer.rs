//! The transactional producer of one worker: outputs and progress, together or not at all.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, PurgeConfig},
};

use super::{
    Topics,
    bootstrap::Bootstrap,
    close::close_aside,
    config::{ANSWER_WITHIN, KafkaConfig, TRANSACTION_TIMEOUT},
    fault::{denied, is_denial},
    member::Member,
    native::{Callbacks, Kind, Message, Polled},
};
use crate::log::{
    LogError, Offset, Output, OutputTopic, Partition, Progress, Transaction,
    protocol::{self, Attempt, Failure, Remedy},
};

type PolledProducer = Polled<BaseProducer<Callbacks>>;

/// What a transaction may take; the broker gives up on it earlier.
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
/// What the clean-up after a failure may take.
const ABORT_WITHIN: Duration = Duration::from_secs(5);
/// Within this time of the last one, another producer of the same name is no accident.
const RIVAL_WITHIN: Duration = Duration::from_secs(600);
/// Between two identical calls, the first of which may be repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// How long one wait for delivery reports takes at most; it ends as soon as there are some.
const REPORTS_WITHIN: Duration = Duration::from_millis(100);

/// The transactional producer of one worker.
pub(super) struct Writer {
    config: Arc<KafkaConfig>,
    worker: usize,
    /// Nothing after an outcome that is not known: the next one fences it.
    producer: Option<PolledProducer>,
    bootstrap: Bootstrap,
    /// How often in a row, and when last, another producer of the same name was met.
    rival_met: Option<(usize, Instant)>,
    state_ends: StateEnds,
}

/// Where the state topic ended at least, per partition.
type StateEnds = BTreeMap<Partition, Offset>;

impl Writer {
    pub(super) fn new(config: Arc<KafkaConfig>, worker: usize) -> Self {
        let bootstrap = Bootstrap::new(&config);
        Self { config, worker, producer: None, bootstrap, rival_met: None, state_ends: StateEnds::new() }
    }

    /// Has a producer ready. Ends what an earlier one of the same name left open.
    pub(super) fn prepare(&mut self) -> Result<(), LogError> {
        if self.producer.is_none() {
            self.producer = Some(self.create().map_err(|error| {
                let id = self.config.transactional_id(self.worker);
                let text = format!("starting transactions as `{id}` at {}: {error}", self.config.brokers);
                if error.rdkafka_error_code().is_some_and(is_denial) { denied(&text) } else { LogError::Passing(text) }
            })?);
        }
        Ok(())
    }

    fn create(&self) -> KafkaResult<PolledProducer> {
        let producer: BaseProducer<Callbacks> = self.config.writer(self.worker).create_with_context(Callbacks)?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match producer.init_transactions(left) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_retriable() && left > REPEAT_AFTER => {
                    thread::sleep(REPEAT_AFTER);
                }
                Err(error) => return Err(error),
            }
        }
        Polled::producer(producer).ok_or_else(|| KafkaError::ClientCreation("the producer has no queue".into()))
    }

    /// Takes in what the producer reports between transactions.
    pub(super) fn serve(&mut self) {
        let Some(producer) = &self.producer else { return };
        let mut fatal = false;
        while let Some(event) = producer.poll(Duration::ZERO) {
            if let Kind::Fault(fault) = event.kind() {
                self.bootstrap.hear(&fault);
                fatal |= fault.fatal;
            }
        }
        self.bootstrap.serve(producer.client());
        if fatal {
            self.discard();
        }
    }

    /// Writes and commits, with the offsets that `member` owns.
    pub(super) fn commit(&mut self, transaction: &Transaction, member: &Member) -> Result<(), LogError> {
        self.prepare()?;
        // What was lost before is no matter of this transaction.
        self.serve();
        let Some(producer) = &self.producer else {
            return Err(LogError::Passing("the producer has failed since the last commit; it is replaced".into()));
        };
        let began = Instant::now();
        let (bootstrap, state_ends) = (&mut self.bootstrap, &mut self.state_ends);
        let mut attempt = KafkaAttempt::new(producer, &self.config, member, bootstrap, state_ends);
        let ended = protocol::carry_out(&mut attempt, transaction);
        // The broker gives up on transactions too, and then fences them alike, but not so early.
        let met_rival = is_fenced(producer) && began.elapsed() < TRANSACTION_TIMEOUT;
        if !ended.producer_kept {
            self.discard();
        }
        if met_rival {
            self.check_rival()?;
        }
        ended.outcome
    }

    /// The partition's state topic is known to end there, or further on.
    pub(super) fn note_state_end(&mut self, partition: Partition, end: Offset) {
        self.state_ends.insert(partition, end);
    }

    /// Where the partition's state topic ends, or a little before that.
    pub(super) fn state_end(&self, partition: Partition) -> Offset {
        self.state_ends.get(&partition).copied().unwrap_or(Offset(0))
    }

    /// Another producer has taken the name. Once may be a restart that overlaps with the process that
    /// it replaces, or a request that was long under way. Again, after this producer took the name
    /// back, is another process that does the same: they would fence each other for ever. Later
    /// workers have more patience, or the first could end one process and the second the other.
    fn check_rival(&mut self) -> Result<(), LogError> {
        let now = Instant::now();
        let recently = self.rival_met.filter(|(_, last)| now.duration_since(*last) < RIVAL_WITHIN);
        let times = recently.map_or(0, |(times, _)| times) + 1;
        self.rival_met = Some((times, now));
        if times < 2 * (self.worker + 1) {
            return Ok(());
        }
        Err(LogError::Refused(format!(
            "another process makes transactions as `{}` too: it has the same `kafka.instance`. This one ends, so that \
             they do not fence each other for ever; nothing is lost or doubled. Give every process of the group a name \
             of its own",
            self.config.transactional_id(self.worker)
        )))
    }

    fn discard(&mut self) {
        if let Some(producer) = self.producer.take() {
            close_aside("producer", producer);
        }
    }

    /// The producer, to be closed elsewhere.
    pub(super) fn into_client(self) -> Option<PolledProducer> {
        self.producer
    }
}

/// One transaction under way.
struct KafkaAttempt<'a> {
    producer: &'a PolledProducer,
    member: &'a Member,
    topics: &'a Topics,
    record_bytes_max: u64,
    deadline: Instant,
    /// The first record that the broker did not take.
    undelivered: Option<Failure>,
    /// A request was repeated, by us or, over a new connection, by the library itself: its first copy
    /// may still arrive at the broker, and end or alter the next transaction of this producer.
    in_doubt: bool,
    bootstrap: &'a mut Bootstrap,
    state_ends: &'a mut StateEnds,
}

impl Attempt for KafkaAttempt<'_> {
    type Proof = ConsumerGroupMetadata;

    fn begin(&mut self) -> Result<(), Failure> {
        let producer = self.producer;
        self.call("beginning a transaction", |_| producer.begin_transaction())
    }

    fn send(&mut self, output: &Output) -> Result<(), Failure> {
        let topic = self.topics.output(output.topic);
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(output.partition.0);
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        record.headers = headers(output);
        loop {
            let Err((error, unsent)) = self.producer.send(record) else { return Ok(()) };
            match error.rdkafka_error_code() {
                Some(Code::QueueFull) if !self.left().is_zero() => self.take_reports(REPORTS_WITHIN)?,
                Some(Code::MessageSizeTooLarge) => return Err(self.too_large(output)),
                _ => return Err(classify(&writing(topic, output.partition.0), &error)),
            }
            record = unsent;
        }
    }

    /// The library's own commit would wait in steps of 100 ms.
    fn drain(&mut self) -> Result<(), Failure> {
        while self.producer.in_flight_count() > 0 {
            let left = self.left();
            if left.is_zero() {
                return Err(Failure::replace(&format!(
                    "writing: {} records were not acknowledged within {COMMIT_WITHIN:?}",
                    self.producer.in_flight_count()
                )));
            }
            self.take_reports(left.min(REPORTS_WITHIN))?;
        }
        self.undelivered.take().map_or(Ok(()), Err)
    }

    fn prove(&mut self, progress: &[Progress]) -> Result<ConsumerGroupMetadata, Failure> {
        self.member.proof(progress).map_err(|reason| Failure::abort(&format!("committing: {reason}")))
    }

    fn add_offsets(&mut self, progress: &[Progress], proof: ConsumerGroupMetadata) -> Result<(), Failure> {
        let (producer, offsets) = (self.producer, offsets(self.topics, progress));
        self.call("adding the offsets to the transaction", |left| {
            producer.send_offsets_to_transaction(&offsets, &proof, left)
        })
    }

    fn end(&mut self) -> Result<(), Failure> {
        let producer = self.producer;
        self.call("committing the transaction", |left| producer.commit_transaction(left))?;
        self.listen();
        Ok(())
    }

    fn abort(&mut self) -> bool {
        let producer = self.producer;
        self.deadline = Instant::now() + ABORT_WITHIN;
        // Reports must be taken before the call, which waits for them but does not serve them.
        producer.purge(PurgeConfig::default().queue());
        let drained = self.drain();
        if producer.in_flight_count() > 0 {
            return false;
        }
        drop(drained);
        match self.call("aborting the transaction", |left| producer.abort_transaction(left)) {
            Ok(()) => {
                self.listen();
                true
            }
            Err(failure) => {
                tracing::warn!(target: "kafka", "{}", failure.error);
                false
            }
        }
    }

    fn in_doubt(&self) -> bool {
        self.in_doubt
    }
}

impl<'a> KafkaAttempt<'a> {
    fn new(
        producer: &'a PolledProducer,
        config: &'a KafkaConfig,
        member: &'a Member,
        bootstrap: &'a mut Bootstrap,
        state_ends: &'a mut StateEnds,
    ) -> Self {
        Self {
            producer,
            member,
            topics: &config.topics,
            record_bytes_max: config.record_bytes_max(),
            deadline: Instant::now() + COMMIT_WITHIN,
            undelivered: None,
            in_doubt: false,
            bootstrap,
            state_ends,
        }
    }

    /// Calls, and calls again while that is allowed and there is time.
    fn call(&mut self, what: &str, call: impl Fn(Duration) -> KafkaResult<()>) -> Result<(), Failure> {
        loop {
            let left = self.left();
            match call(left) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && left > REPEAT_AFTER => {
                    self.in_doubt = true;
                    thread::sleep(REPEAT_AFTER);
                }
                Err(error) => return Err(classify(what, &error)),
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes in what the client has to say once all is done.
    fn listen(&mut self) {
        while let Some(event) = self.producer.poll(Duration::ZERO) {
            match event.kind() {
                Kind::ConnectionLost => self.in_doubt = true,
                Kind::Fault(fault) => {
                    self.bootstrap.hear(&fault);
                    self.in_doubt |= fault.fatal;
                }
                _ => {}
            }
        }
    }

    fn take_reports(&mut self, wait: Duration) -> Result<(), Failure> {
        self.bootstrap.serve(self.producer.client());
        let Some(event) = self.producer.poll(wait) else { return Ok(()) };
        match event.kind() {
            Kind::ConnectionLost => self.in_doubt = true,
            Kind::Delivered(reports) => {
                for report in reports {
                    self.take_report(&report);
                }
            }
            Kind::Fault(fault) if fault.fatal => {
                let code = self.producer.client().fatal_error().map_or(fault.code, |(code, _)| code);
                return Err(fatal("writing", code, &fault.text));
            }
            Kind::Fault(fault) => self.bootstrap.hear(&fault),
            _ => {}
        }
        Ok(())
    }

    fn take_report(&mut self, report: &Message<'_>) {
        if let Some(code) = report.error() {
            self.undelivered.get_or_insert_with(|| undelivered(self.producer, report, code));
        } else if report.offset() >= 0 && *report.topic() == **self.topics.output(OutputTopic::State) {
            // A record that was delivered before its repetition has no offset.
            self.state_ends.insert(Partition(report.partition()), Offset(report.offset() + 1));
        }
    }

    fn too_large(&self, output: &Output) -> Failure {
        let bytes = output.key.as_ref().map_or(0, Vec::len) + output.value.as_ref().map_or(0, Vec::len);
        too_large(self.topics.output(output.topic), output.partition.0, bytes, Some(self.record_bytes_max))
    }
}

/// Progress as the client library wants it.
fn offsets(topics: &Topics, progress: &[Progress]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(progress.len());
    for one in progress {
        let mut element = list.add_partition(topics.inputs().name(one.input), one.partition.0);
        element.set_metadata(&one.metadata);
        // An offset is never below zero, so this cannot be refused; if it were, the library
        // would refuse the list.
        let _ = element.set_offset(rdkafka::Offset::Offset(one.offset.0));
    }
    list
}

/// What an error of the library means; one that says nothing of itself is fatal.
fn classify(what: &str, error: &KafkaError) -> Failure {
    let mut failure = match error {
        KafkaError::Transaction(inner) if inner.is_fatal() => fatal(what, inner.code(), inner),
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Failure::abort(&format!("{what}: {inner}")),
        // Refused before it was sent; the transaction itself is sound.
        KafkaError::MessageProduction(_) => Failure::abort(&format!("{what}: {error}")),
        _ => Failure::replace(&format!("{what}: {error}")),
    };
    if error.rdkafka_error_code().is_some_and(is_denial) {
        failure.error = denied(&format!("{what}: {error}"));
    }
    failure
}

const FENCED: [Code; 3] = [Code::Fenced, Code::InvalidProducerEpoch, Code::ProducerFenced];

/// Whether the broker has told the producer that another has its name, or that it took too long.
fn is_fenced(producer: &PolledProducer) -> bool {
    producer.client().fatal_error().is_some_and(|(code, _)| FENCED.contains(&code))
}

fn fatal(what: &str, code: Code, reason: impl Display) -> Failure {
    if FENCED.contains(&code) {
        return Failure::replace(&format!(
            "{what}: {reason} (the broker gave up on the transaction, or another process runs under the same \
             `kafka.instance`)"
        ));
    }
    Failure::replace(&format!("{what}: {reason}"))
}

fn undelivered(producer: &PolledProducer, report: &Message<'_>, code: Code) -> Failure {
    let what = writing(report.topic(), report.partition());
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            let bytes = report.key().map_or(0, <[u8]>::len) + report.value().map_or(0, <[u8]>::len);
            too_large(report.topic(), report.partition(), bytes, None)
        }
        // The library has given the transaction up, and tells why to whoever would begin another one.
        Code::PurgeQueue | Code::PurgeInflight => match producer.begin_transaction() {
            Err(error @ KafkaError::Transaction(_)) => classify(&what, &error),
            _ => Failure::abort(&format!("{what}: {code}")),
        },
        code if is_denial(code) => Failure { remedy: Remedy::Abort, error: denied(&format!("{what}: {code}")) },
        code => Failure::abort(&format!("{what}: {code}")),
    }
}

fn writing(topic: impl Display, partition: i32) -> String {
    format!("writing to `{topic}` partition {partition}")
}

/// Not passing: the same record would come again after every restore.
fn too_large(topic: &str, partition: i32, bytes: usize, limit: Option<u64>) -> Failure {
    let limit = limit.map_or("the broker's limit".into(), |limit| format!("the limit of {limit} bytes"));
    Failure {
        remedy: Remedy::Abort,
        error: LogError::Refused(format!(
            "a record of {bytes} bytes for `{topic}` partition {partition} is over {limit}: raise \
             `max.message.bytes` of the topic and `message.max.bytes` under `kafka.properties`, then restart"
        )),
    }
}

fn headers(output: &Output) -> Option<OwnedHeaders> {
    let insert = |headers: OwnedHeaders, (key, value): &(&'static str, Vec<u8>)| {
        headers.insert(Header { key, value: Some(value) })
    };
    (!output.headers.is_empty())
        .then(|| output.headers.iter().fold(OwnedHeaders::new_with_capacity(output.headers.len()), insert))
}
