//! The broker goes away and comes back: all of it, as a single node is leader and coordinator of
//! everything.

use std::{
    sync::{Mutex, MutexGuard, OnceLock},
    thread,
    time::{Duration, Instant},
};

use crate::{
    load::{LIMIT, Load, await_ready},
    support::{
        kafka::{Broker, Tuning},
        tidemark::Running,
        topics, verdict, wait_until,
    },
};

/// For events to get through again when the broker is back.
const RETURN_LIMIT: Duration = Duration::from_secs(180);
/// Longer than two sweeps over the pages of state.
const QUIET: Duration = Duration::from_secs(3);

/// A broker that the tests of this file stop, one after the other: the others go on with theirs.
fn mortal_broker() -> Option<(&'static Broker, MutexGuard<'static, ()>)> {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    static IN_USE: Mutex<()> = Mutex::new(());
    // Skips, or fails, where there is no broker to be had.
    Broker::shared()?;
    // A failed test has left the broker as it is; `Load::visits` of the next one tells.
    let guard = IN_USE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Some((BROKER.get_or_init(|| Broker::start(Tuning::QuickStart).expect("a second broker")), guard))
}

#[test]
fn a_broker_that_restarts_or_crashes_costs_time_only() {
    let Some((broker, _guard)) = mortal_broker() else { return };
    outages(broker, &[Broker::stop, Broker::kill, Broker::kill], Duration::from_secs(2));
}

#[test]
#[ignore = "long: outages of half a minute"]
fn a_broker_that_is_away_for_long_costs_time_only() {
    let Some((broker, _guard)) = mortal_broker() else { return };
    outages(broker, &[Broker::stop, Broker::kill], Duration::from_secs(30));
}

/// While it stops in order it may answer that there are no brokers at all, once in a while.
#[test]
#[ignore = "long: twenty restarts"]
fn a_broker_that_restarts_again_and_again_costs_time_only() {
    let Some((broker, _guard)) = mortal_broker() else { return };
    outages(broker, &[Broker::stop as fn(&Broker); 20], Duration::ZERO);
}

/// Ends the broker between two transactions, and brings it back after a while, again and again.
///
/// Not within a transaction: a node that is the only one writes off the commit markers of partitions
/// that it does not know yet when it starts (seen with Kafka 4.3: the coordinator says that the
/// transaction is complete, its partitions that it is open). Readers of committed transactions then
/// wait until somebody aborts it by hand, and so, rightly, does Tidemark.
fn outages(broker: &'static Broker, ends: &[fn(&Broker)], away: Duration) {
    let load = Load::visits(broker, "outages", 1500);
    let mut processes = ["one", "other"].map(|name| load.deployment.start(name));
    load.reference.await_published(&load.deployment, LIMIT);
    for end in ends {
        await_quiet(&load);
        end(broker);
        // The outage itself: nothing happens that could be waited for.
        thread::sleep(away);
        assert!(processes.iter().all(is_alive), "whether the broker is there is no question of life");
        broker.restart();
        verdict::check_fresh_event(&load.deployment, RETURN_LIMIT);
        for process in &processes {
            await_ready(process, RETURN_LIMIT);
        }
    }
    assert!(processes.iter_mut().all(Running::is_running));
    load.check(&mut processes);
}

/// Waits until nothing is written any more: all pages of state are stored.
fn await_quiet(load: &Load) {
    let written = || topics::ends(load.deployment.broker(), &load.deployment.topic("state"));
    let mut seen = (written(), Instant::now());
    wait_until("a time without transactions", LIMIT, || {
        let now = written();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        (seen.1.elapsed() > QUIET).then_some(())
    });
}

fn is_alive(process: &Running) -> bool {
    process.get("/livez").0 == 200
}
