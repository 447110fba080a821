use std::collections::BTreeSet;

use super::*;
use crate::{
    log::Partition,
    model::{Band, Fit, ModelId, ModelParts, Rule, Segment, Span, Standing, Tier},
};

fn tier(name: &str, enter: f64) -> Tier {
    let intent = Band::new(enter, enter / 2.0);
    Tier { name: name.into(), intent, fit: None, rule: None, min_dwell: Span::ZERO }
}

fn model() -> Model {
    let id = ModelId { name: "abm".into(), version: 3, digest: "d1".into() };
    let segment = Segment { name: "evaluators".into(), action: "alert".into(), rule: Rule::All(Vec::new()) };
    Model::new(ModelParts {
        id,
        event_keys: Vec::new(),
        attribute_keys: Vec::new(),
        ignore: Vec::new(),
        signals: Vec::new(),
        distinct_sets: Vec::new(),
        facts: Vec::new(),
        fit: Fit::default(),
        tiers: vec![tier("hot", 40.0), tier("warm", 10.0)],
        segments: vec![segment],
        suppress: Vec::new(),
    })
    .unwrap()
}

fn metrics() -> Metrics {
    let model = model();
    let vocabulary = Vocabulary { model: &model, ignored: &["no_signal"], dead_letters: &["malformed"] };
    Metrics::new(vocabulary).unwrap()
}

fn change(transition: Transition, effective_at: i64, detected_at: i64) -> Change {
    Change {
        account: "acme.com".into(),
        transition,
        cause: Cause::Decay,
        intent: 9.0,
        fit: None,
        mark: None,
        effective_at: Timestamp::from_millis(effective_at),
        detected_at: Timestamp::from_millis(detected_at),
        reasons: Arc::from([]),
        next_change_at: None,
        sequence: 1,
        previous_sequence: None,
    }
}

fn standing(account: &str, tier: Option<&str>) -> Standing {
    Standing {
        account: account.into(),
        tier: tier.map(Arc::from),
        since: None,
        segments: Vec::new(),
        suppressed_by: None,
        intent: 0.0,
        fit: None,
        as_of: Timestamp::EARLIEST,
        next_change_at: None,
        sequence: 1,
        gained: Vec::new(),
    }
}

/// The exposition of a process that has a view and a status.
struct Scrape {
    view: View,
    status: Status,
    now: Instant,
}

impl Scrape {
    fn new() -> Self {
        let now = Instant::now();
        Self { view: View::new(), status: Status::new(2, Duration::from_secs(60), now), now }
    }

    fn of(&self, metrics: &Metrics) -> String {
        metrics.render(&self.view, &self.status, self.now).unwrap()
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|other| other == line), "no line `{line}` in:\n{text}");
}

#[test]
fn what_is_exposed_is_what_the_catalogue_lists() {
    let scrape = Scrape::new();
    scrape.status.worker(0).assigned(&[Partition(0)]);
    scrape.status.worker(0).lags(&"intent.events".into(), Partition(0), 1);
    let text = scrape.of(&metrics());
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let exposed: BTreeSet<_> = helps.filter(|(name, _)| !name.starts_with("process_")).collect();
    let listed: BTreeSet<_> = catalogue::ALL.iter().map(|entry| (entry.name, entry.help)).collect();
    assert_eq!(exposed, listed);
    assert!(text.contains("\nprocess_resident_memory_bytes "));
}

#[test]
fn a_series_exists_before_its_first_count() {
    let text = Scrape::new().of(&metrics());
    has(&text, "tidemark_events_total{outcome=\"duplicate\"} 0");
    has(&text, "tidemark_dead_letters_total{reason=\"malformed\"} 0");
    has(&text, r#"tidemark_tier_changes_total{cause="decay",direction="down",from="hot",to="none"} 0"#);
    has(&text, r#"tidemark_tier_changes_total{cause="signal",direction="up",from="none",to="hot"} 0"#);
    has(&text, r#"tidemark_segment_changes_total{cause="window",op="exit",segment="evaluators"} 0"#);
    has(&text, r#"tidemark_accounts{tier="none"} 0"#);
    has(&text, r#"tidemark_model_info{digest="d1",name="abm",version="3"} 1"#);
}

#[test]
fn a_committed_step_is_counted_once_under_every_heading() {
    let metrics = metrics();
    let tier = Transition::Tier { from: Some("hot".into()), to: None, up: false };
    let segment = Transition::Segment { name: "evaluators".into(), op: Op::Exit };
    let stats = Stats { applied: 10, late: 3, duplicates: 2, attributes: 5, timers_fired: 4, evicted: 1 };
    let changes = vec![change(tier, 1_000, 2_000), change(segment, 1_000, 2_000)];
    let step = Step { changes, stats, ..Step::default() };
    let mut tally = Tally::default();
    tally.pages = 2;
    tally.page_bytes = 700;
    tally.ignore("no_signal");
    tally.dead_letter_event("malformed");
    tally.dead_letter_attributes("malformed");
    tally.applied(Timestamp::from_millis(500));
    metrics.record(&step, &tally, Timestamp::from_millis(2_500));
    metrics.committed(Duration::from_millis(4));
    metrics.commit_failed();
    metrics.restored(Duration::from_secs(2), 40);

    let text = Scrape::new().of(&metrics);
    for (outcome, count) in [("applied", 7), ("late", 3), ("duplicate", 2), ("ignored", 1), ("dead_lettered", 1)] {
        has(&text, &format!("tidemark_events_total{{outcome=\"{outcome}\"}} {count}"));
    }
    for (outcome, count) in [("applied", 5), ("dead_lettered", 1)] {
        has(&text, &format!("tidemark_attribute_records_total{{outcome=\"{outcome}\"}} {count}"));
    }
    has(&text, "tidemark_dead_letters_total{reason=\"malformed\"} 2");
    has(&text, r#"tidemark_tier_changes_total{cause="decay",direction="down",from="hot",to="none"} 1"#);
    has(&text, r#"tidemark_segment_changes_total{cause="decay",op="exit",segment="evaluators"} 1"#);
    has(&text, "tidemark_change_delay_seconds_sum 3");
    has(&text, "tidemark_change_commit_delay_seconds_sum 1");
    has(&text, "tidemark_event_freshness_seconds_sum 2");
    has(&text, "tidemark_commits_total{outcome=\"committed\"} 1");
    has(&text, "tidemark_commits_total{outcome=\"failed\"} 1");
    has(&text, "tidemark_commit_duration_seconds_sum 0.004");
    assert!(!text.contains("tidemark_last_commit_timestamp_seconds 0\n"), "it is a time of the wall clock");
    has(&text, "tidemark_committed_page_bytes_total 700");
    has(&text, "tidemark_restored_records_total 40");
    has(&text, "tidemark_evictions_total 1");
    assert!(!text.contains("acme"), "an account is no label");
}

#[test]
fn gauges_agree_with_the_view_and_the_workers() {
    let (metrics, scrape) = (metrics(), Scrape::new());
    let tenure = scrape.view.begin();
    let standings = [standing("a", Some("hot")), standing("b", None), standing("c", Some("retired_tier"))];
    scrape.view.publish(tenure, standings);
    let (first, second) = (scrape.status.worker(0), scrape.status.worker(1));
    first.assigned(&[Partition(0), Partition(1)]);
    first.reached(Partition(0), Phase::Live);
    first.lags(&"intent.events".into(), Partition(0), 12);
    first.holds(3, 5);
    second.holds(4, 0);
    let text = scrape.of(&metrics);
    for (tier, count) in [("hot", 1), ("warm", 0), ("none", 1), ("retired_tier", 1)] {
        has(&text, &format!("tidemark_accounts{{tier=\"{tier}\"}} {count}"));
    }
    has(&text, "tidemark_state_accounts 7");
    has(&text, "tidemark_timers_pending 5");
    has(&text, "tidemark_partitions{phase=\"live\"} 1");
    has(&text, "tidemark_partitions{phase=\"restoring\"} 1");
    has(&text, r#"tidemark_consumer_lag_records{partition="0",topic="intent.events"} 12"#);

    first.revoked();
    scrape.view.end(&[tenure]);
    let text = scrape.of(&metrics);
    assert!(!text.contains("tidemark_consumer_lag_records{"), "its new owner reports it now");
    assert!(!text.contains("retired_tier"));
    has(&text, "tidemark_accounts{tier=\"hot\"} 0");
}
