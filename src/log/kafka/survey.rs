//! Compares the topics with what is needed, and creates those that are missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::{
    Role, complaint,
    config::KafkaConfig,
    native::{self, Callbacks},
    rules::{self, Needs, TopicSettings},
};

/// How long a broker may take to answer before it counts as unreachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks for topics that were just created.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Partitions of new topics if nothing else says how many: they cannot be changed later.
const PARTITIONS: i32 = 12;

/// What was found about one topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    pub role: Role,
    pub topic: Arc<str>,
    /// Nothing if there is no such topic.
    pub partitions: Option<usize>,
    /// What must be mended, in full sentences.
    pub problems: Vec<String>,
    /// What is worth a thought.
    pub hints: Vec<String>,
}

impl Finding {
    /// Whether `run` can work with the topic.
    pub fn is_fine(&self) -> bool {
        self.partitions.is_some() && self.problems.is_empty()
    }
}

/// Why there are no findings.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// `reason` says why the last connection failed, if one was tried.
    #[error("no Kafka broker answered at {brokers} within {ANSWER_WITHIN:?}: {reason}")]
    Unreachable { brokers: String, reason: String },
    #[error("creating a Kafka client: {0}")]
    Client(KafkaError),
    #[error("cannot create `{topic}`: {reason}")]
    Create { topic: String, reason: String },
}

/// How missing topics are created.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Creation {
    /// By default as many as the topics have that are there, else 12.
    pub partitions: Option<i32>,
    /// By default as the broker is set up.
    pub replication_factor: Option<i32>,
}

/// Compares the topics with what is needed. Waits for the broker; not for async code.
pub fn check_topics(config: &KafkaConfig, checkpoint_interval: Duration) -> Result<Vec<Finding>, SurveyError> {
    Survey::start(config, checkpoint_interval)?.findings()
}

/// Creates the topics that are missing, and names them. Those that are there stay as they are.
pub fn create_topics(
    config: &KafkaConfig,
    checkpoint_interval: Duration,
    creation: Creation,
) -> Result<Vec<Arc<str>>, SurveyError> {
    let survey = Survey::start(config, checkpoint_interval)?;
    let findings = survey.findings()?;
    let known = findings.iter().find_map(|finding| finding.partitions).and_then(|count| i32::try_from(count).ok());
    let partitions = creation.partitions.or(known).unwrap_or(PARTITIONS);
    let missing: Vec<_> = findings.iter().filter(|finding| finding.partitions.is_none()).collect();
    for finding in &missing {
        survey.create(finding, partitions, creation.replication_factor.unwrap_or(-1))?;
    }
    survey.await_topics(missing.iter().map(|finding| &finding.topic))?;
    Ok(missing.iter().map(|finding| finding.topic.clone()).collect())
}

struct Survey<'a> {
    config: &'a KafkaConfig,
    needs: Needs,
    admin: AdminClient<Callbacks>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Survey<'a> {
    fn start(config: &'a KafkaConfig, checkpoint_interval: Duration) -> Result<Self, SurveyError> {
        let admin = AdminClient::from_config_and_context(&config.admin(), Callbacks).map_err(SurveyError::Client)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| SurveyError::Client(KafkaError::ClientCreation(error.to_string())))?;
        Ok(Self { config, needs: Needs::new(config, checkpoint_interval), admin, runtime })
    }

    fn findings(&self) -> Result<Vec<Finding>, SurveyError> {
        // All topics: to ask for one by name could create it.
        let metadata =
            self.admin.inner().fetch_metadata(None, ANSWER_WITHIN).map_err(|error| self.unreachable(error))?;
        let described = |name: &str| metadata.topics().iter().find(|topic| topic.name() == name);
        let brokers = metadata.brokers().len();
        let mut findings = Vec::new();
        for (role, name) in self.config.topics.all() {
            let mut finding = absent(role, name);
            if let Some(topic) = described(name) {
                self.describe(topic, brokers, &mut finding)?;
            }
            findings.push(finding);
        }
        compare_partitions(&mut findings);
        Ok(findings)
    }

    fn describe(&self, topic: &MetadataTopic, brokers: usize, finding: &mut Finding) -> Result<(), SurveyError> {
        finding.partitions = Some(topic.partitions().len());
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        if replicas == Some(1) && brokers > 1 {
            finding.hints.push("it has a single replica: when its broker is lost, so is it".into());
        }
        match self.settings(&finding.topic)? {
            Ok(settings) => {
                let remarks = rules::judge(finding.role, &settings, self.needs);
                finding.problems.extend(remarks.problems);
                finding.hints.extend(remarks.hints);
            }
            Err(code) => finding.hints.push(format!("its settings cannot be read ({code}), so they are not checked")),
        }
        Ok(())
    }

    fn settings(&self, topic: &str) -> Result<Result<TopicSettings, RDKafkaErrorCode>, SurveyError> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
        let topic_only = [ResourceSpecifier::Topic(topic)];
        let asked = self.admin.describe_configs(&topic_only, &options);
        let answers = self.runtime.block_on(asked).map_err(|error| self.unreachable(error))?;
        let answer = answers.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Unknown));
        Ok(answer.map(|resource| {
            resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
        }))
    }

    fn create(&self, finding: &Finding, partitions: i32, replicas: i32) -> Result<(), SurveyError> {
        let failed = |reason: String| SurveyError::Create { topic: finding.topic.to_string(), reason };
        let settings = rules::to_create(finding.role, self.needs);
        let topic = NewTopic::new(&finding.topic, partitions, TopicReplication::Fixed(replicas));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN));
        let answers = self.runtime.block_on(self.admin.create_topics([&topic], &options));
        match answers.map_err(|error| failed(error.to_string()))?.into_iter().next() {
            // Somebody else was faster, which is as good.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(failed(code.to_string())),
            None => Err(failed("the broker did not say".into())),
        }
    }

    /// A broker acknowledges a topic before it tells of it: waits until it does.
    fn await_topics<'t>(&self, topics: impl Iterator<Item = &'t Arc<str>> + Clone) -> Result<(), SurveyError> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let metadata =
                self.admin.inner().fetch_metadata(None, ANSWER_WITHIN).map_err(|error| self.unreachable(error))?;
            let told = |name: &Arc<str>| metadata.topics().iter().any(|topic| topic.name() == &**name);
            if topics.clone().all(told) || Instant::now() > deadline {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    fn unreachable(&self, error: KafkaError) -> SurveyError {
        let failed = native::failed_connections(self.admin.inner());
        let reason = complaint::reason(&failed).unwrap_or_else(|| error.to_string());
        SurveyError::Unreachable { brokers: self.config.brokers.clone(), reason }
    }
}

fn absent(role: Role, topic: &Arc<str>) -> Finding {
    Finding { role, topic: topic.clone(), partitions: None, problems: Vec::new(), hints: Vec::new() }
}

/// All topics need as many partitions as the first input, which came first.
fn compare_partitions(findings: &mut [Finding]) {
    let first = findings.iter().find_map(|finding| Some((finding.topic.clone(), finding.partitions?)));
    let Some((first, wanted)) = first else { return };
    for finding in findings {
        if let Some(count) = finding.partitions.filter(|count| *count != wanted) {
            finding.problems.push(format!(
                "it has {count} partitions, `{first}` has {wanted}: all topics need the same number, as a worker owns \
                 the same partition of each; recreate the one that is wrong"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_counts_are_those_of_the_first_topic_that_is_there() {
        let finding = |topic: &str, partitions| Finding { partitions, ..absent(Role::Events, &topic.into()) };
        let mut findings = [finding("a", None), finding("b", Some(6)), finding("c", Some(4)), finding("d", Some(6))];
        compare_partitions(&mut findings);
        let fine: Vec<_> = findings.iter().map(Finding::is_fine).collect();
        assert_eq!(fine, [false, true, false, true]);
        assert!(findings[2].problems[0].starts_with("it has 4 partitions, `b` has 6"), "{:?}", findings[2]);
    }
}
