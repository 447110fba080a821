//! How this process talks to Kafka: a few checked settings, and the client configurations that
//! follow from them.

use std::time::Duration;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use super::{Properties, Topics, properties::RECORD_BYTES_KEY};

/// A transaction that its worker does not end is aborted by the broker after this time; until then
/// readers of its partitions wait.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question to the cluster may take, retries included.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Fetched records that a reader keeps ready, in KiB: less than a tenth of a second of work. The library
/// takes twice as much memory as their bytes.
const PREFETCH_KIB: &str = "4096";
/// Bytes of a partition in one fetch, compressed: they come on top.
const FETCH_BYTES: &str = "524288";
/// Bytes of all partitions in one fetch. The library unpacks a fetch at once, into ten times as much memory.
const ANSWER_BYTES: u64 = 1 << 20;

/// How this process talks to Kafka.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The consumer group that shares the partitions; also prefixes the transactional ids.
    pub group: String,
    /// Tells this process from all others of the group that run at the same time.
    pub instance: String,
    pub topics: Topics,
    pub properties: Properties,
}

impl KafkaConfig {
    /// The name under which a worker's transactions are fenced.
    pub(super) fn transactional_id(&self, worker: usize) -> String {
        format!("{}-{}-{worker}", self.group, self.instance)
    }

    /// What every client shares. The pass-through comes first, so that it cannot undo what follows.
    fn base(&self, client: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("socket.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "200")
            .set("reconnect.backoff.max.ms", "2000");
        for (key, value) in self.properties.iter() {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            // Unique: the library's assignor was seen to loop over members of one name.
            .set("client.id", format!("tidemark-{}-{}-{client}", self.group, self.instance))
            .set("allow.auto.create.topics", "false");
        config
    }

    fn reader(&self, client: &str) -> ClientConfig {
        // The library insists on room for the largest record.
        let answer_bytes = ANSWER_BYTES.max(self.record_bytes_max()).to_string();
        let mut config = self.with_defaults(
            client,
            &[
                // Half a minute to notice a dead worker; a paused one keeps its partitions.
                ("session.timeout.ms", "30000"),
                ("max.poll.interval.ms", "300000"),
                // The default of a second is a stall whenever the prefetch buffer was full.
                ("fetch.queue.backoff.ms", "10"),
                // A fetch that finds nothing holds back one for partitions that were resumed since.
                ("fetch.wait.max.ms", "10"),
                ("queued.min.messages", "200000"),
                ("queued.max.messages.kbytes", PREFETCH_KIB),
                ("max.partition.fetch.bytes", FETCH_BYTES),
                ("fetch.max.bytes", &answer_bytes),
            ],
        );
        config
            .set("group.id", &self.group)
            .set("group.protocol", "classic")
            // Keeps the same partitions of all topics together.
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Every start names its offset; one that is gone is for a person to look at.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        config
    }

    /// The member of the group, which reads the inputs.
    pub(super) fn member(&self, worker: usize) -> ClientConfig {
        let mut config = self.reader(&worker.to_string());
        // A broker that answers as soon as there is one record does so a thousand times a second, and has
        // the less time for the transactions that readers of changes wait for.
        self.set_unless_given(&mut config, "fetch.min.bytes", "32768");
        config
    }

    /// A reader of tables, outside of the group although the library wants a name of one.
    pub(super) fn table_reader(&self, worker: usize) -> ClientConfig {
        self.reader(&format!("{worker}-tables"))
    }

    /// A reader of one topic at a time, outside of the group although the library wants a name of one.
    /// Without a topic it asks what the group has committed.
    pub(super) fn scanner(&self, role: &str) -> ClientConfig {
        self.reader(&format!("audit-{role}"))
    }

    /// Asks for the ends of logs. It must not be `read_committed`: the broker would answer with
    /// the first undecided transaction instead.
    pub(super) fn observer(&self, worker: usize) -> ClientConfig {
        let mut config = self.base(&format!("{worker}-ends"));
        config.set("isolation.level", "read_uncommitted");
        self.set_unless_given(&mut config, "topic.metadata.refresh.interval.ms", "2000");
        config
    }

    /// The transactional producer.
    pub(super) fn writer(&self, worker: usize) -> ClientConfig {
        let mut config = self.with_defaults(
            &format!("{worker}-writer"),
            &[
                ("compression.type", "lz4"),
                // Records gather by themselves while the broker admits their partitions.
                ("linger.ms", "0"),
                ("queue.buffering.max.kbytes", "131072"),
            ],
        );
        // So that every lost connection is heard of; see `Kind::ConnectionLost`.
        let debug = self.properties.get("debug").map_or("broker".to_owned(), |given| format!("{given},broker"));
        config
            .set_log_level(RDKafkaLogLevel::Debug)
            .set("debug", debug)
            .set("transactional.id", self.transactional_id(worker))
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all");
        config
    }

    /// A client for questions about the cluster.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut config = self.base("admin");
        // By default as much as is shown, which may be nothing; but it is there that the library
        // says why it cannot connect.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// The largest record that a writer sends, in bytes; the library's default unless configured.
    pub fn record_bytes_max(&self) -> u64 {
        self.properties.get(RECORD_BYTES_KEY).and_then(|value| value.parse().ok()).unwrap_or(1_000_000)
    }

    fn with_defaults(&self, client: &str, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.base(client);
        for (key, value) in defaults {
            self.set_unless_given(&mut config, key, value);
        }
        config
    }

    fn set_unless_given(&self, config: &mut ClientConfig, key: &str, value: &str) {
        if self.properties.get(key).is_none() {
            config.set(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::TopicNames;
    use super::*;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        let properties: BTreeMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        KafkaConfig {
            brokers: "localhost:9092".into(),
            group: "tidemark".into(),
            instance: "a".into(),
            topics: Topics::try_from(TopicNames::default()).unwrap(),
            properties: Properties::new(properties).unwrap(),
        }
    }

    #[test]
    fn every_client_configuration_is_one_that_the_library_accepts() {
        let config = config(&[("session.timeout.ms", "6000")]);
        for client in [
            config.member(0),
            config.table_reader(0),
            config.scanner("a"),
            config.observer(0),
            config.writer(0),
            config.admin(),
        ] {
            assert!(client.create_native_config().is_ok(), "{client:?}");
        }
    }

    #[test]
    fn the_pass_through_overrides_defaults_but_not_the_promise() {
        let config = config(&[("session.timeout.ms", "6000"), ("queued.max.messages.kbytes", "1024")]);
        let member = config.member(3);
        assert_eq!(member.get("session.timeout.ms"), Some("6000"));
        assert_eq!(member.get("queued.max.messages.kbytes"), Some("1024"));
        assert_eq!(member.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.writer(3).get("transactional.id"), Some("tidemark-a-3"));
    }

    #[test]
    fn readers_have_room_for_the_largest_record_that_is_written() {
        for (limit, room) in [("131072", "1048576"), ("1048577", "1048577"), ("10000000", "10000000")] {
            let member = config(&[("message.max.bytes", limit)]).member(0);
            assert_eq!(member.get("fetch.max.bytes"), Some(room));
            let created: Result<rdkafka::consumer::BaseConsumer, _> = member.create();
            assert!(created.is_ok(), "{limit}: {:?}", created.err());
        }
    }
}
