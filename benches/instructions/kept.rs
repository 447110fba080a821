//! The costs that are kept in a file, and how those found compare.

use std::{
    collections::BTreeMap,
    env, fs,
    process::{Command, ExitCode},
};

use crate::{
    callgrind::{self, Cost},
    workloads,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const HEADER: &str = "\
# What one repetition of each workload costs: instructions, and allocations of memory.
# Written by: TIDEMARK_UPDATE=1 cargo bench --bench instructions
";
/// How far a cost may move, as a part of itself.
const TOLERANCE: f64 = 0.05;

/// Costs by workload, and the compiler of the program that was measured.
struct Kept {
    compiler: String,
    costs: BTreeMap<String, Cost>,
}

/// Measures the workloads whose names contain `filter`, and compares with what is kept.
pub fn compare(filter: &str) -> ExitCode {
    if !callgrind::is_installed() {
        println!("SKIPPED: instructions were not counted: there is no valgrind");
        return exit(env::var_os("TIDEMARK_REQUIRE_VALGRIND").is_none());
    }
    let mut kept = Kept::read();
    let compiler = compiler();
    println!("{:<36}{:>14}{:>14}{:>14}", "", "instructions", "kept", "allocations");
    let mut well = true;
    for name in workloads::names().filter(|name| name.contains(filter)) {
        let found = callgrind::cost(&name);
        let before = kept.costs.insert(name.clone(), found);
        let instructions = before.map_or_else(|| "none".to_owned(), |cost| format!("{:.0}", cost.instructions));
        let verdict = before.map_or("is new", |before| verdict(before, found));
        well &= verdict.is_empty();
        println!("{name:<36}{:>14.0}{instructions:>14}{:>14.2}  {verdict}", found.instructions, found.allocations);
    }
    if env::var_os("TIDEMARK_UPDATE").is_some() {
        kept.compiler = compiler;
        kept.write();
        return exit(true);
    }
    if compiler != kept.compiler {
        println!("the kept counts are of {}, these of {compiler}: differences may be the compilers'", kept.compiler);
    }
    if !well {
        println!("if that is meant, keep it: TIDEMARK_UPDATE=1 cargo bench --bench instructions");
    }
    exit(well)
}

/// What is wrong with a cost; nothing if it is as kept. One that fell counts too: it would be free to
/// rise again.
fn verdict(kept: Cost, found: Cost) -> &'static str {
    let (up, down) = (1.0 + TOLERANCE, 1.0 - TOLERANCE);
    // Counts are written with two decimals.
    let allocations = (kept.allocations * down - 0.01)..=(kept.allocations * up + 0.01);
    if found.instructions > kept.instructions * up {
        "TOO MANY INSTRUCTIONS"
    } else if found.instructions < kept.instructions * down {
        "FEWER INSTRUCTIONS"
    } else if !allocations.contains(&found.allocations) {
        "OTHER ALLOCATIONS"
    } else {
        ""
    }
}

fn exit(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The compiler that cargo has used for this program.
fn compiler() -> String {
    let told = Command::new("rustc").arg("--version").output().expect("rustc, as cargo has just used it");
    String::from_utf8_lossy(&told.stdout).trim().to_owned()
}

impl Kept {
    /// What the file says; nothing if there is none.
    fn read() -> Self {
        let text = fs::read_to_string(FILE).unwrap_or_default();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next().unwrap_or_default().to_owned();
        let costs = lines.map(|line| cost(line).unwrap_or_else(|| panic!("{FILE}: `{line}` is not a cost")));
        Self { compiler, costs: costs.collect() }
    }

    fn write(&self) {
        let line = |(name, cost): (&String, &Cost)| {
            format!("{name:<36}{:>10.0}{:>10.2}\n", cost.instructions, cost.allocations)
        };
        let lines: String = self.costs.iter().map(line).collect();
        fs::write(FILE, format!("{HEADER}{}\n{lines}", self.compiler)).expect("the file can be written");
    }
}

fn cost(line: &str) -> Option<(String, Cost)> {
    let [name, instructions, allocations] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let cost = Cost { instructions: instructions.parse().ok()?, allocations: allocations.parse().ok()? };
    Some((name.to_owned(), cost))
}
