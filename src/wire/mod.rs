//! Bytes to and from model types.

pub mod answer;
pub mod attributes;
pub mod change;
pub mod dead_letter;
pub mod event;
pub mod fields;
pub mod model_file;
pub mod page;
pub mod record_time;
pub mod standing;
pub mod time;
mod url;
pub mod yaml;
