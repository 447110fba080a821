//! Scenario tables: how they are read and run. `tests/scenarios/README.md` describes the format.

mod tell;

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Map, Value, json};
use tell::{tell_account, tell_changes};
use tidemark::{
    engine::{Engine, Mode, PageId, Step},
    model::{Model, Span, Timestamp},
    wire::{
        attributes::AttributeDecoder,
        event::{Decoded, Decoder, PersonKey, RawRecord},
        model_file,
        time::{format_rfc3339, parse_rfc3339, parse_span},
    },
};

const GRACE: Span = Span::seconds(5);
const MAX_FUTURE_SKEW: Span = Span::seconds(300);

/// A model and the stories about it.
pub struct Table {
    model: Arc<Model>,
    lines: Vec<Line>,
}

/// One line of a story.
struct Line {
    number: usize,
    story: String,
    text: String,
    at: Timestamp,
    deed: Deed,
    expected: String,
}

enum Deed {
    /// Time passes for all accounts.
    Tick,
    /// Accounts of which nothing matters any more are forgotten.
    Sweep,
    Event {
        account: String,
        kind: String,
        words: Vec<String>,
    },
    /// What the account's attributes are from now on.
    Attributes {
        account: String,
        words: Vec<String>,
    },
    /// The account's attributes are unknown again: a tombstone.
    Forget {
        account: String,
    },
    /// Tells about the account.
    Show {
        account: String,
    },
}

/// What a line should have brought, and what it brought.
pub struct Outcome {
    pub line: usize,
    pub story: String,
    pub text: String,
    pub expected: String,
    pub actual: String,
}

/// When all stories begin.
pub fn start() -> Timestamp {
    parse_rfc3339("2026-01-01T00:00:00Z").expect("a valid time")
}

impl Table {
    /// Reads a table; an error names file and line.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let (header, stories) = text.split_once("\n---\n").ok_or(format!("{file}: no line `---` after the model"))?;
        let loaded = model_file::parse(header, file).map_err(|error| error.to_string())?;
        let first = header.lines().count() + 2;
        let (mut lines, mut story) = (Vec::new(), String::new());
        for (number, text) in stories.lines().enumerate().map(|(index, text)| (first + index, text)) {
            if let Some(title) = text.strip_prefix("## ") {
                story = title.to_owned();
            } else if !text.trim().is_empty() && !text.starts_with('#') {
                lines.push(Line::parse(number, &story, text).map_err(|error| format!("{file}:{number}: {error}"))?);
            }
        }
        Ok(Self { model: loaded.model, lines })
    }

    /// Tells all stories, each with new accounts.
    pub fn run(&self) -> Vec<Outcome> {
        let mut stage = Stage::new(&self.model);
        let mut told = "";
        let mut outcomes = Vec::new();
        for line in &self.lines {
            if line.story != told {
                (stage, told) = (Stage::new(&self.model), &line.story);
            }
            outcomes.push(Outcome {
                line: line.number,
                story: line.story.clone(),
                text: line.text.clone(),
                expected: line.expected.clone(),
                actual: stage.play(line),
            });
        }
        outcomes
    }
}

impl Line {
    fn parse(number: usize, story: &str, text: &str) -> Result<Self, String> {
        let (deed, expected) = text.split_once('#').unwrap_or((text, ""));
        let mut words: VecDeque<&str> = deed.split_whitespace().collect();
        let mut next = |what: &str| words.pop_front().map(str::to_owned).ok_or(format!("{what} is missing"));
        let at = moment(&next("the time")?)?;
        let account = next("the account")?;
        let deed = if account == "tick" {
            Deed::Tick
        } else if account == "sweep" {
            Deed::Sweep
        } else {
            let kind = next("what happens")?;
            let words = words.iter().map(|word| word.to_string()).collect();
            match &*kind {
                "is" => Deed::Attributes { account, words },
                "forget" => Deed::Forget { account },
                "show" => Deed::Show { account },
                _ => Deed::Event { account, kind, words },
            }
        };
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = if expected.is_empty() { "nothing".to_owned() } else { expected };
        Ok(Self { number, story: story.to_owned(), text: text.trim().to_owned(), at, deed, expected })
    }
}

/// A moment as the tables write it: `3d`, and `3d-1ms` for the millisecond before.
fn moment(text: &str) -> Result<Timestamp, String> {
    let (ahead, back) = text.split_once('-').unwrap_or((text, "0s"));
    let span = |text| parse_span(text).map_err(|error| error.to_string());
    Ok((start() + span(ahead)?).back(span(back)?))
}

/// An engine with all that stands before it.
struct Stage {
    engine: Engine,
    events: Decoder,
    attributes: AttributeDecoder,
    ids: u64,
}

impl Stage {
    fn new(model: &Arc<Model>) -> Self {
        Self {
            engine: Engine::new(model.clone(), GRACE),
            events: Decoder::new(model.clone(), PersonKey::from_secret("scenarios"), MAX_FUTURE_SKEW),
            attributes: AttributeDecoder::new(model.clone()),
            ids: 0,
        }
    }

    fn play(&mut self, line: &Line) -> String {
        let mut step = Step::default();
        match &line.deed {
            Deed::Tick => {
                while self.engine.advance(line.at, 1, line.at, &mut step) {}
                tell_changes(&step, None, line.at)
            }
            Deed::Sweep => {
                for page in PageId::all() {
                    self.engine.sweep(page, line.at, &mut step);
                }
                tell_changes(&step, None, line.at)
            }
            Deed::Show { account } => tell_account(&self.engine, account, line.at),
            Deed::Event { account, kind, words } => self.event(line.at, account, kind, words),
            Deed::Attributes { account, words } => {
                let fields = words.iter().map(|word| field(word)).collect::<Map<_, _>>();
                self.attributes(line.at, account, Some(&Value::Object(fields).to_string()))
            }
            Deed::Forget { account } => self.attributes(line.at, account, None),
        }
    }

    fn event(&mut self, at: Timestamp, account: &str, kind: &str, words: &[String]) -> String {
        self.ids += 1;
        let (mut time, mut times) = (at, 1);
        let mut event = Map::from_iter([("account".to_owned(), json!(account)), ("type".to_owned(), json!(kind))]);
        event.insert("id".to_owned(), json!(format!("event {}", self.ids)));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut span = || parse_span(words.next().expect("a duration follows")).expect("a duration");
            match &**word {
                "late" => time = at.back(span()),
                "early" => time = at + span(),
                word if word.starts_with('x') && !word.contains('=') => times = word[1..].parse().expect("a number"),
                word => event.extend([field(word)]),
            }
        }
        event.insert("time".to_owned(), json!(format_rfc3339(time)));
        let mut step = Step::default();
        for again in 0..times {
            if again > 0 {
                self.ids += 1;
                event.insert("id".to_owned(), json!(format!("event {}", self.ids)));
            }
            let json = Value::Object(event.clone()).to_string();
            let record = RawRecord { key: None, value: Some(json.as_bytes()), recorded: Some(at) };
            match self.events.decode(record) {
                Ok(Decoded::Event(event)) => self.engine.apply(&event, Mode::Live, at, &mut step),
                Ok(Decoded::Ignored { why, .. }) => return format!("ignored: {}", why.name()),
                Err(rejected) => return format!("dead letter: {}", rejected.fault.name()),
            }
        }
        tell_changes(&step, Some(account), at)
    }

    fn attributes(&mut self, at: Timestamp, account: &str, value: Option<&str>) -> String {
        let record = RawRecord { key: Some(account.as_bytes()), value: value.map(str::as_bytes), recorded: Some(at) };
        let mut step = Step::default();
        match self.attributes.decode(record) {
            Ok(attributes) => self.engine.apply_attributes(&attributes, Mode::Live, at, &mut step),
            Err(rejected) => return format!("dead letter: {}", rejected.fault.name()),
        }
        tell_changes(&step, Some(account), at)
    }
}

/// `key=value`: a number, a truth value, a list (`a|b`), or else text.
fn field(word: &str) -> (String, Value) {
    let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("`{word}` is not key=value"));
    let scalar = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    let value = if value.contains('|') { value.split('|').map(scalar).collect() } else { scalar(value) };
    (key.to_owned(), value)
}
