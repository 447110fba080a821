//! YAML into raw types, and problems that say where, what, and what to do about it.

use std::{error, fmt};

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location, MessageFormatter, Spanned, UserMessageFormatter};

/// The longest file that is read. What people write by hand is a hundredth of it.
const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting: far beyond any sensible rule, and far from the end of the stack.
const MAX_DEPTH: usize = 48;

/// The most nodes, the ones that aliases repeat included: a short file of nested aliases can stand
/// for billions.
const MAX_NODES: usize = 100_000;

/// Reads one document. Unknown keys are problems if `T` denies them.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; the limit is {MAX_BYTES}", text.len());
        return Err(Problem::new(Place::START, message));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            flow_nesting_limit: MAX_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        // Without these, a match on the text `no` or `007` would silently become one on another type.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Problem::of(&error))
}

/// Where something stands in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In characters, at least 1.
    length: usize,
}

impl Place {
    /// The beginning of the file: for what concerns it as a whole.
    pub const START: Self = Self { line: 1, column: 1, length: 1 };

    /// Where a value was written. Of an alias that is its anchor: there it can be mended.
    pub fn of<T>(value: &Spanned<T>) -> Self {
        Self::at(value.defined)
    }

    fn at(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()), length: number(location.span().len()) }
    }
}

/// What is wrong at a place, before it is known in which file.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    place: Place,
    message: String,
    help: Option<String>,
    line_shown: bool,
}

impl Problem {
    /// A problem; `message` is a fragment that names the thing at fault.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None, line_shown: true }
    }

    /// The same problem with what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same problem, told without the line at fault: it may hold a secret.
    pub fn hide_line(mut self) -> Self {
        self.line_shown = false;
        self
    }

    /// The same problem, without the line at fault if that, the one before it, or the advice has one of some
    /// words, in lower case.
    pub fn hide_line_with(self, words: &[&str], text: &str) -> Self {
        let near = text.lines().skip(self.place.line.saturating_sub(2)).take(self.place.line.min(2));
        let told: Vec<String> = near.chain(self.help.as_deref()).map(str::to_lowercase).collect();
        let found = words.iter().any(|word| told.iter().any(|told| told.contains(word)));
        if found { self.hide_line() } else { self }
    }

    /// The same problem as a person sees it: with the file's name and the line at fault.
    pub fn in_file(self, file: &str, text: &str) -> Diagnostic {
        let Self { place, message, help, line_shown } = self;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = line_shown.then(|| text.lines().nth(place.line - 1).unwrap_or_default().to_owned());
        Diagnostic { file: file.to_owned(), place, message, help, source }
    }

    fn of(error: &Error) -> Self {
        if let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = error {
            return Self::of(error);
        }
        let place = error.location().map_or(Place::START, Place::at);
        let problem = |message: &str| Self::new(place, message);
        match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                problem(&format!("unknown key `{field}`")).help(suggest(field, expected.iter().copied(), "keys here"))
            }
            Error::SerdeMissingField { field, .. } => problem(&format!("`{field}` is missing here")),
            Error::DuplicateMappingKey { key, .. } => {
                problem(&format!("key `{}` stands twice", key.as_deref().unwrap_or("?")))
            }
            Error::NullIntoString { .. } => problem("the value is missing"),
            Error::Unexpected { expected: "mapping start", .. } => {
                problem("expected a mapping").help("write `key: value` lines below, or `{ key: value }`")
            }
            Error::Unexpected { expected: "sequence start", .. } => {
                problem("expected a list").help("write `- item` lines below, or `[a, b]`")
            }
            Error::Unexpected { expected: "string scalar", .. } => problem("expected a single value"),
            Error::InvalidScalar { ty: "floating point", .. } => problem("expected a number"),
            Error::InvalidScalar { ty: "u32" | "u16" | "u8" | "u64" | "usize", .. } => {
                problem("expected a whole number, 0 or more")
            }
            Error::InvalidBooleanStrict { .. } => problem("expected `true` or `false`"),
            Error::Eof { .. } => problem("the file is empty"),
            Error::MultipleDocuments { .. } => {
                problem("a second document begins here").help("one file is one document: remove the `---`")
            }
            error => problem(&UserMessageFormatter.format_message(error)),
        }
    }
}

/// A problem or a warning in a file. Displays itself with the line at fault, unless that is hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    file: String,
    place: Place,
    message: String,
    help: Option<String>,
    /// The line at fault.
    source: Option<String>,
}

impl Diagnostic {
    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What is wrong, without place and advice.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, length } = self.place;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{}", plain(&self.message))?;
        write!(f, "{gutter}--> {}:{line}:{column}", plain(&self.file))?;
        if let Some(source) = &self.source {
            let (source, column) = excerpt(source, column);
            // A place may lie behind the end of its line, and a multi-line text is as long as all of it.
            let length = length.min((source.chars().count() + 1).saturating_sub(column)).max(1);
            let (indent, carets) = (" ".repeat(column - 1), "^".repeat(length));
            write!(f, "\n{gutter} |\n{number} | {source}\n{gutter} | {indent}{carets}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{gutter} = help: {}", plain(help)),
            None => Ok(()),
        }
    }
}

/// The part of a line around a column that fits on a screen, one cell per character, and the
/// column within it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 80;
    const WIDTH: usize = 160;
    let skipped = column.saturating_sub(BEFORE + 1);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let part = line.chars().skip(skipped).take(WIDTH).map(visible).collect::<String>();
    (part.trim_end().to_owned(), column - skipped)
}

/// Text from a file may hold anything; a terminal gets it without control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { plain.extend(c.escape_debug()) } else { plain.push(c) }
    }
    plain
}

/// Advice on an unknown word: the known one that it was probably meant to be, else all of them.
pub fn suggest<'a>(word: &str, known: impl Iterator<Item = &'a str>, what: &str) -> String {
    let known: Vec<&str> = known.collect();
    let nearest = known.iter().min_by_key(|known| strsim::osa_distance(word, known));
    match nearest {
        Some(nearest) if strsim::osa_distance(word, nearest) <= word.len().max(3) / 3 => {
            format!("did you mean `{nearest}`?")
        }
        Some(_) => format!("{what}: {}", known.join(", ")),
        None => format!("{what}: none"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "read by the deserializer only")]
        points: Spanned<f64>,
        #[expect(dead_code, reason = "read by the deserializer only")]
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "read by the deserializer only")]
        name: String,
    }

    fn told(text: &str) -> String {
        let problem = from_str::<Outer>(text).expect_err(text);
        problem.in_file("a.yaml", text).to_string()
    }

    #[test]
    fn a_problem_shows_its_place_and_what_to_do() {
        assert_eq!(
            told("points: 1\ninner:\n  - nmae: x\n"),
            "unknown key `nmae`\n --> a.yaml:3:5\n  |\n3 |   - nmae: x\n  |     ^^^^\n  = help: did you mean `name`?"
        );
    }

    #[test]
    fn every_kind_of_wrong_shape_is_told_in_plain_words() {
        for (text, place, message) in [
            ("", ":1:1", "the file is empty"),
            ("inner: []", ":1:1", "`points` is missing here"),
            ("points: 1\nzebra: 2", ":2:1", "help: keys here: points, inner"),
            ("points: 1\npoints: 2", ":2:1", "key `points` stands twice"),
            ("points: many", ":1:9", "expected a number"),
            ("points: {}", ":1:9", "expected a single value"),
            ("points: 1\ninner: x", ":2:8", "expected a list"),
            ("points: 1\ninner: [x]", ":2:9", "expected a mapping"),
            ("points: 1\ninner: [{name: }]", ":2:", "the value is missing"),
            ("points: 1\n---\npoints: 2", ":3:1", "remove the `---`"),
            ("points: 1\n\tinner: x", ":1:9", "tab"),
        ] {
            let told = told(text);
            assert!(told.contains(message) && told.contains(place), "{text:?} gave\n{told}");
        }
    }

    #[test]
    fn bombs_are_defused() {
        let deep = "points: 1\ninner: ".to_owned() + &"[".repeat(100_000);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let list = format!("*a{}, ", i - 1).repeat(9);
            bomb += &format!("a{i}: &a{i} [{list}]\n");
        }
        for text in [deep.as_str(), &bomb, &"x".repeat(MAX_BYTES + 1), &"- ".repeat(50_000)] {
            from_str::<serde_json::Value>(text).expect_err("too much");
        }
    }

    #[test]
    fn what_a_file_holds_cannot_steer_a_terminal() {
        let told = told("points: 1\n\"\\e[31m\": \u{1b}[2J2");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let told = told(&format!("{{points: 1, {} inner: 7}}", " ".repeat(500)));
        assert!(told.lines().all(|line| line.chars().count() < 180) && told.contains("inner: 7"), "{told}");
    }
}
