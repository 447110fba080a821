//! A process stands still while another takes over its partitions, and comes back in the midst of
//! a transaction.

use std::time::Duration;

use tidemark::drill::Point;

use crate::{
    load::{LIMIT, Load, await_ready, random},
    support::{kafka::Broker, tidemark::Running, wait_until},
};

/// For the others to notice, and to take over.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(40);

/// How long the process stands still.
#[derive(Clone, Copy, Debug)]
enum Standstill {
    /// Until another member is in the group; its own transaction may still be open.
    UntilReplaced,
    /// Until another has taken over all partitions, for which its open transaction must have been ended.
    UntilOthersAreReady,
}

#[test]
fn a_process_that_stood_still_publishes_nothing_twice() {
    let Some(broker) = Broker::shared() else { return };
    let cases = [
        // A batch is pending; when the process comes back, the group has given its partitions away.
        (Point::AfterDecide, Standstill::UntilOthersAreReady),
        // Its records are written: the broker has ended the transaction meanwhile.
        (Point::AfterDrain, Standstill::UntilOthersAreReady),
        // The transaction is still open: it is the group that refuses its offsets.
        (Point::AfterDrain, Standstill::UntilReplaced),
        // It has passed the fence in time and may commit: whoever takes over waits for that.
        (Point::AfterOffsets, Standstill::UntilReplaced),
    ];
    // They mostly wait, so side by side.
    std::thread::scope(|scope| {
        for (point, standstill) in cases {
            scope.spawn(move || stand_still(broker, point, standstill));
        }
    });
}

/// The events are done, so that timers are all that the batch in question holds.
fn stand_still(broker: &'static Broker, point: Point, standstill: Standstill) {
    let load = Load::fading(broker, "zombie", 1000, &mut random());
    let mut first = load.deployment.start("first");
    load.deployment.wait_drained(LIMIT);
    assert_eq!(first.terminate(TAKE_OVER_LIMIT).code(), Some(0), "{}", first.log());

    let setting = format!("{}:3", point.name());
    let zombie = load.deployment.start_with("zombie", &[("TIDEMARK_DRILL_STOP", &setting)]);
    wait_until(&format!("the standstill at {setting}"), LIMIT, || zombie.is_stopped().then_some(()));
    let heir = load.deployment.start("heir");
    match standstill {
        Standstill::UntilReplaced => await_assignment(&heir),
        Standstill::UntilOthersAreReady => {
            await_ready(&heir, TAKE_OVER_LIMIT);
        }
    }
    let published = load.deployment.change_offsets();
    zombie.signal("CONT");
    let found = load.check(&mut [zombie, heir]);
    eprintln!("{setting} {standstill:?}: {published} offsets of changes when it came back, {found:?}");
    assert!((published as usize) < found.changes, "timers fired after that");
}

/// Waits until the group has given the process partitions: it had given up the member that was silent.
fn await_assignment(process: &Running) {
    wait_until("an assignment", TAKE_OVER_LIMIT, || process.log().contains("\"assigned\"").then_some(()));
}
