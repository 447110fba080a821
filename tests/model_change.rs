//! What becomes of accounts when the model changes under them.

use std::sync::Arc;

use tidemark::{
    engine::{AccountImage, Engine, Mode, PageId, Remap, Step},
    model::{Attributes, Band, Change, Event, EventId, Facts, Hit, Model, Op, SignalId, Span, Timestamp, Transition},
    wire::model_file,
};

const BEFORE: &str = "
model: before
version: 1
signals:
  - { name: visit, match: { type: visit }, points: 30, half_life: 1d }
tiers:
  - { name: hot, intent: { enter: 30, exit: 20 } }
  - { name: warm, intent: { enter: 10, exit: 5 } }
segments:
  - { name: kept, action: alert, signal: visit, count: { min: 1 }, within: 9d }
  - { name: dropped, action: alert, signal: visit, count: { min: 1 }, within: 9d }
";

/// The top tier has another name and asks for more, one segment is gone.
const AFTER: &str = "
model: after
version: 2
signals:
  - { name: visit, match: { type: visit }, points: 30, half_life: 1d }
tiers:
  - { name: burning, intent: { enter: 60, exit: 40 } }
  - { name: warm, intent: { enter: 10, exit: 5 } }
segments:
  - { name: kept, action: alert, signal: visit, count: { min: 1 }, within: 9d }
";

fn model(text: &str) -> Arc<Model> {
    model_file::parse(text, "inline").unwrap().model
}

fn tell(change: &Change) -> String {
    let name = |tier: &Option<Arc<str>>| tier.as_deref().unwrap_or("none").to_owned();
    let what = match &change.transition {
        Transition::Tier { from, to, up } => format!("{} -> {} (up: {up})", name(from), name(to)),
        Transition::Segment { name, op: Op::Enter } => format!("enters {name}"),
        Transition::Segment { name, op: Op::Exit } => format!("leaves {name}"),
    };
    format!("{what} by {}", change.cause.name())
}

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// An engine of the first model, with an account that has risen to the top.
fn risen() -> (Engine, Step) {
    let (mut engine, mut step) = (Engine::new(model(BEFORE), Span::ZERO), Step::default());
    let hits = [Hit::Count(SignalId(0))];
    let event = Event { account: "acme", id: EventId(1), time: START, recorded: START, hits: &hits };
    engine.apply(&event, Mode::Live, START, &mut step);
    (engine, step)
}

/// Loads what another engine would store.
fn load(engine: &mut Engine, stored: &Engine) {
    let remap = Remap::new(stored.schema(), engine).unwrap();
    for page in PageId::all() {
        engine.clear_page(page);
        let images: Vec<AccountImage<'_>> = stored.images(page).collect();
        assert!(images.iter().all(|image| engine.load(image, &remap).is_some()));
    }
}

fn judge_afresh(engine: &mut Engine, clock: Timestamp) -> Step {
    let mut step = Step::default();
    PageId::all().for_each(|page| engine.judge_afresh(page, clock, clock, &mut step));
    step
}

fn told(step: &Step) -> Vec<String> {
    step.changes.iter().map(tell).collect()
}

#[test]
fn what_a_new_model_no_longer_has_is_left_once() {
    let (before, step) = risen();
    assert_eq!(told(&step), ["none -> hot (up: true) by signal", "enters kept by signal", "enters dropped by signal"]);

    let mut after = Engine::new(model(AFTER), Span::ZERO);
    load(&mut after, &before);
    let clock = START + Span::seconds(60);
    let step = judge_afresh(&mut after, clock);
    assert_eq!(told(&step), ["hot -> warm (up: true) by model", "leaves dropped by model"]);
    assert_eq!(told(&judge_afresh(&mut after, clock)), Vec::<String>::new());

    // Until compaction the log holds the page as the first model stored it, and then as the second did.
    let mut again = Engine::new(model(AFTER), Span::ZERO);
    load(&mut again, &before);
    load(&mut again, &after);
    step.standings.iter().for_each(|standing| again.load_standing(standing));
    assert_eq!(told(&judge_afresh(&mut again, clock)), Vec::<String>::new(), "it was said before the restart");
}

#[test]
fn a_standing_names_the_suppression_of_the_new_model() {
    let suppressing = |text: &str, name: &str| {
        model(&format!("{text}suppress:\n  - {{ name: {name}, match: {{ lifecycle: customer }} }}\n"))
    };
    let (mut before, mut step) = (Engine::new(suppressing(BEFORE, "customer"), Span::ZERO), Step::default());
    let hits = [Hit::Count(SignalId(0))];
    let event = Event { account: "acme", id: EventId(1), time: START, recorded: START, hits: &hits };
    before.apply(&event, Mode::Live, START, &mut step);
    let facts = Facts { known: 1, holds: 1 };
    before.apply_attributes(&Attributes { account: "acme", recorded: START, facts }, Mode::Live, START, &mut step);
    let mask = |step: &Step| step.standings.last().and_then(|standing| standing.suppressed_by.clone());
    assert_eq!(mask(&step).as_deref(), Some("customer"));

    let mut after = Engine::new(suppressing(AFTER, "client"), Span::ZERO);
    load(&mut after, &before);
    let step = judge_afresh(&mut after, START + Span::seconds(60));
    assert_eq!((told(&step), mask(&step).as_deref()), (vec![], Some("client")));
}

#[test]
fn a_mark_below_the_precision_of_comparisons_is_refused() {
    // Nothing would ever lie below it: the fall would be searched for ever.
    assert!(Band::new(1.0, 1e-10).is_none());
    assert!(Band::new(1.0, 1e-9).is_some());
    let text = AFTER.replace("count: { min: 1 }, within: 9d", "score: { min: 0.0000000001 }");
    let error = model_file::parse(&text, "inline").unwrap_err().to_string();
    assert!(error.contains("must be from 0.000000001 to 1000000"), "{error}");
}
