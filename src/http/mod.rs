//! HTTP: probes, metrics, and questions about accounts. Read-only; it waits for the workers, never
//! they for it.

use std::sync::Arc;

use axum::{Router, middleware, response::Html, routing::get};

use crate::{
    model::Model,
    telemetry::Metrics,
    view::{QueryRouter, Status, View},
};

mod accounts;
mod guard;
mod listener;
mod probes;
mod problem;
#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use listener::{Limits, serve};

/// Where the answers come from.
#[derive(Clone, Debug)]
pub struct Sources {
    pub model: Arc<Model>,
    pub view: Arc<View>,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    pub queries: QueryRouter,
}

/// All routes, behind the limits that hold for each of them.
pub fn router(sources: Sources, guard: Guard) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("index.html"))))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .route("/api/v1/accounts", get(accounts::list))
        .route("/api/v1/accounts/{id}", get(accounts::show))
        .fallback(problem::no_such_address)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state(guard, guard::limit))
        .with_state(sources)
}
