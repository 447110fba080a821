//! `tidemark audit` on a real Kafka: it finds nothing where there is nothing, and everything else.

use std::time::Duration;

use crate::support::{
    deployment::{Deployment, Plan},
    kafka::Broker,
    topics::Writer,
    visits,
};

mod support;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/web-model.yaml");
const LIMIT: Duration = Duration::from_secs(240);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Grace covers the disorder of the visits; pages are written often, so that accounts are forgotten.
const SETTINGS: &str = "time: { grace: 60s }
state: { checkpoint_interval: 1s }
commit: { interval: 100ms, max_records: 200 }
";

fn deploy(broker: &'static Broker, name: &str) -> Deployment {
    let deployment =
        Deployment::new(broker, &Plan { name, model: MODEL, partitions: 2, workers: 2, settings: SETTINGS });
    let (events, writer) = (deployment.topic("events"), Writer::plain(broker));
    for visit in visits::records() {
        writer.send(&events, &visit);
    }
    writer.flush();
    deployment
}

#[test]
fn what_the_service_publishes_is_clean() {
    let Some(broker) = Broker::shared() else { return };
    let deployment = deploy(broker, "clean");
    let mut process = deployment.start("only");
    deployment.wait_drained(LIMIT);
    let live = deployment.audit(&[]);
    live.expect_clean();
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
    deployment.audit(&[]).expect_clean();
}
