//! Questions about accounts: one of them in full, or the standings of a tier.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{Sources, problem::Problem};
use crate::{
    view::{AskError, WorkerSummary},
    wire::answer::{encode_account, encode_listing},
};

/// How long the owning worker may take; it may be in the midst of a commit.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// Standings in one answer, unless asked otherwise.
const PAGE: usize = 100;
/// The most standings in one answer.
const PAGE_MAX: usize = 1000;
/// Stands for the accounts without a tier.
const NONE: &str = "none";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    tier: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// One account: what was published of it, and its score by signal now.
pub async fn show(
    State(sources): State<Sources>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|rejection| bad_request(rejection.body_text()))?;
    let account: Arc<str> = id.into();
    let whole = is_whole(&sources);
    let explanation = sources.queries.ask(account.clone(), None, ASK_LIMIT).await.map_err(|error| busy(&error))?;
    // Asked after the worker: what it had committed before it answered is in the view.
    let published = sources.view.get(&account);
    match explanation {
        Some(explanation) => Ok(json(encode_account(&explanation, published.as_ref(), sources.model.id()))),
        None => Err(unknown(&account, whole && is_whole(&sources))),
    }
}

/// The standings of a tier, or of those without one, in the order of their account ids: those of the
/// partitions of this process, or none of them.
pub async fn list(
    State(sources): State<Sources>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Listing { tier, limit, cursor }) = listing.map_err(|rejection| bad_request(rejection.body_text()))?;
    let tier = tier_asked_for(&sources, tier.as_deref())?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad_request(format!("`limit` is {limit}; it must be from 1 to {PAGE_MAX}")));
    }
    let whole = is_whole(&sources);
    let page = sources.view.by_tier(tier, limit, cursor.as_deref());
    if !(whole && is_whole(&sources)) {
        return Err(not_whole("a list would lack accounts"));
    }
    Ok(json(encode_listing(&page.standings, page.next.as_deref(), sources.model.id())))
}

/// The tier that the parameter names; nothing stands for `none`.
fn tier_asked_for<'a>(sources: &Sources, tier: Option<&'a str>) -> Result<Option<&'a str>, Problem> {
    let names: Vec<&str> = sources.model.tiers().iter().map(|tier| &*tier.name).chain([NONE]).collect();
    match tier {
        Some(NONE) => Ok(None),
        Some(name) if names.contains(&name) => Ok(Some(name)),
        Some(name) => Err(bad_request(format!("the model has no tier `{name}`; it has {}", names.join(", ")))),
        None => Err(bad_request(format!("say which tier: ?tier= one of {}", names.join(", ")))),
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn busy(error: &AskError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; try again"))
}

fn unknown(account: &str, whole: bool) -> Problem {
    if !whole {
        return not_whole(&format!("`{account}` is not known yet"));
    }
    let detail = format!(
        "no account `{account}` among the partitions of this process; another member of the consumer group may own it"
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// Whether the process shows all accounts of all its partitions. Without that, before and after a look, not
/// to have found an account does not mean that there is none.
fn is_whole(sources: &Sources) -> bool {
    sources.status.summaries(Instant::now()).iter().all(WorkerSummary::is_live)
}

fn not_whole(what: &str) -> Problem {
    let detail = format!("{what}: not all partitions of this process are assigned and live; see /readyz");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
