//! What a run works on: topics of its own on the broker, a configuration, and processes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tidemark::model::Timestamp;

use crate::{
    meter::Meter,
    options::{Options, Parameters},
    progress::Progress,
    sender::Sender,
    support::{
        deployment::{Deployment, Plan},
        kafka::Broker,
        poll_until,
        tidemark::Running,
        topics, wait_until,
    },
    traffic::Traffic,
};

/// How much the service's timers are behind the clock: the default of `time.grace`.
pub const GRACE_MS: i64 = 5000;
/// For work that is finished much sooner, or never.
pub const LIMIT: Duration = Duration::from_secs(7200);
/// For a process to end in order.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at the sizes of logs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The model that is measured, unless a scenario has one of its own.
pub const DEFAULT_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/models/default.yaml");

/// Topics of one run, and the configuration of the service for it.
pub struct Stage {
    pub parameters: Parameters,
    pub deployment: Deployment,
    pub progress: Progress,
}

impl Stage {
    /// New topics for the default model, with further settings in YAML.
    pub fn new(broker: &'static Broker, name: &str, parameters: Parameters, settings: &str) -> Self {
        Self::with(broker, name, parameters, DEFAULT_MODEL, settings, &[])
    }

    /// New topics for another model.
    pub fn of_model(broker: &'static Broker, name: &str, parameters: Parameters, model: &str) -> Self {
        Self::with(broker, name, parameters, model, "", &[])
    }

    /// New topics whose events are stamped when the log gets them: a sender that a busy machine holds up
    /// for longer than the grace does not make what is published depend on when it was read.
    pub fn of_live_events(broker: &'static Broker, name: &str, parameters: Parameters, model: &str) -> Self {
        Self::with(broker, name, parameters, model, "", &[("message.timestamp.type", "LogAppendTime")])
    }

    fn with(
        broker: &'static Broker,
        name: &str,
        parameters: Parameters,
        model: &str,
        settings: &str,
        events: &[(&str, &str)],
    ) -> Self {
        let Parameters { partitions, workers, .. } = parameters;
        let deployment = Deployment::new(broker, &Plan { name, model, partitions, workers, settings, events });
        let progress = Progress::new(broker, deployment.group(), &deployment.topic("events"), partitions);
        Self { parameters, deployment, progress }
    }

    /// The broker.
    pub fn broker(&self) -> &'static Broker {
        self.deployment.broker()
    }

    /// What the names of its topics begin with, the dot included.
    pub fn namespace(&self) -> String {
        self.deployment.topic("")
    }

    /// A sender to its events topic.
    pub fn sender(&self) -> Sender {
        Sender::new(self.broker(), &self.deployment.topic("events"), self.parameters.partitions)
    }

    /// Fills the topic with the events that the parameters ask for, evenly over their span up to now,
    /// or one a millisecond. Gives where they come from, for more.
    pub fn preload(&self) -> Traffic {
        let (began, events) = (Instant::now(), self.parameters.events);
        let mut traffic = Traffic::new(&self.parameters);
        let bytes = self.send(&mut traffic, events, self.parameters.times(now()));
        eprintln!("{events} events of {} bytes on average sent in {:.1?}", bytes / events, began.elapsed());
        traffic
    }

    /// Sends so many events, as fast as they are taken, and gives their bytes.
    pub fn send(&self, traffic: &mut Traffic, events: u64, time: impl Fn(u64) -> Timestamp) -> u64 {
        let mut sender = self.sender();
        let mut bytes = 0;
        for event in 0..events {
            let written = traffic.next(time(event));
            bytes += written.value.len() as u64;
            sender.send(&written);
        }
        sender.finish();
        bytes
    }

    /// Records by which the group is behind the end of the events; nothing while the broker does not say.
    pub fn lag(&self) -> Option<f64> {
        let committed = self.progress.committed()?;
        Some(self.progress.end().saturating_sub(committed) as f64)
    }

    /// Starts the service.
    pub fn start(&self) -> Running {
        self.deployment.start("bench")
    }

    /// Waits until the service has committed all that is in the topic.
    ///
    /// # Panics
    /// If the service ends.
    pub fn await_drained(&self, process: &mut Running, meter: &mut Meter) {
        let (end, mut looked) = (self.progress.end(), Instant::now());
        let drained = poll_until(LIMIT, || {
            assert!(process.is_running(), "{}", process.log());
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                meter.look();
            }
            (self.progress.committed()? >= end).then_some(())
        });
        assert!(drained.is_some(), "the service does not come to the end of its input");
    }

    /// Ends the service in order.
    pub fn stop(&self, process: &mut Running) {
        let status = process.terminate(STOP_LIMIT);
        assert!(status.success(), "it stops when asked to:\n{}", process.log());
    }

    /// Deletes the topics, and keeps the files if that was asked for.
    pub fn clear(self, options: &Options) {
        if let Some(keep) = &options.keep {
            copy(self.deployment.directory(), &keep.join(self.deployment.group()));
        }
        let names = ["events", "accounts", "tier-changes", "segment-changes", "standings", "dead-letters", "state"];
        let names = names.map(|name| self.deployment.topic(name));
        topics::delete(self.broker(), &names.each_ref().map(String::as_str));
    }
}

/// Waits until the service is live.
///
/// # Panics
/// If it ends.
pub fn await_ready(service: &mut Running) {
    wait_until("the service to be ready", LIMIT, || {
        assert!(service.is_running(), "{}", service.log());
        service.is_ready().then_some(())
    });
}

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("cannot make {}: {error}", to.display()));
    for entry in fs::read_dir(from).expect("the deployment has a directory").flatten() {
        let path = to.join(entry.file_name());
        fs::copy(entry.path(), &path).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}
