//! What every topic must be like, and why.

use std::{collections::BTreeMap, time::Duration};

use super::{Role, config::KafkaConfig};
use crate::log::OutputTopic;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The settings of a topic by name, as the broker tells them.
pub(super) type TopicSettings = BTreeMap<String, String>;

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// The oldest input that a restore may have to read again is this old.
    replay_ms: u64,
    /// The largest record that is written.
    record_bytes_max: u64,
}

impl Needs {
    pub(super) fn new(config: &KafkaConfig, checkpoint_interval: Duration) -> Self {
        // A checkpoint may be late by some intervals while a worker restores or catches up.
        let replay = checkpoint_interval.saturating_mul(10).as_millis();
        Self { replay_ms: u64::try_from(replay).unwrap_or(u64::MAX), record_bytes_max: config.record_bytes_max() }
    }
}

/// What is found about the settings of one topic.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Remarks {
    /// Must be mended.
    pub(super) problems: Vec<String>,
    /// Worth a thought.
    pub(super) hints: Vec<String>,
}

/// Judges the settings of a topic.
pub(super) fn judge(role: Role, settings: &TopicSettings, needs: Needs) -> Remarks {
    let mut remarks = Remarks::default();
    judge_cleanup(role, settings, &mut remarks);
    judge_retention(role, settings, needs, &mut remarks);
    judge_size(role, settings, needs, &mut remarks);
    remarks
}

fn judge_cleanup(role: Role, settings: &TopicSettings, remarks: &mut Remarks) {
    let Some(policy) = settings.get("cleanup.policy") else { return };
    let wanted = if is_table(role) { "compact" } else { "delete" };
    if policy != wanted {
        let reason = if is_table(role) {
            "it must keep the last record of every key for ever"
        } else {
            "it must keep every record for a time"
        };
        remarks.problems.push(format!("cleanup.policy is `{policy}`, must be `{wanted}`: {reason}"));
    }
}

fn judge_retention(role: Role, settings: &TopicSettings, needs: Needs, remarks: &mut Remarks) {
    let at_least = |key: &str, least: u64, reason: &str| {
        let value = number(settings, key)?;
        (value < least).then(|| format!("{key} is {value}, must be at least {least}: {reason}"))
    };
    const REPLAY: &str = "a restore reads again what came since the oldest checkpoint that is in use";
    match role {
        Role::Accounts => {
            remarks.problems.extend(at_least("min.compaction.lag.ms", needs.replay_ms, REPLAY));
            remarks.problems.extend(at_least("delete.retention.ms", needs.replay_ms, REPLAY));
        }
        Role::Events => {
            let short = at_least("retention.ms", needs.replay_ms, REPLAY);
            if short.is_none() && number(settings, "retention.ms").is_some_and(|ms| ms < DAY_MS) {
                remarks.hints.push("retention.ms is below a day: events of a longer outage are lost".into());
            }
            remarks.problems.extend(short);
        }
        Role::Output(OutputTopic::State | OutputTopic::Standings) => {
            if number(settings, "delete.retention.ms").is_some_and(|ms| ms < HOUR_MS) {
                remarks.hints.push("delete.retention.ms is below an hour: slow readers miss removals".into());
            }
        }
        Role::Output(_) => {}
    }
}

fn judge_size(role: Role, settings: &TopicSettings, needs: Needs, remarks: &mut Remarks) {
    let Role::Output(_) = role else { return };
    let Some(limit) = number(settings, "max.message.bytes") else { return };
    let wanted = needs.record_bytes_max;
    if limit < wanted {
        remarks.problems.push(format!(
            "max.message.bytes is {limit}, but records of up to {wanted} bytes are written: raise it, or lower \
             `message.max.bytes` under `kafka.properties`"
        ));
    }
}

/// A setting that is a number; none where it stands for unlimited, or is not told.
fn number(settings: &TopicSettings, key: &str) -> Option<u64> {
    settings.get(key)?.parse().ok()
}

fn is_table(role: Role) -> bool {
    matches!(role, Role::Accounts | Role::Output(OutputTopic::State | OutputTopic::Standings))
}

/// The settings to create a topic with; they pass [`judge`].
pub(super) fn to_create(role: Role, needs: Needs) -> Vec<(&'static str, String)> {
    let policy = ("cleanup.policy", if is_table(role) { "compact" } else { "delete" }.to_owned());
    let days = |days: u64| (days * DAY_MS).to_string();
    // Tables are read as a whole at every restore: small segments and an eager cleaner keep them short.
    let tidy = || {
        [
            ("segment.bytes", (64 << 20).to_string()),
            ("segment.ms", HOUR_MS.to_string()),
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ]
    };
    let mut settings = vec![policy];
    match role {
        Role::Events => settings.push(("retention.ms", days(7))),
        Role::Accounts => {
            settings.push(("min.compaction.lag.ms", needs.replay_ms.max(HOUR_MS).to_string()));
            settings.push(("delete.retention.ms", (7 * DAY_MS).max(needs.replay_ms).to_string()));
        }
        Role::Output(OutputTopic::TierChanges | OutputTopic::SegmentChanges) => {
            settings.push(("retention.ms", days(30)));
        }
        // Records as received hold personal data.
        Role::Output(OutputTopic::DeadLetters) => settings.push(("retention.ms", days(14))),
        Role::Output(OutputTopic::Standings) => {
            settings.extend(tidy());
            settings.push(("delete.retention.ms", days(7)));
        }
        Role::Output(OutputTopic::State) => {
            settings.extend(tidy());
            settings.push(("delete.retention.ms", days(1)));
        }
    }
    if let Role::Output(_) = role {
        // With room for what a batch adds to its records.
        let bytes = needs.record_bytes_max.saturating_add(64 << 10).max(1 << 20);
        settings.push(("max.message.bytes", bytes.to_string()));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { replay_ms: 600_000, record_bytes_max: 1_000_000 };
    const ROLES: [Role; 7] = [
        Role::Events,
        Role::Accounts,
        Role::Output(OutputTopic::TierChanges),
        Role::Output(OutputTopic::SegmentChanges),
        Role::Output(OutputTopic::Standings),
        Role::Output(OutputTopic::DeadLetters),
        Role::Output(OutputTopic::State),
    ];

    fn judged(role: Role, settings: &[(&str, &str)]) -> Remarks {
        let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        judge(role, &settings, NEEDS)
    }

    #[test]
    fn what_is_created_passes() {
        for role in ROLES {
            let created = to_create(role, NEEDS).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            assert_eq!(judge(role, &created, NEEDS), Remarks::default(), "{role}");
        }
    }

    #[test]
    fn what_would_lose_records_is_a_problem() {
        for (role, key, value) in [
            (Role::Events, "cleanup.policy", "compact"),
            (Role::Events, "retention.ms", "599999"),
            (Role::Accounts, "cleanup.policy", "delete"),
            (Role::Accounts, "min.compaction.lag.ms", "0"),
            (Role::Accounts, "delete.retention.ms", "1000"),
            (Role::Output(OutputTopic::TierChanges), "cleanup.policy", "compact"),
            (Role::Output(OutputTopic::State), "cleanup.policy", "compact,delete"),
            (Role::Output(OutputTopic::State), "max.message.bytes", "999999"),
        ] {
            let problems = judged(role, &[(key, value)]).problems;
            assert!(
                problems.len() == 1 && problems[0].starts_with(&format!("{key} is ")),
                "{role} {key}: {problems:?}"
            );
        }
    }

    #[test]
    fn unlimited_retention_is_fine_and_a_short_one_a_hint() {
        assert_eq!(judged(Role::Events, &[("retention.ms", "-1")]), Remarks::default());
        let short = judged(Role::Events, &[("retention.ms", "3600000")]);
        assert!(short.problems.is_empty() && short.hints.len() == 1, "{short:?}");
    }
}
