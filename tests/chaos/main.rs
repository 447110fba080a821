//! Chaos on a real Kafka: processes die, stand still and come back, brokers and connections fail,
//! input is rubbish, administrators err. Whatever happens, what is published in the end is what a
//! replay of the same events says, each change once and in order (`support/verdict.rs`).
//!
//! `FAULTS.md` beside this file lists the faults, what must be seen, and the test that shows it.
//!
//! The quick set is part of `cargo test`. The long one has bigger numbers, longer outages and a
//! random sequence of faults: `cargo test --release --test chaos -- --ignored --nocapture` (optimised,
//! since an audit of a million falls has much to do). Its seed is printed; `TIDEMARK_SEED` repeats it,
//! and `TIDEMARK_CHAOS_SECONDS` says how long it goes on.

#[path = "../support/mod.rs"]
mod support;

mod administrators;
mod brokers;
mod connections;
mod faults;
mod input;
mod load;
mod members;
mod points;
mod random;
mod zombies;
