//! The fuzz targets without a fuzzer: all kept inputs, and mutations of them, on stable Rust.
//!
//! `TIDEMARK_SEED` repeats a run, `TIDEMARK_MUTATIONS` says how many of each kept input.

use std::{fs, path::PathBuf};

use fastrand::Rng;

#[path = "fuzz/targets.rs"]
mod targets;

/// Of each kept input.
const MUTATIONS: u64 = 300;
/// Inputs grow by splicing and doubling; what is longer says nothing new.
const BYTES_MAX: usize = 1 << 16;

#[test]
fn events() {
    run("event");
}

#[test]
fn attributes() {
    run("attributes");
}

#[test]
fn model_files() {
    run("model_file");
}

#[test]
fn pages() {
    run("page");
}

#[test]
fn standings() {
    run("standing");
}

#[test]
fn settings() {
    run("settings");
}

#[test]
fn every_target_has_kept_inputs_and_a_test() {
    let tests = include_str!("fuzz_corpus.rs");
    for (name, _) in targets::TARGETS {
        assert!(kept(name).len() >= 3, "{name}");
        assert!(tests.contains(&format!("run(\"{name}\")")), "{name} is not run");
    }
}

fn run(name: &str) {
    let (_, target) = targets::TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    let inputs = kept(name);
    for input in &inputs {
        feed(name, target, input);
    }
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse().expect("a number"));
    let seed = number("TIDEMARK_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TIDEMARK_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mutations = number("TIDEMARK_MUTATIONS").unwrap_or(MUTATIONS);
    for input in &inputs {
        for _ in 0..mutations {
            feed(name, target, &mutated(input, &inputs, &mut random));
        }
    }
}

/// The inputs that are kept, in an order that does not depend on the machine.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("the input can be read")).collect()
}

/// Runs the target; an input on which it panics is left as a file to look at and to keep.
fn feed(name: &str, target: fn(&[u8]), input: &[u8]) {
    struct Left<'a>(&'a str, &'a [u8]);
    impl Drop for Left<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", self.0));
                let written = fs::write(&path, self.1);
                eprintln!("the input is in {} ({written:?}): {:?}", path.display(), self.1.escape_ascii().to_string());
            }
        }
    }
    let _left = Left(name, input);
    target(input);
}

/// The input with a few changes that are likely to hurt.
fn mutated(input: &[u8], others: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        mutate(&mut bytes, others, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Rng) {
    /// Words that mean something to a decoder, or are too much for it.
    const WORDS: [&[u8]; 14] = [
        b"null",
        b"-1",
        b"1e999",
        b"18446744073709551616",
        b"\"",
        b"\\ud800",
        b"[[[[[[[[",
        b"{\"\":",
        b"&a",
        b"*a",
        b"\n",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\x80",
        b"9999-12-31T23:59:60Z",
    ];
    let at = random.usize(..=bytes.len());
    let range = |random: &mut Rng, length: usize| {
        let start = random.usize(..=length);
        start..random.usize(start..=length)
    };
    match random.u8(..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(range(random, bytes.len()))),
        4 => {
            let copied = bytes[range(random, bytes.len())].to_vec();
            bytes.splice(at..at, copied);
        }
        5 => {
            let other = &others[random.usize(..others.len())];
            let piece = &other[range(random, other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        _ => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].iter().copied())),
    }
}
