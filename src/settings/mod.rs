//! The service configuration: a YAML file, checked once. `config/tidemark.yaml` explains every key.
//!
//! `raw` is the file as written, `interpolate` fills in `${…}`, `check` makes [`Settings`] of it.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    log::kafka::KafkaConfig,
    model::Span,
    telemetry::{LogFilter, LogFormat},
    wire::yaml::{self, Diagnostic},
};

mod check;
mod interpolate;
mod raw;

pub use interpolate::Surroundings;

/// The key under which persons are hashed unless one is configured: everybody knows it.
const PUBLIC_PERSON_KEY: &str = "tidemark-public-development-key";

/// What the keys of secrets have in their names: a mistake in such a line is told without the line.
const SECRETIVE: [&str; 4] = ["password", "secret", "token", "key"];

/// The whole configuration, checked. Secrets do not show in its `Debug`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to talk to Kafka.
    pub kafka: KafkaConfig,
    /// Worker threads of this process. At least 1.
    pub workers: usize,
    /// The model file.
    pub model: PathBuf,
    /// Where reading begins when the group has no offsets yet.
    pub start_from: StartFrom,
    /// How late an event may be and still be judged at its own time.
    pub grace: Span,
    /// Events further ahead of their record time than this are refused.
    pub max_future_skew: Span,
    /// Every dirty page is stored once in this time.
    pub checkpoint_interval: Duration,
    pub commit: CommitSettings,
    pub http: HttpSettings,
    /// What the key that persons are hashed under is derived from.
    pub person_key: Secret,
    pub log: LogSettings,
}

/// Where HTTP is served, and to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpSettings {
    pub listen: SocketAddr,
    /// What a request must bring; never missing where `listen` is beyond this machine.
    pub token: Option<Secret>,
}

/// When a worker commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommitSettings {
    /// Between commits, when no change waits.
    pub interval: Duration,
    /// Between the beginnings of commits, when changes wait.
    pub min_interval: Duration,
    /// Records after which a commit does not wait any longer; at least 1.
    pub max_records: u64,
}

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// Nothing: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    pub level: LogFilter,
}

/// Where reading begins when the group has no offsets yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartFrom {
    Earliest,
    Latest,
}

/// A text that is not shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for where it is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the configuration {path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Wrong(#[from] Box<Diagnostic>),
}

impl Settings {
    /// Reads and checks a configuration file, with the process's environment for `${…}`.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text =
            fs::read_to_string(path).map_err(|error| SettingsError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text, path, &Surroundings::of_process())
    }

    /// Checks the text of a configuration file; paths in it are relative to that of the file.
    pub fn parse(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Self, SettingsError> {
        let base = path.parent().unwrap_or(Path::new(""));
        yaml::from_str(text)
            .and_then(|raw| check::settings(raw, base, surroundings))
            .map_err(|problem| problem.hide_line_with(&SECRETIVE, text))
            .map_err(|problem| SettingsError::Wrong(Box::new(problem.in_file(&path.display().to_string(), text))))
    }

    /// What deserves a warning at the start, though it works.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.kafka.properties.warnings();
        if self.person_key.expose() == PUBLIC_PERSON_KEY {
            warnings.push(
                "persons are hashed under the public development key: whoever reads the state topic can find out \
                 known persons in it; set `privacy.person_key` (TIDEMARK_PERSON_KEY) before there is real data, as a \
                 new key makes everybody a new person"
                    .to_owned(),
            );
        }
        warnings
    }
}
