//! The configuration as it is written: every scalar a text with its place, as `${…}` may stand for
//! any of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

pub(super) type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSettings {
    pub(super) kafka: RawKafka,
    pub(super) topics: RawTopics,
    pub(super) model: Option<Text>,
    pub(super) workers: Option<Text>,
    pub(super) start_from: Option<Text>,
    pub(super) time: RawTime,
    pub(super) state: RawState,
    pub(super) commit: RawCommit,
    pub(super) http: RawHttp,
    pub(super) privacy: RawPrivacy,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawKafka {
    pub(super) brokers: Option<Text>,
    pub(super) group_id: Option<Text>,
    pub(super) instance: Option<Text>,
    pub(super) properties: BTreeMap<String, Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTopics {
    pub(super) events: Option<Vec<Text>>,
    pub(super) accounts: Option<Text>,
    pub(super) tier_changes: Option<Text>,
    pub(super) segment_changes: Option<Text>,
    pub(super) standings: Option<Text>,
    pub(super) dead_letters: Option<Text>,
    pub(super) state: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTime {
    pub(super) grace: Option<Text>,
    pub(super) max_future_skew: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawState {
    pub(super) checkpoint_interval: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCommit {
    pub(super) interval: Option<Text>,
    pub(super) min_interval: Option<Text>,
    pub(super) max_records: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) listen: Option<Text>,
    pub(super) token: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPrivacy {
    pub(super) person_key: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: Option<Text>,
    pub(super) level: Option<Text>,
}
