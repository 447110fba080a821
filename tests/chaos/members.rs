//! Processes come, go, and are told to stop.

use std::time::Duration;

use crate::{
    load::{LIMIT, Load, await_ready, await_refusal, random},
    support::{kafka::Broker, tidemark::Running, wait_until},
};

/// For a process to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Comings and goings of the quick set.
const MOVES: usize = 12;

#[test]
fn processes_join_and_leave_in_the_midst_of_it() {
    let Some(broker) = Broker::shared() else { return };
    let mut random = random();
    let load = Load::visits(broker, "members", 6000);
    // Two workers each, four partitions: the later ones are spares.
    let mut places: [Option<Running>; 4] = [const { None }; 4];
    for step in 0..MOVES {
        load.await_progress(step * 80 / MOVES);
        let place = random.usize(..places.len());
        match &mut places[place] {
            Some(process) if random.bool() => process.kill(),
            Some(process) => assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "{}", process.log()),
            None => {
                places[place] = Some(load.deployment.start(&format!("member-{place}")));
                continue;
            }
        }
        places[place] = None;
        if places.iter().all(Option::is_none) {
            places[0] = Some(load.deployment.start("member-0"));
        }
    }
    let mut left: Vec<Running> = places.into_iter().flatten().collect();
    load.check(&mut left);
}

#[test]
fn asked_to_stop_under_load_it_commits_and_leaves() {
    let Some(broker) = Broker::shared() else { return };
    let load = Load::visits(broker, "stop", 3000);
    for percent in [10, 30, 50] {
        let mut process = load.deployment.start("only");
        await_ready(&process, LIMIT);
        load.await_progress(percent);
        assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "{}", process.log());
        let log = process.log();
        assert!(!log.contains("the last commit failed"), "{log}");
    }
    let process = load.deployment.start("only");
    load.check(&mut [process]);
}

#[test]
fn of_two_processes_of_one_name_one_ends_and_says_why() {
    let Some(broker) = Broker::shared() else { return };
    let load = Load::visits(broker, "twins", 6000);
    // Two configurations, one name.
    let mut twins = [load.deployment.start_as("one", "twin"), load.deployment.start_as("other", "twin")];
    // They meet in their transactions, and make these only as long as there is work.
    let work = load.chores();
    let loser = wait_until("one of the twins to end", LIMIT, || {
        work();
        twins.iter_mut().position(|twin| !twin.is_running())
    });
    let log = await_refusal(&mut twins[loser], 65);
    assert!(log.contains("kafka.instance") && log.contains("-twin-"), "{log}");
    let [one, other] = twins;
    load.check(&mut [if loser == 0 { other } else { one }]);
}
