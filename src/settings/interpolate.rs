//! `${…}` in configuration values, after the file was parsed: what is filled in is text, and never
//! read as YAML.

use std::{fs, io, path::Path};

use super::raw::Text;
use crate::wire::yaml::{Place, Problem};

/// What `${…}` is filled in from.
pub struct Surroundings {
    variable: fn(&str) -> Option<String>,
    file: fn(&Path) -> io::Result<String>,
}

impl Surroundings {
    /// The environment and the files of this process.
    pub fn of_process() -> Self {
        Self { variable: |name| std::env::var(name).ok(), file: |path| fs::read_to_string(path) }
    }

    /// Others, for tests.
    pub fn new(variable: fn(&str) -> Option<String>, file: fn(&Path) -> io::Result<String>) -> Self {
        Self { variable, file }
    }

    /// The text with every `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `${file:PATH}`
    /// filled in; `$${` stands for `${`. A variable that is empty counts as missing, as in a shell.
    pub(super) fn fill_in(&self, text: &Text) -> Result<String, Problem> {
        self.fill(&text.value).map_err(|(message, help)| Problem::new(Place::of(text), message).help(help))
    }

    fn fill(&self, text: &str) -> Result<String, (String, String)> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled += before;
                filled += "${";
                rest = &from[2..];
                continue;
            }
            let end = from.find('}').ok_or_else(|| {
                ("`${` without `}`".to_owned(), "write `$${` where the two characters are meant".to_owned())
            })?;
            filled += before;
            filled += &self.value(&from[2..end])?;
            rest = &from[end + 1..];
        }
        Ok(filled + rest)
    }

    fn value(&self, expression: &str) -> Result<String, (String, String)> {
        if let Some(path) = expression.strip_prefix("file:") {
            return self.content(path);
        }
        let (name, otherwise) = match expression.split_once(':') {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (expression, None),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err((
                "what `${` begins is not the name of a variable".to_owned(),
                "write `${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${file:/path}`".to_owned(),
            ));
        }
        let set = (self.variable)(name).filter(|value| !value.is_empty());
        match (set, otherwise) {
            (Some(value), _) => Ok(value),
            (None, None) => Err((
                format!("the environment has no variable `{name}`"),
                format!("set it, or write `${{{name}:-default}}`"),
            )),
            (None, Some(otherwise)) => match (otherwise.strip_prefix('-'), otherwise.strip_prefix('?')) {
                (Some(default), _) => Ok(default.to_owned()),
                (_, Some(message)) => {
                    Err((format!("the environment has no variable `{name}`: {message}"), "set it".to_owned()))
                }
                _ => Err((
                    format!("after `{name}:` comes `-` and a default, or `?` and a message"),
                    format!("write `${{{name}:-default}}` or `${{{name}:?message}}`"),
                )),
            },
        }
    }

    fn content(&self, path: &str) -> Result<String, (String, String)> {
        match (self.file)(Path::new(path)) {
            // Files of secrets commonly end in a line break that is not part of the secret.
            Ok(content) => Ok(content.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                Err((format!("cannot read `{path}`: {error}"), "make the file readable to this process".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, (String, String)> {
        let variable = |name: &str| match name {
            "HOST" => Some("kafka-1".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}: [x".to_owned()),
            _ => None,
        };
        let file = |path: &Path| match path.to_str() {
            Some("/run/secret") => Ok("s3cret\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Surroundings::new(variable, file).fill(text)
    }

    #[test]
    fn values_are_filled_in_once_and_as_text() {
        for (text, filled) in [
            ("plain", "plain"),
            ("${HOST}:9092,${HOST}:9093", "kafka-1:9092,kafka-1:9093"),
            ("${PORT:-9092}", "9092"),
            ("${EMPTY:-full}", "full"),
            ("${HOST:-other}", "kafka-1"),
            ("${PORT:-}", ""),
            ("${URL:-http://a:1}", "http://a:1"),
            ("${file:/run/secret}", "s3cret"),
            ("$${HOST} costs 5$", "${HOST} costs 5$"),
            ("${TRICK}", "${HOST}: [x"),
        ] {
            assert_eq!(fill(text).unwrap(), filled, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, message) in [
            ("${PORT}", "the environment has no variable `PORT`"),
            ("${EMPTY}", "the environment has no variable `EMPTY`"),
            ("${PORT:?the broker's port}", "the environment has no variable `PORT`: the broker's port"),
            ("${file:/nowhere}", "cannot read `/nowhere`: entity not found"),
            ("${HOST", "`${` without `}`"),
            ("${}", "what `${` begins is not the name of a variable"),
            ("${s3cret!}", "what `${` begins is not the name of a variable"),
            ("${PORT:9092}", "after `PORT:` comes `-` and a default, or `?` and a message"),
        ] {
            assert_eq!(fill(text).unwrap_err().0, message, "{text}");
        }
    }
}
