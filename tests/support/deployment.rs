//! Tidemark as a test deploys it: a configuration, a model, and topics of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    kafka::Broker,
    tidemark::{self, Running},
    topics::{self, Isolation, Record},
    wait_until,
};

/// Tests bring events that are years old, and records that are larger than what is written of them.
const EVENT_TOPIC: [(&str, &str); 2] = [("retention.ms", "-1"), ("max.message.bytes", "10000000")];

/// What a deployment is made of.
pub struct Plan<'a> {
    /// Names its topics and its group, together with a number.
    pub name: &'a str,
    /// The path of the model file.
    pub model: &'a str,
    /// Partitions of every topic.
    pub partitions: i32,
    /// Worker threads of every process.
    pub workers: u32,
    /// Further sections of the configuration, in YAML.
    pub settings: &'a str,
    /// Further properties of the topic of events.
    pub events: &'a [(&'a str, &'a str)],
}

/// Topics, and a configuration for processes that work on them.
pub struct Deployment {
    broker: &'static Broker,
    directory: TempDir,
    namespace: String,
    plan: String,
}

/// What an audit said.
#[derive(Clone, Debug)]
pub struct Audited {
    /// The exit code: 0 if nothing differs.
    pub code: Option<i32>,
    pub report: String,
    pub errors: String,
}

impl Audited {
    /// Gives the report of an audit that found nothing.
    ///
    /// # Panics
    /// If it found something, or could not audit.
    pub fn expect_clean(self) -> String {
        let Self { code, report, errors } = self;
        assert_eq!(code, Some(0), "the audit is not clean:\n{report}{errors}");
        report
    }
}

impl Deployment {
    /// Creates the topics of a plan.
    pub fn new(broker: &'static Broker, plan: &Plan<'_>) -> Self {
        let namespace = broker.namespace(plan.name);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{namespace}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory for the deployment");
        let deployment = Self { broker, directory, plan: configuration(broker, &namespace, plan), namespace };
        // `tidemark topics` creates the others, alike in number.
        let properties = [&EVENT_TOPIC, plan.events].concat();
        topics::create(broker, &[&deployment.topic("events")], plan.partitions, &properties);
        let config = deployment.config("setup");
        tidemark::run_well(&["topics", "--create", "--config", &config]);
        deployment
    }

    /// The full name of a topic: `events`, `tier-changes`, …
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    /// The broker that has its topics.
    pub fn broker(&self) -> &'static Broker {
        self.broker
    }

    /// Its files: configurations, and what its processes print.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The consumer group of its processes.
    pub fn group(&self) -> &str {
        &self.namespace
    }

    /// What a reader of a topic sees of committed transactions.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        topics::read(self.broker, &self.topic(topic), Isolation::Committed)
    }

    /// Starts a process; `instance` names it in the group. A name may be used again after its end.
    pub fn start(&self, instance: &str) -> Running {
        self.start_with(instance, &[])
    }

    /// Like [`Self::start`], with these variables in its environment.
    pub fn start_with(&self, instance: &str, variables: &[(&str, &str)]) -> Running {
        self.launch(instance, &self.config(instance), variables)
    }

    /// Like [`Self::start`], for a process that calls itself `instance` as others may.
    pub fn start_as(&self, name: &str, instance: &str) -> Running {
        let config = self.write(name, &self.plan.replace("INSTANCE", instance));
        self.launch(name, &config, &[])
    }

    /// Like [`Self::start`], with another address for the broker.
    pub fn start_through(&self, bootstrap: &str, instance: &str) -> Running {
        let config = self.config(instance);
        let direct = fs::read_to_string(&config).expect("the configuration is there");
        let detoured = direct.replacen(self.broker.bootstrap(), bootstrap, 1);
        fs::write(&config, detoured).expect("the configuration is written");
        self.launch(instance, &config, &[])
    }

    fn launch(&self, instance: &str, config: &str, variables: &[(&str, &str)]) -> Running {
        Running::start_with(instance, self.directory.path(), &["run", "--config", config], variables)
    }

    /// Whether the group has committed all that the events topic holds.
    pub fn is_drained(&self) -> bool {
        let events = self.topic("events");
        let ends: Vec<Option<i64>> = topics::ends(self.broker, &events).into_iter().map(Some).collect();
        topics::committed(self.broker, self.group(), &events) == ends
    }

    /// Waits until the group has committed all that the events topic holds.
    pub fn wait_drained(&self, limit: Duration) {
        wait_until("the group to commit the end of the events", limit, || self.is_drained().then_some(()));
    }

    /// Runs `tidemark audit` over all that is there, with further arguments.
    pub fn audit(&self, arguments: &[&str]) -> Audited {
        self.audit_topics(&[], arguments)
    }

    /// Like [`Self::audit`], with other topics (`standings`, …) in the place of some of its own.
    pub fn audit_topics(&self, instead: &[(&str, &str)], arguments: &[&str]) -> Audited {
        let mut config = self.plan.replace("INSTANCE", "audit");
        for (topic, other) in instead {
            config = config.replace(&format!(": {}\n", self.topic(topic)), &format!(": {other}\n"));
        }
        let path = self.write("audit", &config);
        let output = tidemark::run(&[&["audit", "--config", &path], arguments].concat());
        Audited {
            code: output.status.code(),
            report: String::from_utf8(output.stdout).expect("the report is text"),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Offsets that records and commit markers have used up in both topics of changes.
    pub fn change_offsets(&self) -> i64 {
        let used = |topic| topics::ends(self.broker, &self.topic(topic)).into_iter().sum::<i64>();
        used("tier-changes") + used("segment-changes")
    }

    /// Writes the configuration of one process, and gives its path.
    pub fn config(&self, instance: &str) -> String {
        self.write(instance, &self.plan.replace("INSTANCE", instance))
    }

    fn write(&self, name: &str, config: &str) -> String {
        let path: PathBuf = self.directory.path().join(format!("{name}.yaml"));
        fs::write(&path, config).expect("the configuration is written");
        path.to_str().expect("the path is text").to_owned()
    }
}

/// The configuration, with the word INSTANCE where the name of the process goes.
fn configuration(broker: &Broker, namespace: &str, plan: &Plan<'_>) -> String {
    let Plan { model, workers, settings, .. } = plan;
    let bootstrap = broker.bootstrap();
    format!(
        "kafka:
  brokers: {bootstrap}
  group_id: {namespace}
  # A fixed name lets a restart end at once what a kill left open.
  instance: {namespace}-INSTANCE
  # How soon the group gives up a killed member, and a member sees new partitions.
  properties: {{ session.timeout.ms: 3000, heartbeat.interval.ms: 500, topic.metadata.refresh.interval.ms: 2000 }}
topics:
  events: [{namespace}.events]
  accounts: {namespace}.accounts
  tier_changes: {namespace}.tier-changes
  segment_changes: {namespace}.segment-changes
  standings: {namespace}.standings
  dead_letters: {namespace}.dead-letters
  state: {namespace}.state
model: {model}
workers: {workers}
http: {{ listen: 127.0.0.1:0 }}
{settings}"
    )
}
