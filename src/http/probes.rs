//! For orchestrators and Prometheus: alive, ready, measured.

use std::{collections::BTreeMap, time::Instant};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Sources, problem::Problem};
use crate::view::{Phase, Status, WorkerSummary};

/// Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize)]
struct Liveness {
    live: bool,
    uptime_seconds: u64,
    /// What is wrong, a sentence each.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// What is waited for, a sentence each.
    waiting_for: Vec<String>,
    /// Assigned partitions by phase.
    partitions: BTreeMap<&'static str, Vec<i32>>,
}

/// Whether every worker's loop goes round. The broker has no say in it: an outage of Kafka would
/// otherwise restart all processes at once.
pub async fn live(State(sources): State<Sources>) -> Response {
    let (status, now) = (&sources.status, Instant::now());
    let problems = stalls(status, now);
    let liveness = Liveness { live: problems.is_empty(), uptime_seconds: status.uptime(now).as_secs(), problems };
    (status_code(liveness.live), Json(liveness)).into_response()
}

/// Whether every worker has joined the group and all partitions assigned to it are live.
pub async fn ready(State(sources): State<Sources>) -> Response {
    let now = Instant::now();
    let summaries = sources.status.summaries(now);
    let mut waiting_for = stalls(&sources.status, now);
    for (worker, summary) in summaries.iter().enumerate() {
        waiting_for.extend(unready(worker, summary));
    }
    let ready = waiting_for.is_empty();
    let readiness = Readiness { ready, waiting_for, partitions: by_phase(&summaries) };
    (status_code(ready), Json(readiness)).into_response()
}

/// All metrics.
pub async fn metrics(State(sources): State<Sources>) -> Result<Response, Problem> {
    let text = sources.metrics.render(&sources.view, &sources.status, Instant::now());
    let text = text.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], text).into_response())
}

fn status_code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn stalls(status: &Status, now: Instant) -> Vec<String> {
    let limit = status.stall_limit().as_secs();
    let sentence = |worker| format!("worker {worker} has not come round for more than {limit} s");
    status.stalled(now).into_iter().map(sentence).collect()
}

fn unready(worker: usize, summary: &WorkerSummary) -> Vec<String> {
    if summary.stopped {
        return vec![format!("worker {worker} has ended")];
    }
    if !summary.joined {
        return vec![format!("worker {worker} has no assignment from the consumer group yet")];
    }
    let behind = summary.phases.iter().filter(|(_, phase)| **phase != Phase::Live);
    behind.map(|(partition, phase)| format!("partition {} is {}", partition.0, phase.name())).collect()
}

fn by_phase(workers: &[WorkerSummary]) -> BTreeMap<&'static str, Vec<i32>> {
    let mut partitions: BTreeMap<_, _> = Phase::ALL.iter().map(|phase| (phase.name(), Vec::new())).collect();
    for (partition, phase) in workers.iter().flat_map(|worker| &worker.phases) {
        partitions.entry(phase.name()).or_default().push(partition.0);
    }
    partitions.values_mut().for_each(|numbers| numbers.sort_unstable());
    partitions
}
