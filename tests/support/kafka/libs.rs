//! The broker's jars: fetched by Maven once, then kept under `target/tmp`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names what to fetch, with pinned versions.
const POM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/kafka/pom.xml");

/// The copy of the POM beside the jars that says which versions they are, and that all are there.
const FETCHED_FROM: &str = "fetched-from-pom.xml";

/// The Java class path of a Kafka broker; fetches it if need be.
///
/// # Errors
/// For a person: why there is none.
pub fn class_path() -> Result<String, String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-libs");
    let pom = fs::read(POM).map_err(|error| format!("cannot read {POM}: {error}"))?;
    // Test binaries may run side by side: one fetches, the others wait for it.
    let _lock = lock(&directory.with_extension("lock"))?;
    if fs::read(directory.join(FETCHED_FROM)).ok().as_ref() != Some(&pom) {
        fetch(&directory)?;
        fs::write(directory.join(FETCHED_FROM), pom).map_err(|error| format!("cannot note the fetch: {error}"))?;
    }
    Ok(format!("{}/*", directory.display()))
}

fn lock(path: &PathBuf) -> Result<File, String> {
    let file = File::create(path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    file.lock().map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
    Ok(file)
}

/// Lets Maven copy the jars into an empty directory.
fn fetch(directory: &Path) -> Result<(), String> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| format!("cannot clear {}: {error}", directory.display()))?;
    }
    eprintln!("fetching Apache Kafka into {} (once)", directory.display());
    let maven = Command::new("mvn")
        .args(["-q", "-B", "-f", POM, "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", directory.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("Maven (`mvn`) cannot be started: {error}"))?;
    if maven.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&maven.stdout);
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).take(3).collect();
    Err(format!("Maven could not fetch Kafka's artifacts ({}): {}", maven.status, errors.join(" / ")))
}
