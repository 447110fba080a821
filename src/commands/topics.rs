//! `tidemark topics`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use super::{Failure, exit};
use crate::{
    log::kafka::{Creation, Finding, SurveyError, check_topics, create_topics},
    settings::Settings,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", env = "TIDEMARK_CONFIG", default_value = "config/tidemark.yaml")]
    config: PathBuf,
    /// Create the topics that are missing; those that are there stay as they are
    #[arg(long)]
    create: bool,
    /// Replicas of created topics [default: as the broker is set up]
    #[arg(long, value_name = "N", requires = "create", value_parser = clap::value_parser!(i32).range(1..=32))]
    replication_factor: Option<i32>,
    /// Partitions of created topics [default: as many as the others have, else 12]
    #[arg(long, value_name = "N", requires = "create", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let Args { config, create, replication_factor, partitions } = args;
    let settings = Settings::load(&config).map_err(Failure::config)?;
    let (kafka, checkpoint) = (&settings.kafka, settings.checkpoint_interval);
    if create {
        let created = create_topics(kafka, checkpoint, Creation { partitions, replication_factor });
        for topic in created.map_err(failure)? {
            writeln!(std::io::stdout(), "created {topic}")?;
        }
    }
    Ok(if report(&settings)? { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Prints how the topics are; whether all of them are as they must be.
pub fn report(settings: &Settings) -> Result<bool, Failure> {
    let findings = check_topics(&settings.kafka, settings.checkpoint_interval).map_err(failure)?;
    write!(std::io::stdout(), "{}", table(&findings))?;
    Ok(findings.iter().all(Finding::is_fine))
}

/// The number of partitions that all topics have. A refusal shows what is missing or wrong.
pub fn agreed_partitions(settings: &Settings) -> Result<i32, Failure> {
    let findings = check_topics(&settings.kafka, settings.checkpoint_interval).map_err(failure)?;
    match findings.first().and_then(|finding| finding.partitions) {
        Some(partitions) if findings.iter().all(Finding::is_fine) => Ok(partitions as i32),
        _ => Err(Failure::config(anyhow::anyhow!(
            "the topics are not as they must be; `tidemark topics --create` creates those that are missing\n{}",
            table(&findings)
        ))),
    }
}

/// The number of partitions that all topics have. How they are set up otherwise does not matter to
/// whoever only reads.
pub fn counted_partitions(settings: &Settings) -> Result<i32, Failure> {
    let findings = check_topics(&settings.kafka, settings.checkpoint_interval).map_err(failure)?;
    let first = findings.first().and_then(|finding| finding.partitions);
    match first.filter(|first| findings.iter().all(|finding| finding.partitions == Some(*first))) {
        Some(partitions) => Ok(partitions as i32),
        None => Err(Failure::config(anyhow::anyhow!(
            "the topics that the configuration names are not all there with the same number of partitions\n{}",
            table(&findings)
        ))),
    }
}

fn failure(error: SurveyError) -> Failure {
    match error {
        SurveyError::Unreachable { .. } => Failure::unavailable(error),
        SurveyError::Client(_) => Failure::config(error),
        SurveyError::Create { .. } => error.into(),
    }
}

/// The findings as a table, with what to say about a topic below its line.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.topic.len()).max().unwrap_or(0).max(5);
    let mut text = format!("{:width$}  {:15}  {:>10}  VERDICT\n", "TOPIC", "FOR", "PARTITIONS");
    for finding in findings {
        let Finding { role, topic, partitions, problems, hints } = finding;
        let partitions = partitions.map_or("-".to_owned(), |count| count.to_string());
        text += &format!("{topic:width$}  {:15}  {partitions:>10}  {}\n", role.to_string(), verdict(finding));
        let remarks = problems.iter().map(|problem| ("wrong", problem)).chain(hints.iter().map(|hint| ("note", hint)));
        for (kind, remark) in remarks {
            text += &format!("  {kind}: {remark}\n");
        }
    }
    if findings.iter().any(|finding| finding.partitions.is_none()) {
        text += "\n`tidemark topics --create` creates what is missing.\n";
    }
    text
}

fn verdict(finding: &Finding) -> &'static str {
    match (finding.partitions, finding.is_fine()) {
        (None, _) => "missing",
        (Some(_), true) => "fine",
        (Some(_), false) => "wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{OutputTopic, kafka::Role};

    #[test]
    fn the_table_has_a_verdict_for_every_topic_and_the_reasons_below() {
        let finding = |role, topic: &str, partitions, problems: &[&str]| Finding {
            role,
            topic: topic.into(),
            partitions,
            problems: problems.iter().map(|problem| problem.to_string()).collect(),
            hints: Vec::new(),
        };
        let findings = [
            finding(Role::Events, "events", Some(6), &[]),
            finding(Role::Accounts, "accounts", Some(4), &["it has 4 partitions"]),
            finding(Role::Output(OutputTopic::State), "state", None, &[]),
        ];
        assert_eq!(
            table(&findings),
            "TOPIC     FOR              PARTITIONS  VERDICT\n\
             events    events                    6  fine\n\
             accounts  accounts                  4  wrong\n  \
               wrong: it has 4 partitions\n\
             state     state                     -  missing\n\
             \n`tidemark topics --create` creates what is missing.\n"
        );
    }
}
