//! What Linux tells of processes, and of the machine, in `/proc`.

use std::{collections::BTreeMap, fs, path::Path};

/// Linux counts CPU time for programs in hundredths of a second, whatever it does inside.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process since it began, in seconds, its threads that have ended included.
pub fn cpu_seconds(process: u32) -> f64 {
    own_seconds(&Path::new("/proc").join(process.to_string()))
}

/// CPU time of the calling thread since it began, in seconds.
pub fn cpu_seconds_of_thread() -> f64 {
    own_seconds(Path::new("/proc/thread-self"))
}

/// CPU time of the children of this process that have ended, in seconds.
pub fn cpu_seconds_of_children() -> f64 {
    let [.., user, kernel] = ticks(Path::new("/proc/self"));
    (user + kernel) / TICKS_PER_SECOND
}

/// The part of [`cpu_seconds`] that the kernel spent for it: network, and memory that it touched first.
pub fn kernel_seconds(process: u32) -> f64 {
    let [_, kernel, ..] = ticks(&Path::new("/proc").join(process.to_string()));
    kernel / TICKS_PER_SECOND
}

/// CPU time of a process' threads that live, in seconds, by the threads' names.
pub fn cpu_by_thread(process: u32) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        // One that ends in between has no name any more.
        if let Ok(name) = fs::read_to_string(thread.path().join("comm")) {
            *seconds.entry(name.trim_end().to_owned()).or_default() += own_seconds(&thread.path());
        }
    }
    seconds
}

/// User and system time, without those of children, in seconds.
fn own_seconds(directory: &Path) -> f64 {
    let [user, kernel, ..] = ticks(directory);
    (user + kernel) / TICKS_PER_SECOND
}

/// User and system time, and those of children that have ended, in ticks; 0 of what is gone.
fn ticks(directory: &Path) -> [f64; 4] {
    let stat = fs::read_to_string(directory.join("stat")).unwrap_or_default();
    // Fields are counted after the name, which is in parentheses: these are the 14th to the 17th.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after.split_whitespace().skip(11).map(|field| field.parse().unwrap_or_default());
    [(); 4].map(|()| fields.next().unwrap_or_default())
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// The memory of a process; nothing if it is gone.
pub fn memory(process: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// CPU time of the whole machine since it began, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    all: u64,
    /// What the host gave to others.
    stolen: u64,
}

impl MachineTime {
    /// Now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        Self { all: fields.iter().sum(), stolen: fields.get(7).copied().unwrap_or(0) }
    }

    /// The share of the time since then that the host gave to others.
    pub fn stolen_since(self, earlier: Self) -> f64 {
        (self.stolen - earlier.stolen) as f64 / (self.all - earlier.all).max(1) as f64
    }
}
