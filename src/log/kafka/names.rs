//! The topics, by what they are for.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::log::{InputId, InputKind, Inputs, OutputTopic, Table};

/// Topics that `run` reads at most; an [`InputId`] counts them.
const INPUTS_MAX: usize = 64;
/// Characters of a topic name at most, by Kafka's rule.
const NAME_LENGTH_MAX: usize = 249;

/// What a topic is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    Events,
    Accounts,
    Output(OutputTopic),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::Accounts => "accounts",
            Self::Output(OutputTopic::TierChanges) => "tier changes",
            Self::Output(OutputTopic::SegmentChanges) => "segment changes",
            Self::Output(OutputTopic::Standings) => "standings",
            Self::Output(OutputTopic::DeadLetters) => "dead letters",
            Self::Output(OutputTopic::State) => "state",
        })
    }
}

/// The names of all topics: legal, and no two the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topics {
    inputs: Inputs,
    outputs: [(OutputTopic, Arc<str>); 5],
}

/// Names as they were configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicNames {
    pub events: Vec<String>,
    pub accounts: String,
    pub tier_changes: String,
    pub segment_changes: String,
    pub standings: String,
    pub dead_letters: String,
    pub state: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self {
            events: vec!["intent.events".into()],
            accounts: "intent.accounts".into(),
            tier_changes: "intent.tier-changes".into(),
            segment_changes: "intent.segment-changes".into(),
            standings: "intent.standings".into(),
            dead_letters: "intent.dead-letters".into(),
            state: "intent.state".into(),
        }
    }
}

/// What is wrong with the configured names.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NamesError {
    #[error("no input topic: name at least one under `topics.events`")]
    NoEvents,
    #[error("{0} input topics are too many: at most 64")]
    TooManyEvents(usize),
    #[error("`{name}` is no topic name ({role}): 1 to 249 letters, digits, `.`, `_` and `-`")]
    Illegal { role: Role, name: String },
    #[error("`{name}` is named twice: every topic needs its own name")]
    Twice { name: String },
}

impl TryFrom<TopicNames> for Topics {
    type Error = NamesError;

    fn try_from(names: TopicNames) -> Result<Self, NamesError> {
        let TopicNames { events, accounts, tier_changes, segment_changes, standings, dead_letters, state } = names;
        if events.is_empty() {
            return Err(NamesError::NoEvents);
        }
        if events.len() >= INPUTS_MAX {
            return Err(NamesError::TooManyEvents(events.len()));
        }
        let events = events.into_iter().map(|name| (name.into(), InputKind::Events));
        let topics = Self {
            inputs: Inputs(events.chain([(accounts.into(), InputKind::Accounts)]).collect()),
            outputs: [
                (OutputTopic::TierChanges, tier_changes.into()),
                (OutputTopic::SegmentChanges, segment_changes.into()),
                (OutputTopic::Standings, standings.into()),
                (OutputTopic::DeadLetters, dead_letters.into()),
                (OutputTopic::State, state.into()),
            ],
        };
        topics.check()?;
        Ok(topics)
    }
}

impl Topics {
    fn check(&self) -> Result<(), NamesError> {
        let mut seen = BTreeSet::new();
        for (role, name) in self.all() {
            if !is_legal(name) {
                return Err(NamesError::Illegal { role, name: name.to_string() });
            }
            if !seen.insert(name) {
                return Err(NamesError::Twice { name: name.to_string() });
            }
        }
        Ok(())
    }

    /// The topics that are read: those of events in the configured order, then that of the accounts.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Name of an output topic.
    pub fn output(&self, topic: OutputTopic) -> &Arc<str> {
        let [tier_changes, segment_changes, standings, dead_letters, state] = &self.outputs;
        match topic {
            OutputTopic::TierChanges => &tier_changes.1,
            OutputTopic::SegmentChanges => &segment_changes.1,
            OutputTopic::Standings => &standings.1,
            OutputTopic::DeadLetters => &dead_letters.1,
            OutputTopic::State => &state.1,
        }
    }

    /// Name of the topic that holds a table.
    pub fn table(&self, table: Table) -> &Arc<str> {
        match table {
            Table::State => self.output(OutputTopic::State),
            Table::Standings => self.output(OutputTopic::Standings),
        }
    }

    /// Every topic, inputs first.
    pub fn all(&self) -> impl Iterator<Item = (Role, &Arc<str>)> {
        let inputs = self.inputs.ids().map(|id| {
            let role = match self.inputs.kind(id) {
                InputKind::Events => Role::Events,
                InputKind::Accounts => Role::Accounts,
            };
            (role, self.inputs.name(id))
        });
        inputs.chain(self.outputs.iter().map(|(topic, name)| (Role::Output(*topic), name)))
    }

    /// The input topic of this name.
    pub(super) fn input(&self, name: &str) -> Option<InputId> {
        self.inputs.ids().find(|id| &**self.inputs.name(*id) == name)
    }
}

fn is_legal(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(known) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let with = |change: fn(&mut TopicNames)| {
            let mut names = TopicNames::default();
            change(&mut names);
            Topics::try_from(names)
        };
        assert!(with(|_| ()).is_ok());
        assert_eq!(with(|names| names.events.clear()), Err(NamesError::NoEvents));
        assert_eq!(
            with(|names| names.state = "intent.events".into()),
            Err(NamesError::Twice { name: "intent.events".into() })
        );
        assert_eq!(
            with(|names| names.standings = "in tent".into()),
            Err(NamesError::Illegal { role: Role::Output(OutputTopic::Standings), name: "in tent".into() })
        );
    }

    #[test]
    fn the_accounts_come_after_the_events() {
        let names = TopicNames { events: vec!["a".into(), "b".into()], ..TopicNames::default() };
        let topics = Topics::try_from(names).unwrap();
        let kinds: Vec<_> = topics.inputs().ids().map(|id| topics.inputs().kind(id)).collect();
        assert_eq!(kinds, [InputKind::Events, InputKind::Events, InputKind::Accounts]);
        assert_eq!(topics.input("b"), Some(InputId(1)));
        assert_eq!(topics.input("c"), None);
        assert_eq!(topics.all().count(), 8);
    }
}
