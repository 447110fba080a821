//! Log lines: to standard error, for a person or for a machine.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One readable line each, coloured on a terminal.
    Text,
    /// One JSON object a line, fields at its top level.
    Json,
}

impl LogFormat {
    /// Text for a person at a terminal, JSON for whatever else collects standard error.
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Which log lines are written: those of a level and above, by where they come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Warnings and errors: for commands whose results are what they print.
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    /// Reads a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or a list of levels and
    /// `target=level`.
    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let refused = |reason: String| LogFilterError { filter: text.to_owned(), reason };
        // The library takes any other word for the name of a target, and then shows nothing of all others.
        let is_level = |part: &str| part.contains(['=', '[']) || LevelFilter::from_str(part).is_ok();
        if let Some(word) = text.split(',').find(|part| !is_level(part)) {
            return Err(refused(format!("`{word}` is not one of error, warn, info, debug, trace, off")));
        }
        EnvFilter::builder().parse(text).map_err(|error| refused(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

/// Why a text is no log filter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{filter}` is no log filter ({reason}); write a level such as `info`, or `info,kafka=debug`")]
pub struct LogFilterError {
    filter: String,
    reason: String,
}

/// Sets up logging for the whole process.
///
/// # Panics
/// If that was done already.
pub fn init(format: LogFormat, LogFilter(filter): &LogFilter) {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets() {
        for good in ["info", "off", "WARN", "warn,worker=debug", "tidemark[span{a=1}]=trace"] {
            assert_eq!(good.parse(), Ok(LogFilter(good.to_owned())), "{good}");
        }
        for (bad, word) in [("worker=loud", "worker=loud"), ("warning", "`warning`"), ("info,kafka", "`kafka`")] {
            let error = bad.parse::<LogFilter>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{bad}` is no log filter")) && error.contains(word), "{error}");
        }
    }
}
