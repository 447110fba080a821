//! `tidemark replay` of a month of events in a file, as somebody does who tries a model.

use std::{
    fs::File,
    hint::black_box,
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use tidemark::{
    log::file::Lines,
    model::Span,
    wire::{
        event::{Decoder, PersonKey, RawRecord},
        fields::MAX_VALUE_BYTES,
        model_file,
        time::parse_span,
    },
};

use crate::{
    options::{Options, Parameters},
    oracle::Verdict,
    proc,
    report::Run,
    stage::{self, DEFAULT_MODEL},
    support::{kafka::Broker, tidemark::run_well},
    traffic::Traffic,
};

/// A file of a few million events, a month of them, so that accounts also fall.
pub fn parameters(options: &Options) -> Parameters {
    let usual = Parameters { span: parse_span("30d").ok(), ..Parameters::USUAL };
    let quick = Parameters { events: 20_000, accounts: 10_000, ..usual };
    if options.quick { quick } else { usual }.with(options)
}

/// Measures the command from its start to its end; what decoding has of it is measured apart, on this thread. The
/// broker stays idle.
pub fn run(_: &'static Broker, _: &str, parameters: Parameters, options: &Options) -> Run {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build's");
    let path = directory.path().join("events.ndjson");
    write(&path, parameters);
    let file = path.to_str().expect("a path in text");

    let (began, before) = (Instant::now(), proc::cpu_seconds_of_children());
    let changes = run_well(&["replay", "--model", DEFAULT_MODEL, file]);
    let (wall, cpu) = (began.elapsed().as_secs_f64(), proc::cpu_seconds_of_children() - before);
    let decoding = decode(file);

    let verdict = if options.no_oracle { Verdict::default() } else { compare(&changes, file) };
    let events = parameters.events as f64;
    let mut run = Run::bare(verdict);
    run.figure("events", events);
    run.figure("changes per 1,000 events", changes.lines().count() as f64 * 1000.0 / events);
    run.figure("events per CPU-second", events / cpu);
    run.figure("events per CPU-second, reading and decoding alone", events / decoding);
    if cpu > decoding {
        run.figure("events per CPU-second, all else", events / (cpu - decoding));
    }
    run.figure("events per second of wall time", events / wall);
    run
}

/// Writes as many events as asked for, in the order of their times.
fn write(path: &Path, parameters: Parameters) {
    let mut file = BufWriter::new(File::create(path).expect("a new file"));
    let mut traffic = Traffic::new(&parameters);
    let time = parameters.times(stage::now());
    for event in 0..parameters.events {
        let written = traffic.next(time(event));
        file.write_all(written.value).and_then(|()| file.write_all(b"\n")).expect("room for the events");
    }
    let file = file.into_inner().expect("room for the events");
    // Or it would be written to the disk while it is measured.
    file.sync_all().expect("room for the events");
}

/// With `--sort` all events are held in memory and applied afterwards; the file is in order, so the same must come.
fn compare(changes: &str, file: &str) -> Verdict {
    let mut verdict = Verdict::of_comparison();
    if sorted(changes) != sorted(&run_well(&["replay", "--sort", "--model", DEFAULT_MODEL, file])) {
        verdict.wrong("with --sort there are other changes".to_owned());
    }
    verdict
}

fn sorted(changes: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = changes.lines().collect();
    lines.sort_unstable();
    lines
}

/// CPU seconds of reading and decoding the file. They are counted in hundredths.
fn decode(file: &str) -> f64 {
    let model = model_file::load(Path::new(DEFAULT_MODEL)).expect("the default model").model;
    let mut decoder = Decoder::new(model, PersonKey::from_secret("replay"), Span::ZERO);
    let mut lines = Lines::open(file, MAX_VALUE_BYTES).expect("the file");
    let before = proc::cpu_seconds_of_thread();
    while let Some(line) = lines.next_line().expect("the file") {
        let record = RawRecord { value: Some(line.bytes), ..RawRecord::default() };
        black_box(decoder.decode(record).expect("a sound event"));
    }
    (proc::cpu_seconds_of_thread() - before).max(0.01)
}
