//! `tidemark replay`: what a model makes of files of events.

use std::{
    fs,
    io::{self, BufWriter, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

mod history;
mod summary;

use history::{History, KeptAttributes, KeptEvent};
use summary::{Summary, Tally};

use super::{Failure, exit};
use crate::{
    log::file::{Lines, STDIN},
    model::{Change, Model, Span, Timestamp},
    wire::{
        attributes::AttributeDecoder,
        change::encode_change,
        dead_letter::Rejected,
        event::{Decoded, Decoder, PersonKey, RawRecord},
        fields::MAX_VALUE_BYTES,
        model_file,
        time::{parse_rfc3339, parse_span},
    },
};

/// Events that are read before they are applied together.
const EVENTS_AT_ONCE: usize = 64;
/// Bad lines that are shown; the others are counted.
const BAD_LINES_SHOWN: u64 = 100;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scoring model (YAML)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Attributes of accounts (NDJSON): `account`, its attributes, and `time` if they hold only from then on
    #[arg(long, value_name = "FILE")]
    accounts: Option<String>,
    /// Settle all accounts up to this time (RFC 3339) and leave out later events [default: the latest event]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Sort the events by their times first (they are held in memory)
    #[arg(long)]
    sort: bool,
    /// How far the settling of accounts stays behind the latest event, for files that are not in order
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_span)]
    grace: Span,
    /// Files of events (NDJSON, also gzip); `-` is standard input
    #[arg(required = true, value_name = "EVENTS")]
    events: Vec<String>,
}

/// Reads a time of the command line.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let time = parse_rfc3339(text).filter(|time| time.is_representable());
    time.ok_or_else(|| "write a time like 2026-11-21T17:00:00Z".to_owned())
}

/// Runs the command.
pub fn execute(args: Args) -> Result<ExitCode, Failure> {
    let model = model_file::load(&args.model).map_err(Failure::config)?.model;
    let started = Instant::now();
    let output = Output { model: model.clone(), out: BufWriter::new(io::stdout().lock()), line: Vec::new() };
    let mut replay = Replay::new(&args, model, output)?;
    replay.read_events()?;
    let settled = match replay.finish() {
        // Whoever reads has seen enough, as with `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        settled => settled.context("cannot write the changes")?,
    };
    let Replay { history, tally, .. } = &replay;
    eprintln!("{}", Summary { tally, history, settled, took: started.elapsed() });
    Ok(if tally.all_bad() { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
}

/// Where changes go: one line each.
struct Output<W: Write> {
    model: Arc<Model>,
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Output<W> {
    fn write(&mut self, changes: Vec<Change>, tally: &mut Tally) -> io::Result<()> {
        for change in changes {
            tally.changed(&change);
            self.line.clear();
            encode_change(&change, self.model.id(), &mut self.line);
            self.line.push(b'\n');
            self.out.write_all(&self.line)?;
        }
        Ok(())
    }
}

/// The events that were read, on their way through the history.
struct Replay<'a, W: Write> {
    args: &'a Args,
    decoder: Decoder,
    history: History,
    /// Events that are not applied yet: a few, or with `--sort` all.
    kept: Vec<KeptEvent>,
    /// The latest event that means nothing to the model.
    latest_ignored: Timestamp,
    tally: Tally,
    reporter: Reporter,
    output: Output<W>,
}

impl<'a, W: Write> Replay<'a, W> {
    fn new(args: &'a Args, model: Arc<Model>, output: Output<W>) -> Result<Self, Failure> {
        let mut tally = Tally::default();
        let mut reporter = Reporter::new(&args.events)?;
        let attributes = match &args.accounts {
            Some(file) => read_attributes(file, &model, &mut tally, &mut reporter)?,
            None => Vec::new(),
        };
        // Hashes do not leave the process, so any key will do. A file's record time is its event time: no skew.
        let decoder = Decoder::new(model.clone(), PersonKey::from_secret("replay"), Span::ZERO);
        let history = History::new(model, attributes, args.grace, args.sort);
        let latest_ignored = Timestamp::EARLIEST;
        Ok(Self { args, decoder, history, kept: Vec::new(), latest_ignored, tally, reporter, output })
    }

    fn read_events(&mut self) -> Result<(), Failure> {
        for file in &self.args.events {
            let mut lines = Lines::open(file, MAX_VALUE_BYTES)?;
            while let Some(line) = lines.next_line()? {
                self.tally.events += 1;
                let record = RawRecord { value: Some(line.bytes), ..RawRecord::default() };
                let number = line.number;
                match self.decoder.decode(record) {
                    Err(rejected) => {
                        self.tally.bad_events[rejected.fault as usize] += 1;
                        self.reporter.bad_line(file, number, &rejected);
                    }
                    Ok(Decoded::Ignored { why, time }) => {
                        self.tally.ignored(why);
                        self.latest_ignored = self.latest_ignored.max(time);
                    }
                    Ok(Decoded::Event(event)) if self.args.until.is_some_and(|until| event.time > until) => {
                        self.tally.after_until += 1;
                    }
                    Ok(Decoded::Event(event)) => self.kept.push(KeptEvent::keep(&event)),
                }
                if self.kept.len() >= EVENTS_AT_ONCE && !self.args.sort {
                    self.history.apply_all(&self.kept);
                    self.kept.clear();
                }
                self.reporter.progress(lines.bytes_read());
            }
            self.reporter.end_of_file(lines.bytes_read());
        }
        self.reporter.finish();
        Ok(())
    }

    /// Applies what was kept, settles all accounts, and writes the changes that are not out yet.
    /// Returns the time up to which accounts are settled.
    fn finish(&mut self) -> io::Result<Timestamp> {
        if self.args.sort {
            self.kept.sort_by_key(|event| event.time);
        }
        for events in self.kept.chunks(EVENTS_AT_ONCE) {
            self.history.apply_all(events);
            if self.args.sort {
                let changes = self.history.take_final();
                self.output.write(changes, &mut self.tally)?;
            }
        }
        let settled = self.args.until.unwrap_or(self.history.latest().max(self.latest_ignored));
        self.history.settle(settled);
        let changes = self.history.take_all();
        self.output.write(changes, &mut self.tally)?;
        self.output.out.flush()?;
        Ok(settled)
    }
}

fn read_attributes(
    file: &str,
    model: &Arc<Model>,
    tally: &mut Tally,
    reporter: &mut Reporter,
) -> Result<Vec<KeptAttributes>, Failure> {
    let mut decoder = AttributeDecoder::new(model.clone());
    let mut lines = Lines::open(file, MAX_VALUE_BYTES)?;
    let mut kept = Vec::new();
    while let Some(line) = lines.next_line()? {
        tally.attributes += 1;
        match decoder.decode(RawRecord { value: Some(line.bytes), ..RawRecord::default() }) {
            Ok(attributes) => kept.push(KeptAttributes::keep(&attributes)),
            Err(rejected) => {
                tally.bad_attributes += 1;
                reporter.bad_line(file, line.number, &rejected);
            }
        }
    }
    Ok(kept)
}

/// Says on standard error what goes wrong and, on a terminal, how far reading has got.
struct Reporter {
    bar: ProgressBar,
    /// Bytes of the files that are done.
    done: u64,
    lines: u64,
    bad_lines: u64,
}

impl Reporter {
    fn new(files: &[String]) -> Result<Self, Failure> {
        let mut total = 0;
        for file in files.iter().filter(|file| *file != STDIN) {
            total += fs::metadata(file).with_context(|| format!("cannot read {file}"))?.len();
        }
        // Standard input has no length that could be known.
        let known = !files.iter().any(|file| file == STDIN);
        let bar = if known { ProgressBar::new(total) } else { ProgressBar::no_length() };
        let form =
            if known { "{bar:40} {percent}% {bytes}/{total_bytes}, {eta} left" } else { "{spinner} {bytes} read" };
        Ok(Self { bar: bar.with_style(ProgressStyle::with_template(form)?), done: 0, lines: 0, bad_lines: 0 })
    }

    fn bad_line(&mut self, file: &str, number: u64, rejected: &Rejected) {
        self.bad_lines += 1;
        match self.bad_lines {
            ..=BAD_LINES_SHOWN => self.bar.suspend(|| eprintln!("{file}:{number}: {rejected}")),
            shown if shown == BAD_LINES_SHOWN + 1 => {
                self.bar.suspend(|| eprintln!("more than {BAD_LINES_SHOWN} bad lines: the others are only counted"));
            }
            _ => {}
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.lines += 1;
        // Often enough for the eye, and free for the loop.
        if self.lines.is_multiple_of(4096) {
            self.bar.set_position(self.done + bytes);
        }
    }

    fn end_of_file(&mut self, bytes: u64) {
        self.done += bytes;
        self.bar.set_position(self.done);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
