//! The engine's verbs on a small model, with a clock in every story.

use std::sync::Arc;

use super::*;
use crate::model::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
const START: i64 = 1_795_000_000_000;

pub(super) fn model() -> Arc<Model> {
    let half_life = HalfLife::new(Span::days(7)).unwrap();
    let signal = |name: &str, points, cap| Signal {
        name: name.into(),
        matcher: Matcher::default(),
        points,
        cap,
        scoring: Scoring::Additive { half_life },
    };
    let tier = |name: &str, enter, exit, min_dwell| Tier {
        name: name.into(),
        intent: Band::new(enter, exit),
        fit: None,
        rule: None,
        min_dwell,
    };
    let within = Span::days(3);
    let rule = Rule::Leaf(Leaf::Count { signal: SignalId(0), min: 2, within });
    Arc::new(
        Model::new(ModelParts {
            id: ModelId { name: "t".into(), version: 1, digest: "d".into() },
            event_keys: vec![],
            attribute_keys: vec![],
            ignore: vec![],
            signals: vec![signal("visit", 12.0, Some(60.0)), signal("demo", 40.0, None)],
            distinct_sets: vec![],
            facts: vec![],
            fit: Fit::default(),
            tiers: vec![tier("hot", 40.0, 30.0, Span::days(2)), tier("warm", 10.0, 7.0, Span::ZERO)],
            segments: vec![Segment { name: "back_again".into(), action: "alert".into(), rule }],
            suppress: vec![],
        })
        .unwrap(),
    )
}

struct Story {
    engine: Engine,
    step: Step,
    ids: u64,
}

impl Story {
    fn new() -> Self {
        Self { engine: Engine::new(model(), Span::seconds(5)), step: Step::default(), ids: 0 }
    }

    fn event(&mut self, at: i64, signal: u8) -> Vec<String> {
        self.ids += 1;
        let time = Timestamp::from_millis(START + at);
        let event = Event {
            account: "acme",
            id: EventId(self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            time,
            recorded: time,
            hits: &[Hit::Count(SignalId(signal))],
        };
        self.engine.apply(&event, Mode::Live, time, &mut self.step);
        self.news()
    }

    fn tick(&mut self, at: i64) -> Vec<String> {
        let clock = Timestamp::from_millis(START + at);
        assert!(!self.engine.advance(clock, 1000, clock, &mut self.step));
        self.news()
    }

    fn news(&mut self) -> Vec<String> {
        let name = |tier: &Option<Arc<str>>| tier.as_ref().map_or("none".to_owned(), |tier| tier.to_string());
        let tell = |change: &Change| {
            let what = match &change.transition {
                Transition::Tier { from, to, .. } => format!("{} -> {}", name(from), name(to)),
                Transition::Segment { name, op } => format!("{op:?} {name}"),
            };
            format!("{what} @{} by {}", change.effective_at.millis() - START, change.cause.name())
        };
        std::mem::take(&mut self.step).changes.iter().map(tell).collect()
    }
}

#[test]
fn rises_come_with_events_and_falls_at_the_millisecond_they_are_due() {
    let mut story = Story::new();
    assert_eq!(story.event(0, 0), ["none -> warm @0 by signal"]);
    assert_eq!(story.event(MINUTE, 0), ["Enter back_again @60000 by signal"]);
    assert_eq!(story.event(DAY, 1), [format!("warm -> hot @{DAY} by signal")]);
    // The first visit leaves the window of three days: it counts in [0, 3 d).
    assert_eq!(story.tick(3 * DAY - 1), Vec::<String>::new());
    assert_eq!(story.tick(3 * DAY), [format!("Exit back_again @{} by window", 3 * DAY)]);
    // 40 + 24 * 2^(-1/7) points at one day reach 30 after 7 * log2(S / 30) days, and 7 two half-lives later.
    let at_one_day = 40.0 + 12.0 * (2f64.powf(-1.0 / 7.0) + 2f64.powf(-(DAY - MINUTE) as f64 / (7 * DAY) as f64));
    let fall = |mark: f64| DAY + ((at_one_day / mark).log2() * (7 * DAY) as f64).ceil() as i64;
    let (to_warm, to_none) = (fall(30.0), fall(7.0));
    assert_eq!(story.tick(to_warm - 1), Vec::<String>::new());
    assert_eq!(
        story.tick(60 * DAY),
        [format!("hot -> warm @{to_warm} by decay"), format!("warm -> none @{to_none} by decay")]
    );
}

#[test]
fn a_late_look_tells_the_same_history_as_a_punctual_one() {
    let (mut punctual, mut late) = (Story::new(), Story::new());
    let mut first = punctual.event(0, 1);
    for at in 1..60 {
        first.extend(punctual.tick(at * DAY));
    }
    first.extend(punctual.event(60 * DAY, 0));
    let mut second = late.event(0, 1);
    second.extend(late.event(60 * DAY, 0));
    assert_eq!(first, second);
}

#[test]
fn what_was_published_can_be_shown_after_a_restore_also_where_it_is_no_tier() {
    let mut story = Story::new();
    story.event(0, 0);
    story.event(DAY, 0);
    assert!(story.tick(30 * DAY).last().unwrap().starts_with("warm -> none"));
    let page = page_of(account_hash("acme"));
    let mut restored = Story::new().engine;
    let remap = Remap::new(story.engine.schema(), &restored).unwrap();
    assert!(story.engine.images(page).all(|image| restored.load(&image, &remap) == Some(page)));
    let shown: Vec<_> = restored.standings().map(|standing| (standing.account, standing.tier)).collect();
    assert_eq!(shown, [("acme".into(), None)]);
}

#[test]
fn a_faded_account_is_evicted_and_its_standing_with_it() {
    let mut story = Story::new();
    story.event(0, 0);
    story.tick(30 * DAY);
    let page = page_of(account_hash("acme"));
    assert!(story.engine.sweep(page, Timestamp::from_millis(START + 30 * DAY), &mut story.step));
    assert_eq!(story.engine.len(), 1, "30 days after, something of it is left");
    story.engine.stored(page);
    assert!(story.engine.sweep(page, Timestamp::from_millis(START + 400 * DAY), &mut story.step));
    assert_eq!((story.engine.len(), story.step.evicted.len()), (0, 1));
}

#[test]
fn an_event_that_is_known_leaves_its_page_as_it_was_stored() {
    let mut story = Story::new();
    let page = page_of(account_hash("acme"));
    story.event(0, 0);
    assert!(story.engine.is_dirty(page));
    story.engine.stored(page);
    story.ids -= 1;
    story.event(0, 0);
    assert!(!story.engine.is_dirty(page), "nothing changed");
    story.event(0, 0);
    assert!(story.engine.is_dirty(page), "this one is new");
}

#[test]
fn accounts_with_too_many_event_ids_or_an_unknown_tier_are_not_well_formed() {
    let mut engine = Engine::new(model(), Span::seconds(5));
    let remap = Remap::new(engine.schema(), &engine).unwrap();
    let tiers = engine.schema().tiers.len() as u8;
    let image = |ids: u8, tier: Option<u8>| AccountImage {
        name: b"acme",
        settled: Timestamp::from_millis(START),
        tier,
        ids,
        words: &[[0; 8]; 256][..usize::from(ids)],
    };
    assert_eq!(engine.load(&image(17, None), &remap), None);
    assert_eq!(engine.load(&image(0x80, None), &remap), None);
    assert_eq!(engine.load(&image(16, Some(tiers)), &remap), None);
    assert_eq!(engine.load(&image(16, Some(tiers - 1)), &remap), Some(page_of(account_hash("acme"))));
}

#[test]
fn stored_accounts_have_names_that_accounts_may_have() {
    let mut story = Story::new();
    let remap = Remap::new(story.engine.schema(), &story.engine).unwrap();
    for (len, taken) in [(0, false), (1, true), (MAX_ACCOUNT_BYTES, true), (MAX_ACCOUNT_BYTES + 1, false)] {
        let name = "a".repeat(len);
        let settled = Timestamp::from_millis(START);
        let image = AccountImage { name: name.as_bytes(), settled, tier: None, ids: 0, words: &[] };
        assert_eq!(story.engine.load(&image, &remap).is_some(), taken, "{len} bytes");
        assert_eq!(story.engine.explain(&name, settled).is_some(), taken, "{len} bytes");
    }
    for (name, taken) in [("a\u{e9}".as_bytes(), true), (b"a\xc3", false)] {
        let image = AccountImage { name, settled: Timestamp::from_millis(START), tier: None, ids: 0, words: &[] };
        assert_eq!(story.engine.load(&image, &remap).is_some(), taken, "{name:?}");
    }
}

#[test]
fn timers_that_never_come_do_not_pile_up() {
    let mut story = Story::new();
    story.event(0, 1);
    let hash = account_hash("acme");
    let page = page_of(hash);
    let at = story.engine.pages[usize::from(page.0)].find(hash, b"acme").unwrap();
    let timers = story.engine.timers();
    story.engine.account_mut(page, at).set_armed(NEVER);
    for beyond in [1 << 50, 1 << 60, i64::MAX - 1] {
        story.engine.arm(page, at, Timestamp::from_millis(beyond));
    }
    assert_eq!(story.engine.timers(), timers);
    story.engine.arm(page, at, Timestamp::from_millis(START + DAY));
    assert_eq!(story.engine.timers(), timers + 1);
}

#[test]
fn a_stored_account_is_settled_to_a_time_that_records_may_carry() {
    let mut story = Story::new();
    let remap = Remap::new(story.engine.schema(), &story.engine).unwrap();
    let last = Timestamp::LATEST;
    for (settled, taken) in [(last, true), (last + Span::seconds(1), false), (NEVER, false)] {
        let image = AccountImage { name: b"acme", settled, tier: None, ids: 0, words: &[] };
        assert_eq!(story.engine.load(&image, &remap).is_some(), taken, "{settled:?}");
    }
}
