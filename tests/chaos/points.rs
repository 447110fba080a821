//! A process dies at each point of its work in turn.

use std::time::Duration;

use tidemark::drill::Point;

use crate::{
    load::{LIMIT, Load, await_ready, random},
    support::kafka::Broker,
};

/// For a restart to take its partitions up again: the group gives up the dead member, and what it
/// left open is ended.
const READY_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_death_at_any_point_neither_loses_nor_doubles_anything() {
    let Some(broker) = Broker::shared() else { return };
    let mut random = random();
    let load = Load::visits(broker, "points", 4000);

    // There is something to restore as soon as somebody has been there.
    let mut points = Point::ALL;
    points.rotate_left(1);
    for point in points {
        let times = random.usize(1..=3);
        let setting = format!("{}:{times}", point.name());
        let mut process = load.deployment.start_with("mortal", &[("TIDEMARK_DRILL_KILL", &setting)]);
        let Some(status) = process.try_wait(LIMIT) else { panic!("it does not get to {setting}") };
        assert_eq!(status.code(), None, "at {setting} it is killed:\n{}", process.log());
        eprintln!("died at {setting} at {} offsets of changes", load.deployment.change_offsets());
    }

    let process = load.deployment.start("mortal");
    eprintln!("ready again after {:?}", await_ready(&process, READY_LIMIT));
    let found = load.check(&mut [process]);
    assert!(found.dead_letters > 20, "there was rubbish among the events");
}
