//! Runs a workload under Callgrind, and counts.

use std::{
    env, fs,
    hint::black_box,
    process::{Command, ExitCode},
};

use crate::{allocations, workloads};

/// What a workload costs each time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub instructions: f64,
    pub allocations: f64,
}

/// The function whose calls are counted, callees included: [`measured`].
const TOGGLE: &str = "--toggle-collect=*callgrind::measured*";
/// Whether there is a valgrind to run.
pub fn is_installed() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The process that Callgrind watches: does the work, first some of it uncounted, so that buffers have
/// their sizes, and says how often it was repeated and how many allocations that took.
pub fn run(name: &str) -> ExitCode {
    let Some((mut work, times)) = workloads::named(name) else {
        eprintln!("there is no workload `{name}`");
        return ExitCode::FAILURE;
    };
    (0..times / 10).for_each(|_| work());
    let before = allocations::count();
    measured(&mut work, times);
    println!("{times} {}", allocations::count() - before);
    ExitCode::SUCCESS
}

#[inline(never)]
fn measured(work: &mut workloads::Work, times: usize) {
    for _ in 0..times {
        black_box(&mut *work)();
    }
}

/// Runs a workload in a process of its own and says what it cost each time.
pub fn cost(name: &str) -> Cost {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let profile = directory.path().join("profile");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", TOGGLE])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe().expect("this program"))
        .args(["run", name])
        .output()
        .expect("valgrind starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [times, allocations] = numbers[..] else { panic!("{name} told `{told}`, not two numbers") };
    let profile = fs::read_to_string(&profile).expect("valgrind has written its profile");
    let instructions = totals(&profile).expect("the profile has totals");
    Cost { instructions: instructions as f64 / times, allocations: allocations / times }
}

/// All instructions of a profile.
fn totals(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok())
}
