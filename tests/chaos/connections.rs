//! Connections between Tidemark and the broker break, stall and lag, and lose the one request that
//! matters.

use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    load::{LIMIT, Load, await_ready, random},
    support::{
        kafka::Broker,
        proxy::{Fate, Proxy, Request, Way},
        tidemark::Running,
        wait_until,
    },
};

/// For the others to notice, and to take over.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(40);
/// For a process to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The one proxy before the shared broker, healed, for one test after the other.
fn proxy() -> Option<(&'static Broker, MutexGuard<'static, Proxy>)> {
    static PROXY: LazyLock<Option<Mutex<Proxy>>> = LazyLock::new(|| Some(Mutex::new(Proxy::start(Broker::shared()?))));
    let proxy = PROXY.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
    proxy.heal();
    Some((Broker::shared()?, proxy))
}

#[test]
fn connections_that_break_in_the_midst_of_commits_cost_time_only() {
    let Some((broker, proxy)) = proxy() else { return };
    let mut random = random();
    let load = Load::visits(broker, "cuts", 3000);
    let process = load.deployment.start_through(&proxy.bootstrap(), "only");
    for step in 1..=15 {
        load.await_progress(step * 5);
        // Somewhere within the next transaction.
        let more = proxy.received() + random.u64(0..4000);
        wait_until("some more traffic", LIMIT, || (proxy.received() >= more).then_some(()));
        proxy.cut();
    }
    load.check(&mut [process]);
}

#[test]
fn a_request_of_a_transaction_is_lost_or_its_answer() {
    let Some((broker, proxy)) = proxy() else { return };
    let load = Load::visits(broker, "lost", 4000);
    let process = load.deployment.start_through(&proxy.bootstrap(), "only");
    let requests = [Request::AddPartitionsToTxn, Request::Produce, Request::TxnOffsetCommit, Request::EndTxn];
    let cases: Vec<_> =
        [Fate::Lost, Fate::AnswerLost].into_iter().flat_map(|fate| requests.map(|request| (request, fate))).collect();
    for (step, (request, fate)) in cases.iter().enumerate() {
        load.await_progress(step * 80 / cases.len());
        proxy.meet(*request, *fate);
        wait_until(&format!("{request:?} to meet {fate:?}"), LIMIT, || proxy.has_met().then_some(()));
    }
    load.check(&mut [process]);
}

/// The end of a transaction arrives when its producer has gone on to others: were it the same
/// producer, the broker would end one of those in its place.
#[test]
fn the_end_of_a_transaction_arrives_late() {
    let Some((broker, proxy)) = proxy() else { return };
    // The service goes on while late requests are let go: enough is left for the last step.
    let load = Load::visits(broker, "late", 8000);
    let process = load.deployment.start_through(&proxy.bootstrap(), "only");
    let mut late = 0;
    for step in 0..6 {
        load.await_progress(step * 6);
        proxy.meet(Request::EndTxn, Fate::Late);
        wait_until("the end of a transaction to be late", LIMIT, || proxy.has_met().then_some(()));
        load.await_progress(step * 6 + 5);
        late += proxy.let_go();
    }
    assert_eq!(late, 6);
    load.check(&mut [process]);
}

#[test]
fn a_process_that_is_cut_off_is_replaced_and_comes_back() {
    let Some((broker, proxy)) = proxy() else { return };
    let load = Load::fading(broker, "cut-off", 1500, &mut random());
    let lost = load.deployment.start_through(&proxy.bootstrap(), "lost");
    load.deployment.wait_drained(LIMIT);
    proxy.refuse();
    let heir = load.deployment.start("heir");
    await_ready(&heir, TAKE_OVER_LIMIT);
    proxy.heal();
    load.check(&mut [lost, heir]);
}

#[test]
fn bytes_that_stall_either_way_cost_time_only() {
    let Some((broker, proxy)) = proxy() else { return };
    let load = Load::visits(broker, "stalls", 4000);
    let stalled = load.deployment.start_through(&proxy.bootstrap(), "stalled");
    for (percent, way) in [(10, Way::ToBroker), (40, Way::FromBroker)] {
        load.await_progress(percent);
        proxy.hold(way);
        let heir = load.deployment.start("heir");
        await_ready(&heir, TAKE_OVER_LIMIT);
        load.await_progress(percent + 15);
        proxy.heal();
        end(heir);
    }
    load.check(&mut [stalled]);
}

#[test]
fn a_slow_connection_costs_time_only() {
    let Some((broker, proxy)) = proxy() else { return };
    let load = Load::visits(broker, "slow", 600);
    // Any network has answered by then.
    proxy.delay(Duration::from_millis(200));
    let process = load.deployment.start_through(&proxy.bootstrap(), "only");
    load.check(&mut [process]);
}

/// The first signal asks it to commit and leave, which it cannot; the second one does not ask.
#[test]
fn told_twice_to_stop_it_stops_at_once() {
    let Some((broker, proxy)) = proxy() else { return };
    let load = Load::visits(broker, "twice", 3000);
    let mut process = load.deployment.start_through(&proxy.bootstrap(), "only");
    load.await_progress(30);
    proxy.hold(Way::FromBroker);
    process.signal("TERM");
    // It needs a moment to take the first one in, of which nothing tells; told again and again, it has had two.
    let code = wait_until("the end", STOP_LIMIT, || {
        process.signal_if_running("TERM");
        process.try_wait(Duration::from_millis(50))
    });
    assert_eq!(code.code(), Some(130), "{}", process.log());
    proxy.heal();
    let process = load.deployment.start("only");
    load.check(&mut [process]);
}

fn end(mut process: Running) {
    assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0), "it stops when asked to:\n{}", process.log());
}
