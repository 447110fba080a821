//! Every query of the dashboard, asked of a real Prometheus that scrapes a running demo.

use std::{io::Write, net::SocketAddr, time::Duration};

mod support;

use support::{
    dashboard::{dashboard, filled_in, queries},
    poll_until,
    prometheus::Prometheus,
    tidemark::Running,
    wait_until,
};

/// Where `TIDEMARK_REQUIRE_KAFKA=1` makes a missing broker a failure, a missing Prometheus is one too.
const REQUIRE: &str = "TIDEMARK_REQUIRE_KAFKA";
/// The embedded broker takes a few seconds, its consumer group some more.
const DEMO_LIMIT: Duration = Duration::from_secs(90);
/// How long every query may take to show something.
const SHOW_LIMIT: Duration = Duration::from_secs(90);

#[test]
fn every_query_shows_something_of_a_running_demo() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Running::start("demo", directory.path(), &["demo", "--port", "0"]);
    let address = wait_until("the address of the demo", DEMO_LIMIT, || address_in(&demo.log()));
    let Some(prometheus) = Prometheus::start(directory.path(), address) else {
        assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "prometheus is not installed");
        let _ = writeln!(std::io::stderr(), "SKIPPED: the dashboard's queries, because there is no Prometheus");
        return;
    };
    let dashboard = dashboard();
    let mut waiting: Vec<_> = queries(&dashboard).collect();
    let shown = poll_until(SHOW_LIMIT, || {
        waiting.retain(|query| !shows_something(&prometheus, query.expr));
        waiting.is_empty().then_some(())
    });
    assert!(shown.is_some(), "these show nothing:\n{waiting:#?}");
}

/// The first address that the demo prints.
fn address_in(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("http://")?;
    rest.split_once('/')?.0.parse().ok()
}

/// An empty answer and a ratio of nothing to nothing (NaN) both leave a panel blank.
fn shows_something(prometheus: &Prometheus, expr: &str) -> bool {
    prometheus.query(&filled_in(expr, "30s")).iter().any(|value| !value.is_nan())
}
