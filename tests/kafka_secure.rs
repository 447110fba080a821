//! TLS, SASL and compression with a real Kafka broker that lets nobody in without: events go in and
//! changes come out, what is wrong is named, and no secret shows anywhere.

use std::{fs, path::PathBuf, time::Duration};

use crate::support::{
    http::get_with,
    kafka::{
        Broker,
        security::{PASSWORD, Security, USER},
    },
    tidemark::{self, Running},
    topics::{self, Isolation, Record, Writer},
    wait_until,
};
use ::tidemark::{model::Timestamp, wire::time::format_rfc3339};
use tempfile::TempDir;

mod support;

const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "a-token-for-the-read-api";
const WRONG_PASSWORD: &str = "wrong-horse-battery-staple";

/// One event is enough for the tier.
const MODEL: &str = "model: secure
version: 1
signals:
  - { name: demo, match: { type: demo_request }, points: 50, half_life: 10d }
tiers:
  - { name: hot, intent: { enter: 40, exit: 20 } }
tests:
  - name: a demo is hot
    events: [{ at: 0s, account: acme.com, type: demo_request }]
    expect: [{ at: 1m, account: acme.com, tier: hot }]
";

/// A configuration, its model and its topics.
struct Deployment {
    broker: &'static Broker,
    directory: TempDir,
    namespace: String,
}

impl Deployment {
    fn new(broker: &'static Broker, name: &str, brokers: &str, properties: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let deployment = Self { broker, directory, namespace: broker.namespace(name) };
        let at = &deployment.namespace;
        let properties: String = properties.iter().map(|(key, value)| format!("    {key}: \"{value}\"\n")).collect();
        let names = ["accounts", "tier_changes", "segment_changes", "standings", "dead_letters", "state"];
        let topics: String = names.iter().map(|name| format!(", {name}: {at}.{name}")).collect();
        let config = format!(
            "kafka:\n  brokers: {brokers}\n  group_id: {at}\n  properties:\n{properties}\
             topics: {{ events: [{at}.events]{topics} }}\n\
             model: model.yaml\nworkers: 1\nhttp: {{ listen: 127.0.0.1:0, token: {TOKEN} }}\nlog: {{ level: trace }}\n"
        );
        fs::write(deployment.path("tidemark.yaml"), config).expect("the configuration is written");
        fs::write(deployment.path("model.yaml"), MODEL).expect("the model is written");
        deployment
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> String {
        self.path("tidemark.yaml").to_str().expect("the path is text").to_owned()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    /// Runs a command to its end: its exit code, and all that it printed.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let config = self.config();
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", &config]).collect();
        let output = tidemark::run(&arguments);
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Sends one event, and waits until a reader of committed transactions has the change.
    fn event_becomes_change(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock that is set");
        let time = now.as_millis() as i64;
        let at = format_rfc3339(Timestamp::from_millis(time));
        let event = format!(r#"{{"id": "1", "type": "demo_request", "account": "acme.com", "time": "{at}"}}"#);
        let writer = Writer::plain(self.broker);
        let record = Record { time, key: Some("acme.com".into()), value: Some(event.into()), ..Record::default() };
        writer.send(&self.topic("events"), &record);
        writer.flush();
        let change = wait_until("the change", LIMIT, || {
            topics::read(self.broker, &self.topic("tier_changes"), Isolation::Committed).pop()
        });
        assert_eq!((change.key_text(), &change.json()["to"]), ("acme.com", &"hot".into()));
    }

    /// Deploys, works, stops; gives all that was printed, with the client library at its chattiest.
    fn works(&self) -> String {
        let (code, mut printed) = self.run(&["topics", "--create", "--partitions", "1"]);
        assert_eq!(code, Some(0), "{printed}");
        let (code, validated) = self.run(&["validate", "--environment"]);
        assert_eq!(code, Some(0), "{validated}");
        let mut process = Running::start("service", self.directory.path(), &["run", "--config", &self.config()]);
        self.event_becomes_change();
        only_who_has_the_token_asks(&process);
        assert_eq!(process.terminate(LIMIT).code(), Some(0), "{}", process.log());
        printed += &validated;
        printed + &process.log()
    }

    /// How the first batch of a topic is compressed, by the number that the broker's file has for it.
    fn codec(&self, topic: &str) -> u8 {
        /// Base offset, length, epoch, format and checksum come first; the attributes are two bytes.
        const ATTRIBUTES_AT: usize = 8 + 4 + 4 + 1 + 4;
        self.broker.segment(&self.topic(topic), 0)[ATTRIBUTES_AT + 1] & 0b111
    }
}

/// Asks a service with and without its token.
fn only_who_has_the_token_asks(process: &Running) {
    let address = process.address().expect("the log says where");
    let ask = |path: &str, headers: &str| get_with(address, path, headers).expect("it answers").0;
    let accounts = "/api/v1/accounts?tier=hot";
    assert_eq!(ask(accounts, ""), 401);
    assert_eq!(ask(accounts, &format!("Authorization: Bearer {TOKEN}\r\n")), 200);
    assert_eq!(ask("/metrics", ""), 200);
}

/// How to get in by password.
fn by_password(security: &Security, mechanism: &str) -> Vec<(&'static str, String)> {
    vec![
        ("security.protocol", "sasl_ssl".to_owned()),
        ("ssl.ca.location", security.file("ca.pem")),
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.username", USER.to_owned()),
        ("sasl.password", format!("${{file:{}}}", security.file("password"))),
        ("debug", "all".to_owned()),
    ]
}

fn set(properties: &mut [(&str, String)], key: &str, value: &str) {
    let (_, old) = properties.iter_mut().find(|(name, _)| *name == key).expect("the property is there");
    *old = value.to_owned();
}

/// Fails if something that must stay secret is in a text.
fn assert_secret(printed: &str, security: &Security) {
    let key = fs::read_to_string(security.file("client.key")).expect("the key can be read");
    let key_lines = key.lines().filter(|line| !line.starts_with("-----"));
    for secret in key_lines.chain([PASSWORD, TOKEN]) {
        assert!(!printed.contains(secret), "`{secret}` is in what was printed");
    }
}

#[test]
fn scram_over_tls_with_lz4() {
    let Some(broker) = Broker::secured() else { return };
    let mut properties = by_password(broker.security(), "SCRAM-SHA-512");
    properties.push(("compression.type", "lz4".to_owned()));
    let deployment = Deployment::new(broker, "scram", broker.bootstrap(), &properties);
    let printed = deployment.works();
    assert!(printed.contains("sasl.password = [redacted]"), "the library has told its settings:\n{printed}");
    assert_secret(&printed, broker.security());
    assert_eq!(deployment.codec("tier_changes"), 3, "lz4");
}

#[test]
fn plain_over_tls_with_zstd() {
    let Some(broker) = Broker::secured() else { return };
    let mut properties = by_password(broker.security(), "PLAIN");
    properties.push(("compression.type", "zstd".to_owned()));
    let deployment = Deployment::new(broker, "plain", broker.bootstrap(), &properties);
    assert_secret(&deployment.works(), broker.security());
    assert_eq!(deployment.codec("tier_changes"), 4, "zstd");
}

#[test]
fn a_client_certificate_whose_key_is_a_value() {
    let Some(broker) = Broker::secured() else { return };
    let security = broker.security();
    let properties = [
        ("security.protocol", "ssl".to_owned()),
        ("ssl.ca.pem", format!("${{file:{}}}", security.file("ca.pem"))),
        ("ssl.certificate.pem", format!("${{file:{}}}", security.file("client.pem"))),
        ("ssl.key.pem", format!("${{file:{}}}", security.file("client.key"))),
        ("debug", "all".to_owned()),
    ];
    let deployment = Deployment::new(broker, "certificate", &security.certificates_at, &properties);
    assert_secret(&deployment.works(), security);
}

/// Fails unless every command ends, says that no broker answered and for which reasons, and keeps
/// secrets.
fn is_told(name: &str, properties: &[(&str, String)], reasons: &[&str]) {
    let Some(broker) = Broker::secured() else { return };
    let deployment = Deployment::new(broker, name, broker.bootstrap(), properties);
    for command in ["topics", "run"] {
        let (code, printed) = deployment.run(&[command]);
        let last = printed.lines().last().unwrap_or_default();
        assert_eq!(code, Some(69), "{command}:\n{printed}");
        assert!(last.starts_with("error: no Kafka broker answered"), "{command}:\n{printed}");
        for reason in reasons {
            assert!(last.contains(reason), "{command} does not name {reason}:\n{last}");
        }
        assert!(!printed.contains(WRONG_PASSWORD), "{printed}");
        assert_secret(&printed, broker.security());
    }
}

#[test]
fn a_wrong_password_is_told() {
    let Some(broker) = Broker::secured() else { return };
    let mut properties = by_password(broker.security(), "SCRAM-SHA-512");
    set(&mut properties, "sasl.password", WRONG_PASSWORD);
    is_told("password", &properties, &["invalid credentials", "`sasl.password`"]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_told() {
    let Some(broker) = Broker::secured() else { return };
    let mut properties = by_password(broker.security(), "SCRAM-SHA-512");
    set(&mut properties, "ssl.ca.location", &broker.security().file("foreign-ca.pem"));
    is_told("authority", &properties, &["certificate verify failed", "ssl.ca.location"]);
}

#[test]
fn a_connection_without_tls_is_told() {
    is_told("plaintext", &[("session.timeout.ms", "6000".to_owned())], &["Disconnected", "`security.protocol`"]);
}
