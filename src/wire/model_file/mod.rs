//! The model file (YAML, a public contract): from text to a checked [`Model`] and its tests.
//!
//! ```text
//! text --yaml--> raw shapes --compile--> Model (through its own checks) --cases--> tests
//! ```
//! Every problem names line and column, shows the line, and says what to do. Nothing is guessed:
//! unknown keys, unknown names and numbers out of range are problems.

use std::{fs, io, path::Path, sync::Arc};

mod cases;
mod checks;
mod compile;
mod digest;
mod lint;
mod matches;
mod raw;
mod raw_case;
mod rules;
mod signals;
#[cfg(test)]
mod tests;

pub use cases::{Expectation, FitExpectation, Input, InputKind, ModelTest};

use super::yaml::{self, Diagnostic, Problem};
use crate::model::Model;

/// Where a command looks for a model when none is named.
pub const DEFAULT_PATH: &str = "config/models/default.yaml";

/// A model with what its file has beyond it.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    pub model: Arc<Model>,
    /// In the order of the file.
    pub tests: Vec<ModelTest>,
    /// What is legal, but probably not what was meant.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file is not there, or not text.
    #[error("cannot read the model file {path}: {source}")]
    Read { path: String, source: io::Error },
    /// The text is not a model.
    #[error("{0}")]
    Wrong(Box<Diagnostic>),
}

/// Reads a model from a file.
pub fn load(path: &Path) -> Result<LoadedModel, ModelFileError> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, &name),
        Err(source) => Err(ModelFileError::Read { path: name, source }),
    }
}

/// Reads a model from text; `file_name` is for the messages.
pub fn parse(text: &str, file_name: &str) -> Result<LoadedModel, ModelFileError> {
    let diagnostic = |problem: Problem| problem.in_file(file_name, text);
    let (model, tests, warnings) =
        read(text).map_err(|problem| ModelFileError::Wrong(Box::new(diagnostic(problem))))?;
    Ok(LoadedModel { model: Arc::new(model), tests, warnings: warnings.into_iter().map(diagnostic).collect() })
}

fn read(text: &str) -> Result<(Model, Vec<ModelTest>, Vec<Problem>), Problem> {
    let mut raw: raw::RawModel = yaml::from_str(text)?;
    let warnings = lint::lint(&raw);
    let tests = std::mem::take(&mut raw.tests);
    let model = compile::compile(raw)?;
    let tests = cases::tests(tests, &model)?;
    Ok((model, tests, warnings))
}
