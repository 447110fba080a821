//! Figures of runs: a table for a person, JSON with everything for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    meter::Measured,
    numbers,
    options::{Options, Parameters},
    oracle::Verdict,
};

/// What one run gave.
pub struct Run {
    /// What the scenario is about.
    figures: Vec<Figure>,
    /// What is measured of every service.
    common: Vec<Figure>,
    /// CPU seconds of the service by thread.
    threads: BTreeMap<String, f64>,
    /// Bytes that were written to Kafka, by topic.
    written: BTreeMap<String, u64>,
    /// Latencies in microseconds.
    histograms: Vec<(&'static str, Histogram<u64>)>,
    pub verdict: Verdict,
}

/// One number, with what it is, its unit included.
type Figure = (&'static str, f64);

/// Quantiles that tables show.
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

impl Run {
    /// A run with the figures that every scenario with a service has.
    pub fn new(measured: Measured, verdict: Verdict) -> Self {
        let Measured { wall, cpu, kernel, threads, broker, harness, stolen, memory, written } = measured;
        let common = vec![
            ("wall, s", wall.as_secs_f64()),
            ("CPU of the service, s", cpu),
            ("CPU of the service in the kernel, s", kernel),
            ("CPU of the broker, s", broker),
            ("CPU of this benchmark, s", harness),
            ("time stolen by the host, %", stolen * 100.0),
        ];
        let mut run = Self { common, threads, written, ..Self::bare(verdict) };
        if let Some(memory) = memory {
            run.common.push(("resident at the end, MB", memory.resident as f64 / 1e6));
            run.common.push(("resident at most, MB", memory.peak as f64 / 1e6));
        }
        if stolen > 0.01 {
            run.verdict.remark(format!("the host gave {:.1} % of the time to others", stolen * 100.0));
        }
        run
    }

    /// A run without figures.
    pub fn bare(verdict: Verdict) -> Self {
        let (threads, written) = (BTreeMap::new(), BTreeMap::new());
        Self { figures: Vec::new(), common: Vec::new(), threads, written, histograms: Vec::new(), verdict }
    }

    /// Adds what there was per event, of so many that the service took while it was measured.
    pub fn about(&mut self, events: u64, changes: f64) {
        let bytes = self.written.values().sum::<u64>() as f64;
        self.figure("events", events as f64);
        self.figure("changes per 1,000 events", changes * 1000.0 / events as f64);
        self.figure("bytes written to Kafka per event", bytes / events as f64);
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &'static str, value: f64) {
        self.figures.push((name, value));
    }

    /// Adds a histogram of microseconds; the table shows its quantiles.
    pub fn histogram(&mut self, name: &'static str, histogram: Histogram<u64>) {
        self.histograms.push((name, histogram));
    }

    /// All numbers by their names: those of threads, topics and histograms too.
    fn rows(&self) -> Vec<(String, f64)> {
        let owned = |(name, value): &Figure| ((*name).to_owned(), *value);
        let threads = self.threads.iter().map(|(name, seconds)| (format!("CPU of {name}, s"), *seconds));
        let written =
            self.written.iter().map(|(topic, bytes)| (format!("written to {topic}, MB"), *bytes as f64 / 1e6));
        let latencies = self.histograms.iter().flat_map(|(name, histogram)| {
            let quantile = move |(label, at): (&str, f64)| {
                (format!("{name}, {label}, ms"), histogram.value_at_quantile(at) as f64 / 1000.0)
            };
            std::iter::once((format!("{name}, count"), histogram.len() as f64)).chain(QUANTILES.map(quantile))
        });
        let (figures, common) = (self.figures.iter().map(owned), self.common.iter().map(owned));
        figures.chain(latencies).chain(common).chain(threads).chain(written).collect()
    }

    fn json(&self) -> Value {
        let histograms = self.histograms.iter().map(|(name, histogram)| {
            let pairs = histogram.iter_recorded().map(|step| json!([step.value_iterated_to(), step.count_at_value()]));
            json!({ "name": name, "unit": "us", "pairs": pairs.collect::<Vec<_>>() })
        });
        let figures = self.figures.iter().chain(&self.common).map(|(name, value)| ((*name).to_owned(), json!(value)));
        json!({
            "verdict": self.verdict.name(),
            "remarks": self.verdict,
            "figures": figures.collect::<serde_json::Map<_, _>>(),
            "cpu_seconds_by_thread": self.threads,
            "bytes_written_by_topic": self.written,
            "histograms": histograms.collect::<Vec<_>>(),
        })
    }
}

/// Prints the table of a scenario's runs.
pub fn print(scenario: &str, parameters: &Parameters, runs: &[Run]) {
    println!("\n{scenario}: {}", serde_json::to_string(parameters).expect("parameters are plain data"));
    let rows: Vec<BTreeMap<String, f64>> = runs.iter().map(|run| run.rows().into_iter().collect()).collect();
    let mut told = BTreeSet::new();
    let names = runs.iter().flat_map(Run::rows).map(|(name, _)| name).filter(|name| told.insert(name.clone()));
    for name in names.collect::<Vec<_>>() {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.get(&name).copied()).collect();
        println!("  {name:<44} {}", numbers::spread(values));
    }
    for (number, run) in runs.iter().enumerate() {
        println!("  run {}: {}", number + 1, run.verdict.name());
        run.verdict.lines().for_each(|line| println!("    {}", line.trim_end().replace('\n', "\n    ")));
    }
}

/// Writes everything to a file of its own, and gives its path.
pub fn write(scenario: &str, parameters: &Parameters, options: &Options, runs: &[Run]) -> PathBuf {
    let now = chrono::Utc::now();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let path = directory.join(format!("{scenario}-{}.json", now.format("%Y%m%dT%H%M%SZ")));
    let report = json!({
        "scenario": scenario,
        "ended_at": now.to_rfc3339(),
        "quick": options.quick,
        "parameters": parameters,
        "revision": printed("git", &["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]),
        "versions": { "rustc": printed("rustc", &["--version"]), "kafka": kafka_version(), "kernel": printed("uname", &["-sr"]) },
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "runs": runs.iter().map(Run::json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(&directory).expect("a directory beside the build's");
    let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
    fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}

/// What a command prints; nothing if there is no such command here.
fn printed(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

/// The version of the broker, from where it is pinned.
fn kafka_version() -> Option<&'static str> {
    let (_, rest) = include_str!("../../tests/support/kafka/pom.xml").split_once("<artifactId>kafka_")?;
    Some(rest.split_once("<version>")?.1.split_once('<')?.0)
}
