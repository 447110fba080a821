//! Runs the scenario tables in `tests/scenarios`: a model, and stories told line by line, with what
//! is published on the line that causes it. The tables explain their own format (`README.txt`).

mod table;

use std::{fmt::Write, fs, path::Path};

use table::Table;

#[test]
fn every_scenario_is_published_as_its_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(!files.is_empty(), "no tables in {}", folder.display());
    let (mut lines, mut failures) = (0, String::new());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let table = Table::parse(&name, &fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        for outcome in table.run() {
            lines += 1;
            if outcome.expected != outcome.actual {
                let table::Outcome { line, story, text, expected, actual } = outcome;
                writeln!(
                    failures,
                    "\n{name}:{line} ({story})\n    {text}\n  expected  {expected}\n  actual    {actual}"
                )
                .unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(lines > 0);
}

#[test]
fn a_wrong_expectation_is_reported_with_its_line() {
    let text = "model: m\nversion: 1\nsignals:\n  - { name: visit, match: { type: visit }, points: 5, half_life: 1d }\n\
                tiers:\n  - { name: warm, intent: { enter: 5, exit: 2 } }\n---\n## wrong\n0s acme visit # nothing\n";
    let outcomes = Table::parse("inline", text).unwrap().run();
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].line, &*outcomes[0].expected), (9, "nothing"));
    assert_eq!(outcomes[0].actual, "none -> warm above 5");
}
