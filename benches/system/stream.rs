//! Events at a fixed rate, whatever becomes of them: an open loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidemark::model::Timestamp;

use crate::{
    options::Options,
    oracle::Verdict,
    sender::{Pace, Sender},
    stage::Stage,
    traffic::Traffic,
};

/// An event that is handed to the client later than this after its instant has missed it. Latencies
/// count from the instant all the same.
const LATE: Duration = Duration::from_millis(25);
/// The share of missed instants from which on the rate was not what was asked for.
const MISSED_MAX: f64 = 0.001;
/// The sender wakes up this often at most.
const NAP: Duration = Duration::from_millis(1);

/// A sender on a thread of its own.
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub events: u64,
    /// Events that were sent too late.
    pub missed: u64,
}

impl Stream {
    /// Sends from now on; the time of every event is the instant at which it shall be sent.
    pub fn start(stage: &Stage) -> Self {
        let (sender, traffic, rate) =
            (stage.sender(Pace::Prompt), Traffic::new(&stage.parameters).apart(), stage.parameters.rate);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            thread::spawn(move || send(&sender, traffic, rate, &stop))
        };
        Self { stop, thread }
    }

    /// Ends it; the broker has everything.
    pub fn finish(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender sends")
    }
}

impl Sent {
    /// Says so if the sender did not keep its rate.
    pub fn check(self, options: &Options, verdict: &mut Verdict) {
        let share = self.missed as f64 / self.events.max(1) as f64;
        if share > MISSED_MAX {
            verdict.unsteady(options, format!("{:.2} % of the events were sent too late", share * 100.0));
        }
    }
}

fn send(sender: &Sender, mut traffic: Traffic, rate: u64, stop: &AtomicBool) -> Sent {
    let (began, began_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
    let mut sent = Sent::default();
    while !stop.load(Ordering::Relaxed) {
        let instant = Duration::from_secs_f64(sent.events as f64 / rate as f64);
        let elapsed = began.elapsed();
        if elapsed < instant {
            thread::sleep((instant - elapsed).max(NAP));
            continue;
        }
        let time = Timestamp::from_millis((began_us + instant.as_micros() as i64).div_euclid(1000));
        sender.send(&traffic.next(time));
        sent.missed += u64::from(elapsed - instant > LATE);
        sent.events += 1;
    }
    sender.flush();
    sent
}
