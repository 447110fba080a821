//! The list of faults is honest: every test that it names is there.

use std::{fs, path::Path};

const LIST: &str = include_str!("FAULTS.md");

#[test]
fn every_test_in_the_list_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for (file, name) in LIST.split('`').filter_map(|code| code.split_once("::")) {
        let path = root.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("fn {name}(")), "{file} has no test `{name}`");
        named += 1;
    }
    assert!(named > 30, "the list names tests: {named}");
}

#[test]
fn every_fault_has_its_line() {
    for number in 1..=42 {
        assert!(LIST.contains(&format!("\n| {number} |")), "fault {number} is missing");
    }
}
