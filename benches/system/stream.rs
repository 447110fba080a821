//! Events at a fixed rate, whatever becomes of them: an open loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidemark::model::Timestamp;

use crate::{options::Options, oracle::Verdict, sender::Sender, stage::Stage, traffic::Traffic};

/// An event that is handed to the client later than this after its instant has missed it. Latencies
/// count from the instant all the same.
const LATE: Duration = Duration::from_millis(25);
/// The share of missed instants from which on the rate was not what was asked for.
const MISSED_MAX: f64 = 0.001;
/// So many events at most are sent by one look at the clock, which takes as long as it does to write one.
const SENT_BY_ONE_LOOK: u64 = 64;
/// An event waits for this long, and a nap, at most for others that are sent with it: as Kafka's own producer does by default.
const LINGER: Duration = Duration::from_millis(5);
/// The sender wakes up this often at most.
const NAP: Duration = Duration::from_millis(1);

/// A sender on a thread of its own.
pub struct Stream {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    events: AtomicU64,
    missed: AtomicU64,
}

/// What was sent, or should have been.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    at: Instant,
    events: u64,
    /// Events that were sent too late.
    missed: u64,
}

impl Stream {
    /// Sends from now on, at a rate that takes `rise` to become what was asked for; the time of every event is the
    /// instant at which it shall be sent.
    pub fn start(stage: &Stage, rise: Duration) -> Self {
        let (sender, traffic) = (stage.sender(), Traffic::new(&stage.parameters).apart());
        let schedule = Schedule { rate: stage.parameters.rate as f64, rise: rise.as_secs_f64() };
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || shared.send(sender, traffic, schedule))
        };
        Self { shared, thread }
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        Sent {
            at: Instant::now(),
            events: self.shared.events.load(Ordering::Relaxed),
            missed: self.shared.missed.load(Ordering::Relaxed),
        }
    }

    /// Ends it; the broker has everything.
    pub fn finish(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender sends");
    }
}

impl Sent {
    /// What was sent since then, or should have been at this rate: what is still to be sent although its instant is
    /// long ago is late as well.
    pub fn since(self, earlier: Self, rate: u64) -> Self {
        let due = (self.at - earlier.at).saturating_sub(LATE).as_secs_f64() * rate as f64;
        let sent = self.events - earlier.events;
        let overdue = (due as u64).saturating_sub(sent);
        Self { events: sent + overdue, missed: self.missed - earlier.missed + overdue, ..self }
    }

    /// The share of the events that were sent too late.
    pub fn late(self) -> f64 {
        self.missed as f64 / self.events.max(1) as f64
    }

    /// Says so if the sender did not keep its rate.
    pub fn check(self, options: &Options, verdict: &mut Verdict) {
        if self.late() > MISSED_MAX {
            verdict.unsteady(options, format!("{:.2} % of the events were sent too late", self.late() * 100.0));
        }
    }
}

/// When each event is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// Events per second, in the end.
    rate: f64,
    /// Seconds in which the rate grows evenly to that.
    rise: f64,
}

impl Schedule {
    /// The instant of an event, counted from 0.
    fn instant(self, event: u64) -> Duration {
        let (Self { rate, rise }, event) = (self, event as f64);
        let while_it_rises = rate * rise / 2.0;
        let seconds =
            if event < while_it_rises { (2.0 * rise * event / rate).sqrt() } else { rise / 2.0 + event / rate };
        Duration::from_secs_f64(seconds)
    }
}

impl Shared {
    fn send(&self, mut sender: Sender, mut traffic: Traffic, schedule: Schedule) {
        let (began, began_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
        let (mut elapsed, mut dispatched) = (Duration::ZERO, Duration::ZERO);
        for event in 0_u64.. {
            let instant = schedule.instant(event);
            while elapsed < instant || event.is_multiple_of(SENT_BY_ONE_LOOK) {
                if self.stop.load(Ordering::Relaxed) {
                    return sender.finish();
                }
                elapsed = began.elapsed();
                if elapsed - dispatched >= LINGER {
                    sender.dispatch();
                    dispatched = elapsed;
                }
                if elapsed >= instant {
                    break;
                }
                thread::sleep((instant.min(dispatched + LINGER) - elapsed).max(NAP));
            }
            let time = Timestamp::from_millis((began_us + instant.as_micros() as i64).div_euclid(1000));
            sender.send(&traffic.next(time));
            self.missed.fetch_add(u64::from(elapsed - instant > LATE), Ordering::Relaxed);
            self.events.fetch_add(1, Ordering::Relaxed);
        }
    }
}
