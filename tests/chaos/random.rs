//! Faults in random order, for as long as one likes.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use tidemark::{model::Timestamp, wire::time::format_rfc3339};

use crate::{
    load::{LIMIT, Load, random},
    support::{
        kafka::{Broker, Tuning},
        proxy::{Proxy, Way},
        tidemark::Running,
        visits,
    },
};

/// How long faults are made unless `TIDEMARK_CHAOS_SECONDS` says otherwise.
const SECONDS: u64 = 420;

/// The visits lie within this time.
const VISITS_SPAN_MS: i64 = 5 * 86_400_000;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    StandStill,
    Cut,
    Stall(Way),
    Slow,
    /// No connection, as when the broker is away.
    Refuse,
}

const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::StandStill,
    Fault::Cut,
    Fault::Stall(Way::ToBroker),
    Fault::Stall(Way::FromBroker),
    Fault::Slow,
    Fault::Refuse,
];

/// Three processes, two of them behind a proxy, and all kinds of faults, on visits that are written
/// again and again as those of other accounts.
#[test]
#[ignore = "long: minutes of faults in random order"]
fn faults_in_random_order_neither_lose_nor_double_anything() {
    if Broker::shared().is_none() {
        return;
    }
    let mut random = random();
    let seconds = env::var("TIDEMARK_CHAOS_SECONDS").map_or(SECONDS, |text| text.parse().expect("seconds"));
    let broker: &'static Broker = Box::leak(Box::new(Broker::start(Tuning::QuickStart).expect("a broker")));
    let proxy = Proxy::start(broker);
    // As many visits as keep three slow processes busy for that time.
    let load = Load::visits_after(broker, "random", &[], &rounds(seconds as usize / 12 + 1));
    let names = ["one", "two", "three"];
    let start = |at: usize| match at {
        0 | 1 => load.deployment.start_through(&proxy.bootstrap(), names[at]),
        _ => load.deployment.start(names[at]),
    };
    let mut processes: Vec<Running> = (0..names.len()).map(start).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut made = 0;
    while Instant::now() < until {
        let fault = *random.choice(&FAULTS).expect("a fault");
        let (at, lasts) = (random.usize(..names.len()), Duration::from_millis(random.u64(50..8000)));
        eprintln!("{fault:?} {} {lasts:?} at {} offsets of changes", names[at], load.deployment.change_offsets());
        // A fault lasts as long as it lasts: there is no condition to wait for.
        match fault {
            Fault::Kill => {
                processes[at].kill();
                processes[at] = start(at);
            }
            Fault::StandStill => {
                processes[at].signal("STOP");
                thread::sleep(lasts);
                processes[at].signal("CONT");
            }
            Fault::Cut => proxy.cut(),
            Fault::Stall(way) => during(lasts, || proxy.hold(way), || proxy.heal()),
            Fault::Slow => during(lasts, || proxy.delay(Duration::from_millis(200)), || proxy.heal()),
            Fault::Refuse => during(lasts, || proxy.refuse(), || proxy.heal()),
        }
        made += 1;
        // Some of the work is to be done between faults, too.
        thread::sleep(Duration::from_millis(random.u64(..3000)));
        for process in &mut processes {
            assert!(process.is_running(), "it must not end by itself:\n{}", process.log());
        }
    }
    eprintln!("{made} faults in {seconds} s; {} offsets of changes by then", load.deployment.change_offsets());
    load.reference.await_published(&load.deployment, LIMIT * 5);
    load.conclude(&mut processes);
}

fn during(lasts: Duration, begin: impl FnOnce(), end: impl FnOnce()) {
    begin();
    thread::sleep(lasts);
    end();
}

/// The visits so many times over, each time later and as those of other accounts.
fn rounds(count: usize) -> Vec<String> {
    let lines = visits::lines();
    let round = |round: usize| {
        lines.iter().map(move |line| {
            let mut event: serde_json::Value = serde_json::from_str(line).expect("an event");
            let renamed = |field: &str| format!("{}-{round}", event[field].as_str().expect("text"));
            let (id, account) = (renamed("id"), renamed("account"));
            let time = visits::event_record(line).time + round as i64 * VISITS_SPAN_MS;
            event["time"] = format_rfc3339(Timestamp::from_millis(time)).into();
            event["id"] = id.into();
            event["account"] = account.into();
            event.to_string()
        })
    };
    (0..count).flat_map(round).collect()
}
