//! `tidemark replay`, as a person runs it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const MODEL: &str = "
model: test
version: 1
signals:
  - { name: demo, match: { type: demo }, points: 40, half_life: 1d }
tiers:
  - { name: hot, intent: { enter: 30, exit: 20 } }
suppress:
  - { name: customer, match: { lifecycle: customer } }
";

/// A directory with a model and what a test puts beside it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.put("model.yaml", MODEL);
        desk
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn replay(&self, args: &[&str], stdin: &str) -> Output {
        replay(self.0.path(), Path::new("model.yaml"), args, stdin)
    }
}

fn replay(directory: &Path, model: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command.current_dir(directory).args(["replay", "--model"]).arg(model).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn event(id: &str, account: &str, time: &str) -> String {
    format!(r#"{{"id":"{id}","type":"demo","account":"{account}","time":"{time}"}}"#) + "\n"
}

/// One short line for each change.
fn changes(output: &Output) -> Vec<String> {
    let lines = str::from_utf8(&output.stdout).unwrap().lines();
    let tell = |line: &str| {
        let change: Value = serde_json::from_str(line).unwrap();
        assert_eq!(change["detected_at"], change["effective_at"]);
        let field = |name: &str| change[name].as_str().unwrap_or("none").to_owned();
        let [at, account, from, to, cause] = ["effective_at", "account", "from", "to", "cause"].map(field);
        format!("{at} {account} {from} -> {to} by {cause}")
    };
    lines.map(tell).collect()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn changes_come_in_the_order_in_which_they_take_effect() {
    let desk = Desk::new();
    let (late, early) = (event("2", "b", "2026-01-04T00:00:00Z"), event("1", "a", "2026-01-01T00:00:00Z"));
    desk.put("later.ndjson", &late);
    desk.put("accounts.ndjson", "{\"account\":\"b\",\"lifecycle\":\"customer\",\"time\":\"2026-01-04T12:00:00Z\"}\n");
    let args = ["--accounts", "accounts.ndjson", "--until", "2026-01-06T00:00:00Z", "later.ndjson", "-"];
    let expected = [
        "2026-01-01T00:00:00.000Z a none -> hot by signal",
        "2026-01-02T00:00:00.001Z a hot -> none by decay",
        "2026-01-04T00:00:00.000Z b none -> hot by signal",
        "2026-01-04T12:00:00.000Z b hot -> none by suppression",
    ];
    let output = desk.replay(&args, &early);
    assert_eq!(changes(&output), expected, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
    let sorted = desk.replay(&[&["--sort"], &args[..]].concat(), &early);
    assert_eq!(sorted.stdout, output.stdout);
}

#[test]
fn accounts_are_settled_up_to_the_end_and_no_further() {
    let desk = Desk::new();
    let events = event("1", "a", "2026-01-01T00:00:00Z") + &event("2", "b", "2026-01-03T00:00:00Z");
    let rise = "2026-01-01T00:00:00.000Z a none -> hot by signal";
    let fall = "2026-01-02T00:00:00.001Z a hot -> none by decay";
    let other = "2026-01-03T00:00:00.000Z b none -> hot by signal";
    for (args, expected) in [
        (&["-"][..], &[rise, fall, other][..]),
        (&["--until", "2026-01-02T00:00:00Z", "-"], &[rise]),
        (&["--until", "2026-01-02T00:00:00.001Z", "-"], &[rise, fall]),
    ] {
        let output = desk.replay(args, &events);
        assert_eq!(changes(&output), expected, "{args:?}: {}", stderr(&output));
    }
    let summary = desk.replay(&["--until", "2026-01-02T00:00:00Z", "-"], &events);
    assert!(stderr(&summary).contains("events    2: 1 applied, 1 after --until\n"), "{}", stderr(&summary));
    assert!(stderr(&summary).contains("tiers     hot 1, none 0 at 2026-01-02T00:00:00.000Z\n"), "{}", stderr(&summary));
}

#[test]
fn attributes_without_a_time_hold_from_the_start() {
    let desk = Desk::new();
    desk.put("accounts.ndjson", "{\"account\":\"a\",\"lifecycle\":\"customer\"}\n{\"lifecycle\":1}\n");
    let output = desk.replay(&["--accounts", "accounts.ndjson", "-"], &event("1", "a", "2026-01-01T00:00:00Z"));
    assert_eq!(changes(&output), [""; 0]);
    assert!(stderr(&output).starts_with("accounts.ndjson:2: missing_field at $.account: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("accounts  1, attributes 1 (1 bad lines)"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
    desk.put("wrong.ndjson", "nonsense\n");
    let wrong_file = desk.replay(&["--accounts", "wrong.ndjson", "-"], &event("1", "a", "2026-01-01T00:00:00Z"));
    assert_eq!(wrong_file.status.code(), Some(1), "{}", stderr(&wrong_file));
}

#[test]
fn bad_lines_are_told_and_counted() {
    let desk = Desk::new();
    let good = event("1", "a", "2026-01-01T00:00:00Z");
    desk.put("events.ndjson", &format!("{good}\n{{\"id\":1}}\nnonsense\n{good}"));
    let output = desk.replay(&["events.ndjson"], "");
    assert_eq!(output.status.code(), Some(0));
    let text = stderr(&output);
    assert!(text.starts_with("events.ndjson:3: wrong_type at $.id: `id` must be text, not a number\n"), "{text}");
    assert!(text.contains("\nevents.ndjson:4: malformed at $: "), "{text}");
    assert!(text.contains("\nevents    4: 1 applied, 1 duplicate, 2 bad\n"), "{text}");
    assert!(text.contains("\nbad       1 malformed, 1 wrong_type\n"), "{text}");

    desk.put("events.ndjson", "nonsense\n");
    assert_eq!(desk.replay(&["events.ndjson"], "").status.code(), Some(1));
    assert_eq!(desk.replay(&["-"], "").status.code(), Some(0), "nothing is not bad");
    assert_eq!(desk.replay(&["missing.ndjson"], "").status.code(), Some(1));
}

#[test]
fn real_visits_give_the_same_sorted_and_streamed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (model, visits) = (root.join("config/models/default.yaml"), root.join("tests/data/web-visits.ndjson.gz"));
    let desk = Desk::new();
    let until = ["--until", "2015-08-01T00:00:00Z"];
    let sorted = replay(root, &model, &[&until[..], &["--sort", visits.to_str().unwrap()]].concat(), "");
    assert!(changes(&sorted).len() > 20, "{}", stderr(&sorted));
    assert!(changes(&sorted).is_sorted_by_key(|change| change[..24].to_owned()));

    let mut text = String::new();
    let packed = fs::File::open(&visits).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).unwrap();
    let time = |line: &&str| serde_json::from_str::<Value>(line).unwrap()["time"].as_str().unwrap().to_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(time);
    let in_order = desk.put("visits.ndjson", &lines.join("\n"));
    let streamed = replay(root, &model, &[&until[..], &[in_order.to_str().unwrap()]].concat(), "");
    assert_eq!(changes(&streamed), changes(&sorted));
    assert_eq!(streamed.stdout, sorted.stdout);
}
