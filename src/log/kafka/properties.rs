//! Client properties that are passed through to librdkafka, and those that may not be.

use std::{collections::BTreeMap, fmt};

use rdkafka::{config::ClientConfig, error::KafkaError};

/// Set by Tidemark: the promise of exactly once rests on them.
const EXACTLY_ONCE: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "request.required.acks",
    "retries",
    "transactional.id",
];
/// Set by Tidemark: workers share the partitions by them.
const GROUP: &[&str] =
    &["group.instance.id", "group.protocol", "group.remote.assignor", "partition.assignment.strategy"];
/// Set by Tidemark: the worker's loop relies on them.
const MECHANISM: &[&str] =
    &["allow.auto.create.topics", "client.id", "enable.partition.eof", "enable_sasl_queue", "log.queue"];
/// They make the client load or run code that the configuration names.
const CODE: &[&str] = &["plugin.library.paths", "ssl.engine.id", "ssl.engine.location", "ssl.providers"];
/// Beginnings of names that do so too: all of Kerberos' properties become parts of a shell command,
/// and the library's own tests set the address of a function as text.
const CODE_FAMILIES: &[&str] = &["sasl.kerberos.", "ut_"];

/// Second names of properties that have a default here: with both names set, chance would decide.
const ALIASES: &[(&str, &str)] = &[
    ("compression.codec", "it is another name of `compression.type`: use that"),
    ("fetch.message.max.bytes", "it is another name of `max.partition.fetch.bytes`: use that"),
    ("queue.buffering.max.ms", "it is another name of `linger.ms`: use that"),
];

/// The largest record that is written, in bytes.
pub(super) const RECORD_BYTES_KEY: &str = "message.max.bytes";
/// The least of it: more than a change or a standing takes, and any account that is not extreme.
const RECORD_BYTES_MIN: u64 = 128 << 10;

/// What is wrong with a property.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PropertyError {
    #[error("`{key}` cannot be passed through: {reason}")]
    Denied { key: String, reason: &'static str },
    /// The value is left out: it may be a secret.
    #[error("`{key}`: {problem}")]
    Refused { key: String, problem: String },
}

/// Client properties by name, each known to the client library and none of them denied.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Properties(BTreeMap<String, String>);

impl fmt::Debug for Properties {
    /// Names only: values may be secrets, also under names that do not say so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Properties {
    /// Checks names and values.
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, PropertyError> {
        for (key, value) in &properties {
            if let Some(reason) = denial(key) {
                return Err(PropertyError::Denied { key: key.clone(), reason });
            }
            let alone = ClientConfig::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = alone.create_native_config() {
                return Err(PropertyError::Refused { key: key.clone(), problem: problem(error) });
            }
            if key == RECORD_BYTES_KEY && value.parse().is_ok_and(|bytes: u64| bytes < RECORD_BYTES_MIN) {
                let problem = format!("it must be at least {RECORD_BYTES_MIN}: standings and state pages need room");
                return Err(PropertyError::Refused { key: key.clone(), problem });
            }
        }
        Ok(Self(properties))
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What deserves a warning, though it works.
    pub fn warnings(&self) -> Vec<String> {
        let is = |key: &str, values: &[&str]| {
            self.get(key).is_some_and(|value| values.iter().any(|one| value.eq_ignore_ascii_case(one)))
        };
        let protocol = self.get("security.protocol").unwrap_or("plaintext").to_lowercase();
        let mut warnings = Vec::new();
        let mut warn = |when: bool, text: &str| warnings.extend(when.then(|| text.to_owned()));
        let unused = |prefix: &str| !protocol.contains(prefix) && self.0.keys().any(|key| key.starts_with(prefix));
        warn(
            unused("ssl") || unused("sasl"),
            &format!(
                "`kafka.properties` has `ssl.` or `sasl.` properties that the client does not use, as \
                 `security.protocol` is {protocol}; set it to ssl, sasl_ssl or sasl_plaintext"
            ),
        );
        warn(
            protocol == "sasl_plaintext",
            "the connection to Kafka is not encrypted, and neither is the password in it; set `security.protocol` to \
             sasl_ssl",
        );
        warn(
            is("enable.ssl.certificate.verification", &["false", "f", "0"])
                || is("ssl.endpoint.identification.algorithm", &["none"]),
            "the client takes anybody for a Kafka broker: leave `enable.ssl.certificate.verification` and \
             `ssl.endpoint.identification.algorithm` at their defaults, and name the authority in `ssl.ca.location`",
        );
        warnings
    }

    /// Value of a property.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

fn denial(key: &str) -> Option<&'static str> {
    let is_in = |list: &[&str]| list.contains(&key);
    match key {
        "bootstrap.servers" | "metadata.broker.list" => Some("set `kafka.brokers`"),
        "group.id" => Some("set `kafka.group_id`"),
        _ if is_in(EXACTLY_ONCE) => Some("Tidemark sets it, so that every change goes out exactly once"),
        _ if is_in(GROUP) => Some("Tidemark sets it, so that a worker owns the same partitions of all topics"),
        _ if is_in(MECHANISM) => Some("Tidemark sets it, as its workers rely on it"),
        _ if is_in(CODE) || CODE_FAMILIES.iter().any(|family| key.starts_with(family)) => {
            Some("it makes the client load or run code that the configuration names")
        }
        _ if key.starts_with("test.mock.") => Some("the library's embedded broker loses transactions"),
        _ => ALIASES.iter().find(|(alias, _)| *alias == key).map(|(_, reason)| *reason),
    }
}

fn problem(error: KafkaError) -> String {
    match error {
        // The library repeats the value only where it is a choice of a few words.
        KafkaError::ClientConfig(_, description, ..) => description,
        KafkaError::Nul(_) => "contains a zero byte".into(),
        _ => "the client library refuses it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> Result<Properties, PropertyError> {
        Properties::new(BTreeMap::from([(key.into(), value.into())]))
    }

    #[test]
    fn what_a_deployment_tunes_passes_through() {
        for (key, value) in [
            ("session.timeout.ms", "6000"),
            ("max.poll.interval.ms", "600000"),
            ("message.max.bytes", "2000000"),
            ("compression.type", "zstd"),
            ("security.protocol", "sasl_plaintext"),
        ] {
            assert!(check(key, value).is_ok(), "{key}: {:?}", check(key, value));
        }
    }

    #[test]
    fn records_may_be_small_but_not_too_small_for_state() {
        let refused = check(RECORD_BYTES_KEY, "131071").unwrap_err().to_string();
        assert!(refused.contains("at least 131072"), "{refused}");
        assert!(check(RECORD_BYTES_KEY, "131072").is_ok());
    }

    #[test]
    fn what_breaks_the_promise_or_runs_code_is_denied() {
        let lists = [EXACTLY_ONCE, GROUP, MECHANISM, CODE];
        let aliases = ALIASES.iter().map(|(alias, _)| *alias);
        let others = ["bootstrap.servers", "test.mock.num.brokers", "sasl.kerberos.kinit.cmd", "sasl.kerberos.keytab"];
        // The library would take the text for the address of a function, and call it.
        let hidden = ["ut_handle_ProduceResponse"];
        for key in lists.into_iter().flatten().copied().chain(aliases).chain(others).chain(hidden) {
            assert!(matches!(check(key, "1"), Err(PropertyError::Denied { .. })), "{key}");
        }
    }

    #[test]
    fn an_unknown_name_or_a_wrong_value_is_refused_without_showing_the_value() {
        let unknown = check("sesion.timeout.ms", "s3cret").unwrap_err().to_string();
        assert!(unknown.contains("sesion.timeout.ms") && !unknown.contains("s3cret"), "{unknown}");
        let wrong = check("session.timeout.ms", "s3cret").unwrap_err().to_string();
        assert!(wrong.contains("session.timeout.ms") && !wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn a_connection_that_is_less_safe_than_it_looks_is_a_warning() {
        let warnings = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            Properties::new(pairs.collect()).unwrap().warnings().join("\n")
        };
        for fine in [
            &[][..],
            &[("security.protocol", "ssl"), ("ssl.ca.location", "/ca.pem")],
            &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("ssl.ca.location", "/ca.pem")],
        ] {
            assert_eq!(warnings(fine), "", "{fine:?}");
        }
        for (pairs, text) in [
            (&[("sasl.password", "s3cret")][..], "`security.protocol` is plaintext"),
            (&[("security.protocol", "ssl"), ("sasl.mechanism", "PLAIN")], "`security.protocol` is ssl"),
            (&[("security.protocol", "sasl_plaintext")], "not encrypted"),
            (&[("security.protocol", "ssl"), ("enable.ssl.certificate.verification", "false")], "takes anybody"),
            (&[("security.protocol", "ssl"), ("ssl.endpoint.identification.algorithm", "none")], "takes anybody"),
        ] {
            assert!(warnings(pairs).contains(text) && !warnings(pairs).contains("s3cret"), "{}", warnings(pairs));
        }
    }

    #[test]
    fn values_are_not_printed() {
        let properties = check("sasl.password", "s3cret").unwrap();
        assert_eq!(format!("{properties:?}"), "{\"sasl.password\"}");
    }
}
