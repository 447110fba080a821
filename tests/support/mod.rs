//! What the integration tests and benchmarks need around Tidemark: a real Kafka broker, topics to
//! fill and to read, a real Prometheus, and the `tidemark` binary as a child process.
//!
//! Benchmarks include it by path: `#[path = "../tests/support/mod.rs"] mod support;`.

// Every test binary compiles this module for itself and uses another part of it.
#![allow(dead_code)]

pub mod dashboard;
pub mod deployment;
pub mod http;
pub mod kafka;
pub mod prometheus;
pub mod proxy;
pub mod tidemark;
pub mod topics;
pub mod verdict;
pub mod visits;

use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const POLL_PAUSE: Duration = Duration::from_millis(25);

/// Asks `check` again and again until it gives a value. The one place where a test waits.
///
/// # Panics
/// When `limit` has passed; the message names `what` was waited for.
pub fn wait_until<T>(what: &str, limit: Duration, check: impl FnMut() -> Option<T>) -> T {
    poll_until(limit, check).unwrap_or_else(|| panic!("waited {limit:?} in vain for: {what}"))
}

/// Like [`wait_until`], for callers that can tell more about the failure: nothing after `limit`.
pub fn poll_until<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL_PAUSE);
    }
}
