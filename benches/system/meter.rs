//! What is measured of every scenario.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    proc::{self, MachineTime, Memory},
    stage::Stage,
    support::tidemark::Running,
    written::Segments,
};

/// Topics that Tidemark writes, and those that the broker writes for its transactions.
const WRITTEN: [&str; 7] = [
    "state",
    "standings",
    "tier-changes",
    "segment-changes",
    "dead-letters",
    "__consumer_offsets",
    "__transaction_state",
];

/// Measures a process from a moment on.
pub struct Meter {
    process: u32,
    broker: u32,
    namespace: String,
    data: PathBuf,
    began: Instant,
    cpu: Cpu,
    machine: MachineTime,
    segments: Segments,
    written_before: BTreeMap<String, u64>,
}

/// CPU time, in seconds.
#[derive(Clone, Debug)]
struct Cpu {
    process: f64,
    kernel: f64,
    threads: BTreeMap<String, f64>,
    broker: f64,
    harness: f64,
}

impl Cpu {
    fn now(process: u32, broker: u32) -> Self {
        Self {
            process: proc::cpu_seconds(process),
            kernel: proc::kernel_seconds(process),
            threads: proc::cpu_by_thread(process),
            broker: proc::cpu_seconds(broker),
            harness: proc::cpu_seconds(std::process::id()),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub wall: Duration,
    /// CPU seconds of the process.
    pub cpu: f64,
    /// The part of them that the kernel spent.
    pub kernel: f64,
    /// CPU seconds of its threads by name; what those had that have ended is under `(ended)`.
    pub threads: BTreeMap<String, f64>,
    /// CPU seconds of the broker.
    pub broker: f64,
    /// CPU seconds of this benchmark: it sends and reads.
    pub harness: f64,
    /// The share of the machine's time that its host gave to others.
    pub stolen: f64,
    pub memory: Option<Memory>,
    /// Bytes on the broker's disk by topic, of what Tidemark and its transactions write.
    pub written: BTreeMap<String, u64>,
}

impl Meter {
    /// Measures `process` from now on. If that has just been started, all its CPU time is measured.
    pub fn start(stage: &Stage, process: &Running) -> Self {
        let (process, broker, data) = (process.id(), stage.broker().id(), stage.broker().data());
        let namespace = stage.namespace();
        let mut segments = Segments::default();
        segments.look(&data);
        Self {
            process,
            broker,
            written_before: segments.by_topic(&namespace),
            namespace,
            data,
            began: Instant::now(),
            cpu: Cpu::now(process, broker),
            machine: MachineTime::now(),
            segments,
        }
    }

    /// Notes how large the logs are; now and then, so that compaction hides nothing.
    pub fn look(&mut self) {
        self.segments.look(&self.data);
    }

    /// What was measured so far.
    pub fn read(&mut self) -> Measured {
        self.look();
        let wall = self.began.elapsed();
        let (before, now) = (&self.cpu, Cpu::now(self.process, self.broker));
        let cpu = now.process - before.process;
        let since = |(name, seconds): (&String, &f64)| {
            (name.clone(), seconds - before.threads.get(name).copied().unwrap_or(0.0))
        };
        let mut threads: BTreeMap<String, f64> = now.threads.iter().map(since).collect();
        let ended = cpu - threads.values().sum::<f64>();
        threads.insert("(ended)".to_owned(), ended.max(0.0));
        Measured {
            wall,
            cpu,
            kernel: now.kernel - before.kernel,
            threads,
            broker: now.broker - before.broker,
            harness: now.harness - before.harness,
            stolen: MachineTime::now().stolen_since(self.machine),
            memory: proc::memory(self.process),
            written: self.written(),
        }
    }

    fn written(&self) -> BTreeMap<String, u64> {
        let mut sizes = self.segments.by_topic(&self.namespace);
        sizes.retain(|topic, _| WRITTEN.contains(&topic.as_str()));
        for (topic, size) in &mut sizes {
            *size -= self.written_before.get(topic).copied().unwrap_or(0);
        }
        sizes
    }
}
