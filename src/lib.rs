//! Tidemark.

pub mod commands;
pub mod engine;
pub mod http;
pub mod log;
pub mod model;
pub mod runtime;
pub mod settings;
pub mod telemetry;
pub mod view;
pub mod wire;
