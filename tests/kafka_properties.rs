//! Every property of the client library that could make it load or run code is decided upon.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_json::Value;
use tidemark::log::kafka::{Properties, PropertyError};

/// Words of the library's own documentation that deserve a second look.
const SUSPICIOUS: [&str; 9] =
    ["librar", "plugin", "command", " script", "provider", "engine", "execut", "dlopen", "shell"];

/// Such properties that may be set, with the reason.
const HARMLESS: [(&str, &str); 8] = [
    ("builtin.features", "a wish for features that are compiled in, or an error"),
    ("debug", "only logs, without secrets: tests/kafka_secure.rs"),
    ("ssl.ca.location", "a file of certificates"),
    ("https.ca.location", "a file of certificates"),
    ("ssl.ca.certificate.stores", "for Windows only; the word is about where else certificates come from"),
    ("sasl.oauthbearer.grant.type", "the provider is one of identities"),
    ("sasl.oauthbearer.assertion.algorithm", "the provider is one of identities"),
    ("sasl.oauthbearer.assertion.claim.subject", "the provider is one of identities"),
];

/// The documentation that came with the library: name and description of every property.
fn documented() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo describes the packages");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let library = packages.iter().find(|package| package["name"] == "rdkafka-sys").expect("the library is a package");
    let manifest = PathBuf::from(library["manifest_path"].as_str().expect("a path"));
    let text = fs::read_to_string(manifest.with_file_name("librdkafka").join("CONFIGURATION.md")).expect("it is there");
    let rows = text.lines().filter_map(|line| line.split_once(" | ")).filter(|(_, row)| row.contains("*Type: "));
    rows.map(|(name, row)| (name.trim().to_owned(), row.to_lowercase())).collect()
}

fn outcome(name: &str) -> Result<Properties, PropertyError> {
    Properties::new(BTreeMap::from([(name.to_owned(), "1".to_owned())]))
}

#[test]
fn what_might_run_code_is_denied_or_known_to_be_harmless() {
    let documented = documented();
    assert!(documented.len() > 150, "the documentation was read: {}", documented.len());
    let mut undecided = Vec::new();
    for (name, description) in &documented {
        // What the library calls itself, and the functions that come from nothing but a program.
        let description = description.replace("librdkafka", "");
        let is_suspicious = SUSPICIOUS.iter().any(|word| description.contains(word) || name.contains(word));
        let is_denied = matches!(outcome(name), Err(PropertyError::Denied { .. }));
        if HARMLESS.iter().any(|(harmless, _)| harmless == name) {
            assert!(is_suspicious && !is_denied, "`{name}` need not be listed as harmless");
        } else if is_suspicious && !is_denied && !description.contains("see dedicated api") {
            undecided.push(format!("{name}: {description}"));
        }
    }
    assert!(undecided.is_empty(), "deny them, or say why they are harmless:\n{}", undecided.join("\n"));
}

#[test]
fn functions_cannot_be_set_as_text() {
    let documented = documented();
    let functions = documented.iter().filter(|(_, row)| row.contains("see dedicated api"));
    let mut count = 0;
    for (name, _) in functions {
        assert!(outcome(name).is_err(), "{name}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}
