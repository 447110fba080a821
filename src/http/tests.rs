use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    engine::Explanation,
    log::Partition,
    model::{Band, Fit, FitScore, ModelId, ModelParts, Reason, SegmentSince, Span, Standing, Tier, Timestamp},
    telemetry::Vocabulary,
    view::{AccountQuery, Phase, WorkerStatus},
};

const DAY: i64 = 86_400_000;

fn model() -> Model {
    let tier = |name: &str, enter| {
        let intent = Band::new(enter, enter / 2.0);
        Tier { name: name.into(), intent, fit: None, rule: None, min_dwell: Span::ZERO }
    };
    Model::new(ModelParts {
        id: ModelId { name: "abm".into(), version: 3, digest: "d1".into() },
        event_keys: Vec::new(),
        attribute_keys: Vec::new(),
        ignore: Vec::new(),
        signals: Vec::new(),
        distinct_sets: Vec::new(),
        facts: Vec::new(),
        fit: Fit::default(),
        tiers: vec![tier("hot", 40.0), tier("warm", 10.0)],
        segments: Vec::new(),
        suppress: Vec::new(),
    })
    .unwrap()
}

fn standing(account: &str, tier: Option<&str>) -> Standing {
    Standing {
        account: account.into(),
        tier: tier.map(Arc::from),
        since: Some(Timestamp::from_millis(DAY)),
        segments: vec![SegmentSince { name: "evaluators".into(), since: Timestamp::from_millis(DAY) }],
        suppressed_by: None,
        intent: 41.5,
        fit: Some(FitScore { points: 75.0, coverage: 90.0, grade: Some('B') }),
        as_of: Timestamp::from_millis(DAY),
        next_change_at: None,
        sequence: 7,
        gained: Vec::new(),
    }
}

fn explanation(account: Arc<str>) -> Explanation {
    let signal = Reason { signal: "pricing".into(), points: 30.0, count: 3, last_seen: Timestamp::from_millis(DAY) };
    Explanation {
        account,
        at: Timestamp::from_millis(2 * DAY),
        tier: Some("hot".into()),
        since: Some(Timestamp::from_millis(DAY)),
        segments: Vec::new(),
        suppressed_by: None,
        intent: 30.0,
        fit: None,
        contributions: vec![signal],
        next_change_at: Some(Timestamp::from_millis(3 * DAY)),
        settled: Timestamp::from_millis(DAY),
        sequence: Some(7),
    }
}

/// A server with one worker that knows `acme.com`.
pub(super) struct Server {
    pub(super) sources: Sources,
    guard: Guard,
    questions: std::sync::mpsc::Receiver<AccountQuery>,
}

impl Server {
    fn new() -> Self {
        let model = Arc::new(model());
        let metrics = Metrics::new(Vocabulary { model: &model, ignored: &[], dead_letters: &["malformed"] }).unwrap();
        let (queries, mut questions) = QueryRouter::new(1);
        let view = Arc::new(View::new());
        let tenure = view.begin();
        view.publish(tenure, [standing("acme.com", Some("hot")), standing("globex.com", Some("hot"))]);
        view.publish(tenure, [standing("quiet.com", None)]);
        let status = Arc::new(Status::new(1, Duration::from_secs(60), Instant::now()));
        let sources = Sources { model, view, status, metrics: Arc::new(metrics), queries };
        let guard = Guard::new("127.0.0.1:8080".parse().unwrap(), None);
        Self { sources, guard, questions: questions.pop().unwrap() }
    }

    /// All partitions are live, and the worker answers.
    pub(super) fn running() -> Self {
        let Self { sources, guard, questions } = Self::new();
        sources.status.worker(0).assigned(&[Partition(0)]);
        sources.status.worker(0).reached(Partition(0), Phase::Live);
        let (_, unused) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for question in questions {
                if &*question.account == "acme.com" {
                    let answer = explanation(question.account.clone());
                    question.answer(answer);
                }
            }
        });
        Self { sources, guard, questions: unused }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String, String) {
        let response = router(self.sources.clone(), self.guard).oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, kind, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert!(kind.ends_with("json"), "{path} answered with {kind}: {body}");
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn problem(&self, path: &str, status: u16) -> String {
        let (_, kind, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(kind, "application/problem+json", "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&json!(status), &json!("about:blank")), "{body}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_account_shows_its_score_by_signal_and_what_was_published() {
    let (status, body) = Server::running().get("/api/v1/accounts/acme.com").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "account": "acme.com",
        "at": "1970-01-03T00:00:00.000Z",
        "tier": "hot",
        "since": "1970-01-02T00:00:00.000Z",
        "segments": [],
        "suppressed_by": null,
        "intent": 30.0,
        "fit": null,
        "signals": [{"name": "pricing", "points": 30.0, "count": 3, "last_seen": "1970-01-02T00:00:00.000Z"}],
        "next_change_at": "1970-01-04T00:00:00.000Z",
        "settled_at": "1970-01-02T00:00:00.000Z",
        "sequence": 7,
        "published": {
            "account": "acme.com",
            "model": {"name": "abm", "version": 3, "digest": "d1"},
            "tier": "hot",
            "since": "1970-01-02T00:00:00.000Z",
            "segments": [{"name": "evaluators", "since": "1970-01-02T00:00:00.000Z"}],
            "suppressed_by": null,
            "intent": 41.5,
            "fit": {"points": 75.0, "coverage": 90.0, "grade": "B"},
            "as_of": "1970-01-02T00:00:00.000Z",
            "next_change_at": null,
            "sequence": 7,
            "gained": [],
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_account_that_is_not_there_is_told_from_one_that_is_not_there_yet() {
    let server = Server::running();
    let detail = server.problem("/api/v1/accounts/nobody.com", 404).await;
    assert!(detail.starts_with("no account `nobody.com` among the partitions of this process"), "{detail}");
    let worker = server.sources.status.worker(0);
    let without_all: [fn(&WorkerStatus); 3] = [
        |worker| worker.assigned(&[Partition(0), Partition(1)]),
        |worker| worker.reached(Partition(0), Phase::Live),
        WorkerStatus::revoked,
    ];
    for happen in without_all {
        happen(worker);
        let detail = server.problem("/api/v1/accounts/nobody.com", 503).await;
        assert!(detail.starts_with("`nobody.com` is not known yet"), "{detail}");
        let detail = server.problem("/api/v1/accounts?tier=hot", 503).await;
        assert!(detail.starts_with("a list would lack accounts"), "{detail}");
    }
    worker.assigned(&[]);
    let (status, _) = server.get("/api/v1/accounts?tier=hot").await;
    assert_eq!(status, StatusCode::OK, "a spare knows that it has none");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_in_time_is_no_missing_account() {
    let server = Server::new();
    assert_eq!(server.problem("/api/v1/accounts/acme.com", 503).await, "no worker answered within 3000 ms; try again");
    drop(server.questions);
}

#[tokio::test]
async fn a_tier_is_listed_in_parts() {
    let server = Server::running();
    let (status, first) = server.get("/api/v1/accounts?tier=hot&limit=1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(first["accounts"][0]["account"], "acme.com");
    assert_eq!(first["next_cursor"], "acme.com");
    let (_, second) = server.get("/api/v1/accounts?tier=hot&limit=1&cursor=acme.com").await;
    assert_eq!(second["accounts"][0]["account"], "globex.com");
    assert_eq!(second["next_cursor"], Value::Null);
    let (_, none) = server.get("/api/v1/accounts?tier=none").await;
    assert_eq!(none["accounts"][0]["account"], "quiet.com");
    let (_, empty) = server.get("/api/v1/accounts?tier=warm").await;
    assert_eq!(empty, json!({"accounts": [], "next_cursor": null}));
}

#[tokio::test]
async fn a_listing_says_what_is_wrong_with_the_question() {
    let server = Server::running();
    let detail = async |path| server.problem(path, 400).await;
    assert_eq!(detail("/api/v1/accounts").await, "say which tier: ?tier= one of hot, warm, none");
    assert_eq!(detail("/api/v1/accounts?tier=hto").await, "the model has no tier `hto`; it has hot, warm, none");
    assert_eq!(detail("/api/v1/accounts?tier=hot&limit=0").await, "`limit` is 0; it must be from 1 to 1000");
    let unknown = detail("/api/v1/accounts?tier=hot&page=2").await;
    assert!(unknown.contains("unknown field `page`"), "{unknown}");
}

#[tokio::test]
async fn ready_means_that_every_assigned_partition_is_live() {
    let server = Server::new();
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["waiting_for"], json!(["worker 0 has no assignment from the consumer group yet"]));

    let worker = server.sources.status.worker(0);
    worker.assigned(&[Partition(4), Partition(2)]);
    worker.reached(Partition(2), Phase::CatchingUp);
    let (status, body) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = json!({
        "ready": false,
        "waiting_for": ["partition 2 is catching_up", "partition 4 is restoring"],
        "partitions": {"restoring": [4], "catching_up": [2], "live": []},
    });
    assert_eq!(body, expected);

    worker.reached(Partition(2), Phase::Live);
    worker.reached(Partition(4), Phase::Live);
    let (status, body) = server.get("/readyz").await;
    assert_eq!((status, &body["ready"]), (StatusCode::OK, &json!(true)));
    assert_eq!(body["partitions"]["live"], json!([2, 4]));

    worker.stopped();
    let (_, body) = server.get("/readyz").await;
    assert_eq!(body["waiting_for"], json!(["worker 0 has ended"]));
}

#[tokio::test]
async fn alive_means_that_the_loops_go_round() {
    let mut server = Server::new();
    let (status, body) = server.get("/livez").await;
    assert_eq!((status, &body["live"]), (StatusCode::OK, &json!(true)));
    // A limit that has passed already: no waiting needed for the worker to be stuck.
    let long_ago = Instant::now().checked_sub(Duration::from_millis(20)).unwrap();
    server.sources.status = Arc::new(Status::new(1, Duration::ZERO, long_ago));
    let (status, body) = server.get("/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["problems"], json!(["worker 0 has not come round for more than 0 s"]));
    assert_eq!(server.get("/readyz").await.1["ready"], json!(false));
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let (status, kind, body) = Server::running().send(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("\ntidemark_accounts{tier=\"hot\"} 2\n"), "{body}");
    assert!(body.contains("\ntidemark_partitions{phase=\"live\"} 1\n"), "{body}");
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let server = Server::running();
    assert_eq!(server.problem("/nowhere", 404).await, "there is nothing at /nowhere; / lists the addresses");
    let request = |build: axum::http::request::Builder, body: Body| build.uri("/livez").body(body).unwrap();
    let posted = request(Request::builder().method(Method::POST), Body::empty());
    assert_eq!(server.send(posted).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let rebound = request(Request::builder().header(header::HOST, "evil.example:8080"), Body::empty());
    let (status, kind, _) = server.send(rebound).await;
    assert_eq!((status, kind.as_str()), (StatusCode::MISDIRECTED_REQUEST, "application/problem+json"));
    let own = request(Request::builder().header(header::HOST, "localhost:8080"), Body::empty());
    assert_eq!(server.send(own).await.0, StatusCode::OK);
    let big = request(Request::builder(), Body::from(vec![b'x'; 20_000]));
    assert_eq!(server.send(big).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_first_page_lists_the_addresses() {
    let (status, kind, body) = Server::running().send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    for address in ["/livez", "/readyz", "/metrics", "/api/v1/accounts"] {
        assert!(body.contains(address), "{address}");
    }
}

#[tokio::test]
async fn with_a_token_only_probes_and_metrics_are_open() {
    for address in ["127.0.0.1:8080", "0.0.0.0:8080"] {
        let mut server = Server::running();
        server.guard = Guard::new(address.parse().unwrap(), Some("0123456789abcdef"));
        for open in ["/livez", "/readyz", "/metrics"] {
            let (status, ..) = server.send(Request::get(open).body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::OK, "{open}");
        }
        for closed in
            ["/", "/api/v1/accounts?tier=hot", "/api/v1/accounts/acme.com", "/nowhere", "/livez/", "//metrics"]
        {
            let detail = server.problem(closed, 401).await;
            assert!(detail.contains("Authorization: Bearer"), "{detail}");
        }
        let asked = async |authorization: &str| {
            let request = Request::get("/api/v1/accounts/acme.com").header(header::AUTHORIZATION, authorization);
            router(server.sources.clone(), server.guard).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"] {
            let response = asked(wrong).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong}");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        }
        assert_eq!(asked("Bearer 0123456789abcdef").await.status(), StatusCode::OK);
    }
}
