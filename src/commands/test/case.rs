//! One test of a model: its events go the way of real ones, through JSON, decoder and engine.

use std::{fmt::Write, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    engine::{Engine, Explanation, Mode, Step},
    model::{Change, FitScore, Model, Op, Reason, Span, Timestamp, Transition},
    wire::{
        attributes::AttributeDecoder,
        event::{Decoded, Decoder, PersonKey, RawRecord},
        model_file::{Expectation, FitExpectation, Input, InputKind, ModelTest},
        time::{format_rfc3339, format_span},
    },
};

/// Where the clock of every test starts: Monday, 5 January 2026. Nothing depends on it.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// How far fit may be from what is expected, in points: only rounding.
const FIT_TOLERANCE: f64 = 1e-6;

/// Runs a test; returns the differences between what it expects and what came, each as text.
pub fn run(test: &ModelTest, model: &Arc<Model>) -> Vec<String> {
    let mut stage = Stage::new(model);
    let mut inputs = test.inputs.iter().peekable();
    let mut differences = Vec::new();
    for expectation in &test.expectations {
        while let Some(input) = inputs.next_if(|input| input.at <= expectation.at) {
            if let Err(rejected) = stage.apply(input) {
                differences.push(format!("line {}: the input was refused: {rejected}", input.line));
            }
        }
        let seen = stage.look(expectation);
        differences.extend(difference(expectation, &seen));
    }
    differences
}

/// An engine with its decoders and a clock of its own.
struct Stage {
    engine: Engine,
    events: Decoder,
    attributes: AttributeDecoder,
    step: Step,
    events_made: u64,
}

/// What an account is at the time of an expectation.
struct Seen {
    /// Nothing if the account was never touched.
    explanation: Option<Explanation>,
    /// Its changes since the expectation before.
    changes: Vec<String>,
}

impl Stage {
    fn new(model: &Arc<Model>) -> Self {
        Self {
            engine: Engine::new(model.clone(), Span::ZERO),
            events: Decoder::new(model.clone(), PersonKey::from_secret("test"), Span::ZERO),
            attributes: AttributeDecoder::new(model.clone()),
            step: Step::default(),
            events_made: 0,
        }
    }

    fn apply(&mut self, Input { at, account, kind, .. }: &Input) -> Result<(), String> {
        let time = START + *at;
        match kind {
            InputKind::Event { fields, times } => (0..*times).try_for_each(|_| self.event(fields, account, time)),
            InputKind::Attributes(attributes) => self.set_attributes(attributes, account, time),
        }
    }

    fn event(&mut self, fields: &Map<String, Value>, account: &str, time: Timestamp) -> Result<(), String> {
        self.events_made += 1;
        let mut event = fields.clone();
        event.entry("id").or_insert_with(|| format!("test-{}", self.events_made).into());
        event.insert("account".to_owned(), account.into());
        event.insert("time".to_owned(), format_rfc3339(time).into());
        let bytes = Value::Object(event).to_string();
        let record = RawRecord { key: None, value: Some(bytes.as_bytes()), recorded: Some(time) };
        match self.events.decode(record).map_err(|rejected| rejected.to_string())? {
            Decoded::Event(event) => self.engine.apply(&event, Mode::Live, time, &mut self.step),
            Decoded::Ignored { .. } => {}
        }
        Ok(())
    }

    fn set_attributes(&mut self, values: &Map<String, Value>, account: &str, time: Timestamp) -> Result<(), String> {
        let bytes = Value::Object(values.clone()).to_string();
        let record = RawRecord { key: Some(account.as_bytes()), value: Some(bytes.as_bytes()), recorded: Some(time) };
        let attributes = self.attributes.decode(record).map_err(|rejected| rejected.to_string())?;
        self.engine.apply_attributes(&attributes, Mode::Live, time, &mut self.step);
        Ok(())
    }

    /// Lets the clock run to the expectation's time and looks at its account.
    fn look(&mut self, Expectation { at, account, .. }: &Expectation) -> Seen {
        let clock = START + *at;
        self.engine.advance(clock, usize::MAX, clock, &mut self.step);
        let (own, others) = std::mem::take(&mut self.step.changes).into_iter().partition(|it| it.account == *account);
        let own: Vec<Change> = own;
        self.step = Step { changes: others, ..Step::default() };
        Seen { explanation: self.engine.explain(account, clock), changes: own.iter().map(change_text).collect() }
    }
}

/// The change as a model file writes it.
fn change_text(change: &Change) -> String {
    match &change.transition {
        Transition::Tier { from, to, .. } => {
            format!("{} -> {}", from.as_deref().unwrap_or("none"), to.as_deref().unwrap_or("none"))
        }
        Transition::Segment { name, op: Op::Enter } => format!("enter {name}"),
        Transition::Segment { name, op: Op::Exit } => format!("exit {name}"),
    }
}

/// Nothing if all is as expected, else what differs, with the account's score by signal.
fn difference(expected: &Expectation, seen: &Seen) -> Option<String> {
    let lines: Vec<Line> = compare(expected, seen);
    if lines.iter().all(|line| line.agrees) {
        return None;
    }
    let mut text = format!("line {}: {} at {}\n", expected.line, expected.account, format_span(expected.at));
    for Line { field, expected, actual, agrees } in lines {
        let mark = if agrees { ' ' } else { '!' };
        let _ = writeln!(text, "  {mark} {field:<10} expected {expected:<28} was {actual}");
    }
    let contributions = seen.explanation.iter().flat_map(|explanation| &explanation.contributions);
    for Reason { signal, points, count, last_seen } in contributions {
        let ago = Span::from_millis((START + expected.at) - *last_seen).unwrap_or_default();
        let _ = writeln!(text, "    {points:>9.3} {signal} (count {count}, last {} before)", format_span(ago));
    }
    Some(text)
}

/// One field of an expectation beside what came.
struct Line {
    field: &'static str,
    expected: String,
    actual: String,
    agrees: bool,
}

impl Line {
    fn same(field: &'static str, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        let (expected, actual) = (expected.into(), actual.into());
        let agrees = expected == actual;
        Self { field, expected, actual, agrees }
    }
}

fn compare(expected: &Expectation, Seen { explanation, changes }: &Seen) -> Vec<Line> {
    let seen = explanation.as_ref();
    let or_none = |name: Option<&Arc<str>>| name.map_or("none", |name| &**name).to_owned();
    let fit = seen.and_then(|seen| seen.fit);
    let lines = [
        expected.tier.as_ref().map(|tier| Line::same("tier", tier, or_none(seen.and_then(|seen| seen.tier.as_ref())))),
        expected.intent.map(|intent| intent_line(intent, expected.tolerance, seen.map_or(0.0, |seen| seen.intent))),
        expected.fit.map(|expected| fit_line(expected, fit)),
        expected.grade.as_ref().map(|grade| {
            let actual = fit.and_then(|fit| fit.grade).map_or("none".to_owned(), String::from);
            Line::same("grade", grade, actual)
        }),
        expected.segments.as_ref().map(|segments| {
            let actual = seen.map_or(Vec::new(), |seen| seen.segments.iter().map(|it| it.name.to_string()).collect());
            Line::same("segments", sorted(segments), sorted(&actual))
        }),
        expected
            .suppressed
            .as_ref()
            .map(|by| Line::same("suppressed", by, or_none(seen.and_then(|seen| seen.suppressed_by.as_ref())))),
        // Changes of one moment have no order that a test should depend on.
        expected.changes.as_ref().map(|expected| Line::same("changes", sorted(expected), sorted(changes))),
    ];
    lines.into_iter().flatten().collect()
}

fn intent_line(expected: f64, tolerance: f64, actual: f64) -> Line {
    let agrees = (expected - actual).abs() <= tolerance;
    Line { field: "intent", expected: format!("{expected} (± {tolerance})"), actual: format!("{actual:.3}"), agrees }
}

fn fit_line(expected: FitExpectation, actual: Option<FitScore>) -> Line {
    let points = actual.map(|fit| fit.points);
    let agrees = match (expected, points) {
        (FitExpectation::Unknown, None) => true,
        (FitExpectation::Points(expected), Some(actual)) => (expected - actual).abs() <= FIT_TOLERANCE,
        _ => false,
    };
    let expected = match expected {
        FitExpectation::Points(points) => points.to_string(),
        FitExpectation::Unknown => "unknown".to_owned(),
    };
    let actual = actual.map_or("unknown".to_owned(), |fit| format!("{} of {} known", fit.points, fit.coverage));
    Line { field: "fit", expected, actual, agrees }
}

fn sorted(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::model_file;

    const MODEL: &str = r#"model: m
version: 1
signals:
  - { name: visit, match: { type: page_view, path: "/pricing*" }, points: 12, half_life: 10d, cap: 45 }
  - { name: surge, match: { type: topic_score }, level: score, points: 0.5, half_life: 14d }
fit:
  criteria: [{ name: size, points: 100, match: { employees: { min: 50 } } }]
  grades: { A: 75, B: 50 }
tiers:
  - { name: warm, intent: { enter: 10, exit: 7 } }
segments:
  - { name: readers, action: mail, signal: visit, count: { min: 2 }, within: 7d }
suppress:
  - { name: customer, match: { lifecycle: customer } }
tests:
  - name: the only one
"#;

    /// What a test says that has these events and expectations.
    fn told(events: &[&str], expect: &[&str]) -> Vec<String> {
        let list = |lines: &[&str]| lines.iter().map(|line| format!("      - {{ {line} }}\n")).collect::<String>();
        let text = format!("{MODEL}    events:\n{}    expect:\n{}", list(events), list(expect));
        let loaded = model_file::parse(&text, "m.yaml").unwrap_or_else(|error| panic!("{error}"));
        run(&loaded.tests[0], &loaded.model)
    }

    #[test]
    fn what_is_as_expected_is_not_told() {
        let events = [
            "at: 0s, attributes: { employees: 70 }",
            "at: 1h, type: page_view, url: \"https://x.example/pricing\", times: 2",
            "at: 9d, attributes: { employees: 70, lifecycle: customer }",
        ];
        let expect = [
            "at: 0s, tier: none, intent: 0, fit: 100, grade: A, segments: [], suppressed: none, changes: []",
            "at: 1h, tier: warm, intent: 24, segments: [readers], changes: [enter readers, none -> warm]",
            "at: 8d, tier: warm, segments: [], changes: [exit readers]",
            "at: 9d, tier: none, suppressed: customer, changes: [warm -> none]",
            "at: 9d, account: account, intent: 12.9",
        ];
        assert_eq!(told(&events, &expect), Vec::<String>::new());
    }

    #[test]
    fn a_difference_shows_every_field_and_where_the_points_come_from() {
        let events = ["at: 0s, type: page_view, path: /pricing, times: 3", "at: 1d, type: topic_score, score: 8"];
        let expect = ["at: 10d, tier: none, intent: 18, fit: 50, grade: B, segments: [readers], changes: []"];
        let expected = "\
line 21: account at 10d
  ! tier       expected none                         was warm
  ! intent     expected 18 (± 0.05)                  was 20.562
  ! fit        expected 50                           was unknown
  ! grade      expected B                            was none
  ! segments   expected [readers]                    was []
  ! changes    expected []                           was [enter readers, exit readers, none -> warm]
       18.000 visit (count 3, last 10d before)
        2.562 surge (count 1, last 9d before)
";
        assert_eq!(told(&events, &expect), [expected]);
    }

    #[test]
    fn an_account_that_nothing_touched_has_nothing() {
        let events = ["at: 0s, type: page_view, path: /careers"];
        assert_eq!(told(&events, &["at: 1h, tier: none, intent: 0, fit: unknown, segments: []"]), Vec::<String>::new());
    }

    #[test]
    fn an_event_that_would_be_a_dead_letter_fails_the_test() {
        let told = told(&["at: 0s, type: topic_score, score: high"], &["at: 1h, tier: none"]);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("line 18: the input was refused: unknown_level at $.score"), "{}", told[0]);
    }
}
