//! The map of the code holds: what is pure stays pure, and nothing points the wrong way.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "src/{folder} has no sources");
    found
}

/// Fails on a line of code (not a comment) of the folder that names one of the words.
fn forbid(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines {
            for word in words {
                assert!(!line.contains(word), "{}:{}: names `{word}`: {line}", path.display(), number + 1);
            }
        }
    }
}

const OUTSIDE: [&str; 9] =
    ["tokio", "rdkafka", "dashmap", "prometheus", "tracing", "serde", "SystemTime", "Instant::now", "chrono"];

#[test]
fn model_and_engine_are_pure() {
    forbid("model", &OUTSIDE);
    forbid("engine", &OUTSIDE);
}

#[test]
fn the_import_graph_ends_in_the_model() {
    let modules = ["commands", "engine", "http", "log", "runtime", "settings", "telemetry", "view", "wire"];
    let uses = |module: &str| format!("crate::{module}");
    forbid("model", &modules.map(uses).iter().map(String::as_str).collect::<Vec<_>>());
    let above_engine = ["commands", "http", "log", "runtime", "settings", "telemetry", "view", "wire"];
    forbid("engine", &above_engine.map(uses).iter().map(String::as_str).collect::<Vec<_>>());
    forbid("wire", &["crate::commands", "crate::http", "crate::runtime", "crate::settings", "crate::telemetry"]);
    forbid("log", &["crate::commands", "crate::http", "crate::runtime", "crate::view"]);
    forbid("runtime", &["crate::commands", "crate::http"]);
}
