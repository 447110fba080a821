//! Tidemark: account intent that fades, and tier changes that go out exactly once.
//!
//! The library is the whole service; the binary only parses the command line. Data flows one way:
//!
//! ```text
//! log -> wire -> engine -> Step -> commit -> view
//! ```
//!
//! - [`model`]: the compiled scoring model and the vocabulary. Plain data behind checked
//!   constructors; uses nothing else of the crate.
//! - [`engine`]: decides. Pure, synchronous, clock-free, and it cannot fail. The same engine serves
//!   the live service, replays, model tests and simulation.
//! - [`wire`]: bytes to and from model types: events, changes, standings, state pages, model files.
//! - [`log`]: what we need of a log, as a trait: Kafka, in memory for tests, and files for replays.
//! - [`runtime`]: the only loop. A worker is one thread that owns one log and its partitions outright.
//! - [`view`]: committed standings for readers; single-account questions go to the owning worker.
//! - [`http`], [`telemetry`], [`settings`], [`commands`]: the service's edge.
//! - [`drill`]: faults on purpose, for the tests of the promise; nothing of it is in a release build.
//!
//! What holds everywhere:
//!
//! - An account's state is a commutative merge: in whatever order events arrive, the same events
//!   give the same state.
//! - What is published is a function of the log, not of batches, timers, restarts or speed.
//! - Outputs, state and offsets go out in one transaction; readers see nothing before it is
//!   committed. After any doubt, a worker drops its partitions and restores. There is no undo code.
//! - A record is applied, dead-lettered, or counted as ignored with its reason.
//! - `model` and `engine` name no runtime, client, serialiser or clock; `tests/architecture.rs` holds
//!   them to it.

pub mod commands;
pub mod drill;
pub mod engine;
pub mod http;
pub mod log;
pub mod model;
pub mod runtime;
pub mod settings;
pub mod telemetry;
pub mod view;
pub mod wire;
