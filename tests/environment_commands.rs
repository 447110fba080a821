//! `tidemark topics` and `tidemark validate --environment` as a person runs them.

mod support;

use std::{fs, process::Output};

use support::{kafka::Broker, tidemark::run};
use tempfile::TempDir;

/// A configuration in a directory of its own.
struct Config {
    directory: TempDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("tidemark.yaml"), text).expect("the configuration is written");
        Self { directory }
    }

    /// With the model that comes with Tidemark, and topics that nobody else has.
    fn of_deployment(brokers: &str, prefix: &str) -> Self {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/config/models/default.yaml");
        let names = ["accounts", "tier_changes", "segment_changes", "standings", "dead_letters", "state"];
        let topics: String = names.iter().map(|name| format!(", {name}: {prefix}.{name}")).collect();
        Self::new(&format!(
            "kafka: {{ brokers: \"{brokers}\", group_id: {prefix} }}\n\
             topics: {{ events: [{prefix}.events]{topics} }}\n\
             model: {model}\n"
        ))
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let path = self.directory.path().join("tidemark.yaml");
        let arguments: Vec<&str> =
            arguments.iter().copied().chain(["--config", path.to_str().expect("a path in UTF-8")]).collect();
        told(&run(&arguments))
    }
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn missing_topics_are_told_then_created_then_fine() {
    let Some(broker) = Broker::shared() else { return };
    let config = Config::of_deployment(broker.bootstrap(), &broker.namespace("commands"));
    let (code, out, _) = config.run(&["topics"]);
    assert_eq!(code, Some(1), "{out}");
    assert_eq!(out.matches(" missing\n").count(), 7, "{out}");
    assert!(out.contains("`tidemark topics --create`"), "{out}");
    assert_eq!(config.run(&["validate", "--environment"]).0, Some(1));

    let (code, out, errors) = config.run(&["topics", "--create", "--partitions", "3"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!((out.matches("created ").count(), out.matches("3  fine\n").count()), (7, 7), "{out}");
    // A second time there is nothing to do, and that is fine too.
    let (code, out, _) = config.run(&["topics", "--create"]);
    assert_eq!((code, out.contains("created")), (Some(0), false), "{out}");

    let (code, out, errors) = config.run(&["validate", "--environment"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("model abm-default") && out.matches("fine\n").count() == 7, "{out}");
    assert!(errors.contains("TIDEMARK_PERSON_KEY"), "{errors}");
}

#[test]
fn a_broker_that_does_not_answer_is_named() {
    // Port 9 is discarded by everybody.
    let config = Config::of_deployment("127.0.0.1:9", "nowhere");
    let (code, out, errors) = config.run(&["topics"]);
    assert_eq!((code, out.as_str()), (Some(69), ""), "{errors}");
    assert!(errors.contains("no Kafka broker answered at 127.0.0.1:9"), "{errors}");
}

#[test]
fn a_wrong_configuration_shows_the_line() {
    let config = Config::new("kafka:\n  grup_id: tidemark\n");
    for command in ["topics", "validate", "run"] {
        let (code, _, errors) = config.run(&[command]);
        assert_eq!(code, Some(78), "{errors}");
        assert!(errors.contains("tidemark.yaml:2:3") && errors.contains("did you mean `group_id`?"), "{errors}");
    }
}

#[test]
fn a_server_that_is_open_to_the_network_needs_a_token() {
    let config = Config::new("http: { listen: \"0.0.0.0:0\" }\n");
    for command in ["topics", "validate", "run"] {
        let (code, _, errors) = config.run(&[command]);
        assert_eq!(code, Some(78), "{errors}");
        assert!(errors.contains("needs `http.token`") && errors.contains("openssl rand -hex 16"), "{errors}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_without_being_shown() {
    let secret = "MIIEvQ-not-base64-but-secret";
    for property in ["ssl.key.pem", "ssl.certificate.pem", "ssl.ca.pem"] {
        let pem = format!("-----BEGIN PRIVATE KEY-----\\n{secret}\\n-----END PRIVATE KEY-----\\n");
        let config = Config::new(&format!(
            "kafka:\n  brokers: 127.0.0.1:9\n  properties:\n    security.protocol: ssl\n    {property}: \"{pem}\"\n\
             model: {}/config/models/default.yaml\nhttp: {{ listen: 127.0.0.1:0 }}\nlog: {{ level: trace }}\n",
            env!("CARGO_MANIFEST_DIR")
        ));
        for command in [&["topics"][..], &["validate", "--environment"], &["run"]] {
            let (code, out, errors) = config.run(command);
            assert_eq!(code, Some(78), "{property} {command:?}: {out}{errors}");
            let told = errors.contains(property) || errors.contains("PEM");
            assert!(told && !errors.contains(secret) && !out.contains(secret), "{property} {command:?}: {out}{errors}");
        }
    }
}
