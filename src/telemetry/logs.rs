//! Log lines: to standard error, for a person or for a machine.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("`{filter}` is no log filter ({reason}); write a level such as `info`, or `info,tidemark::runtime=debug`")]
    Filter { filter: String, reason: String },
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging for the whole process, once. `filter` is a level (`error`, `warn`, `info`,
/// `debug`, `trace`, `off`) or a list of `target=level`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = parse_filter(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    outcome.map_err(|_| LogError::Twice)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets() {
        for good in ["info", "off", "warn,tidemark::runtime=debug"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        let error = parse_filter("tidemark=loud").unwrap_err().to_string();
        assert!(error.starts_with("`tidemark=loud` is no log filter"), "{error}");
    }
}
