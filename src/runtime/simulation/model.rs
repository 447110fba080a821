//! What is simulated: the model, the inputs, and the settings of a worker.

use std::{sync::Arc, time::Duration};

use crate::{
    log::{InputId, InputKind, Inputs},
    model::*,
    runtime::WorkerSettings,
    settings::StartFrom,
    wire::event::PersonKey,
};

pub const GRACE: Span = Span::seconds(5);
pub const PARTITIONS: i32 = 3;
pub const EVENTS: InputId = InputId(0);
pub const MAX_FUTURE_SKEW: Span = Span::seconds(300);

/// Two tiers, one of them with a dwell, and a segment over a window.
pub fn model() -> Arc<Model> {
    let signal = |name: &str, points, hours: u32, cap| Signal {
        name: name.into(),
        matcher: Matcher(vec![(KeyId(0), Test::Text(Glob::new(name)))]),
        points,
        cap,
        scoring: Scoring::Additive { half_life: HalfLife::new(Span::seconds(hours * 3600)).unwrap() },
    };
    let tier = |name: &str, enter, exit, min_dwell| Tier {
        name: name.into(),
        intent: Band::new(enter, exit),
        fit: None,
        rule: None,
        min_dwell,
    };
    let rule = Rule::Leaf(Leaf::Count { signal: SignalId(0), min: 3, within: Span::seconds(7200) });
    let parts = ModelParts {
        id: ModelId { name: "t".into(), version: 1, digest: "d".into() },
        event_keys: vec!["type".into()],
        attribute_keys: vec![],
        ignore: vec![],
        signals: vec![signal("visit", 10.0, 2, Some(60.0)), signal("demo", 35.0, 6, None)],
        distinct_sets: vec![],
        facts: vec![],
        fit: Fit::default(),
        tiers: vec![tier("hot", 40.0, 30.0, Span::seconds(3600)), tier("warm", 20.0, 12.0, Span::ZERO)],
        segments: vec![Segment { name: "keen".into(), action: "alert".into(), rule }],
        suppress: vec![],
    };
    Arc::new(Model::new(parts).unwrap())
}

pub fn inputs() -> Inputs {
    // Nobody sends attributes: an input without records must not hold up the other.
    Inputs(vec![("intent.events".into(), InputKind::Events), ("intent.accounts".into(), InputKind::Accounts)])
}

pub fn person_key() -> PersonKey {
    PersonKey::from_secret("test")
}

/// Small portions: a restore reads its input again in many of them, and a worker commits often.
pub fn settings(run: u64) -> WorkerSettings {
    WorkerSettings {
        inputs: inputs(),
        partitions: PARTITIONS,
        grace: GRACE,
        max_future_skew: MAX_FUTURE_SKEW,
        person_key: person_key(),
        start_from: StartFrom::Earliest,
        checkpoint_interval: Duration::from_secs(20),
        commit_interval: Duration::from_millis(1000),
        commit_interval_min: Duration::from_millis(25),
        commit_records_max: 3,
        page_bytes_max: 900,
        letter_bytes_max: 1_000_000,
        source: "test".into(),
        run: run.to_string().into(),
    }
}
