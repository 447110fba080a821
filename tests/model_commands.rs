//! `tidemark test` and `tidemark validate` as a person or a build runs them.

mod support;

use std::{fs, path::Path, process::Output};

use support::tidemark::run;

const MODEL: &str = r#"model: m
version: 1
signals:
  - { name: visit, match: { type: page_view }, points: 12, half_life: 10d }
tiers:
  - { name: warm, intent: { enter: 10, exit: 7 } }
tests:
  - name: a visit warms
    events: [{ at: 0s, type: page_view }]
    expect: [{ at: 0s, tier: warm }]
  - name: silence cools
    events: [{ at: 0s, type: page_view }]
    expect: [{ at: 20d, tier: none }]
"#;

/// Writes a model file and runs a command on it.
fn run_on(model: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.yaml");
    fs::write(&path, model).expect("the model is written");
    let path = path.to_str().expect("a path in UTF-8");
    let arguments: Vec<&str> = arguments.iter().map(|it| if *it == "MODEL" { path } else { it }).collect();
    run(&arguments)
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn tests_that_pass_are_listed_and_counted() {
    let (code, out, _) = told(&run_on(MODEL, &["test", "MODEL"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("test a visit warms ... ok\ntest silence cools ... ok\n"), "{out}");
    assert!(out.ends_with("2 passed, 0 failed\n"), "{out}");
}

#[test]
fn a_test_that_fails_shows_the_difference() {
    let (code, out, _) = told(&run_on(&MODEL.replace("at: 20d", "at: 2d"), &["test", "MODEL"]));
    assert_eq!(code, Some(1));
    assert!(out.contains("test silence cools ... FAILED") && out.contains("expected none"), "{out}");
    assert!(out.ends_with("1 passed, 1 failed\n"), "{out}");
}

#[test]
fn tests_can_be_chosen_by_name() {
    let (code, out, _) = told(&run_on(MODEL, &["test", "MODEL", "--filter", "cools"]));
    assert_eq!(code, Some(0));
    assert!(out.ends_with("1 passed, 0 failed\n"), "{out}");
}

#[test]
fn a_bad_model_is_a_configuration_error() {
    let model = MODEL.replace("points", "pionts");
    for command in [&["test", "MODEL"][..], &["validate", "--model", "MODEL"]] {
        let (code, _, errors) = told(&run_on(&model, command));
        assert_eq!(code, Some(78), "{command:?}");
        assert!(errors.contains("model.yaml:4:48") && errors.contains("did you mean `points`?"), "{errors}");
    }
}

#[test]
fn warnings_can_be_denied() {
    let model = MODEL.replace("half_life: 10d }", "half_life: 10d, cap: 11 }");
    let (code, out, errors) = told(&run_on(&model, &["validate", "--model", "MODEL"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("model m version 1, digest ") && errors.starts_with("warning: the cap 11"), "{out}{errors}");
    assert_eq!(told(&run_on(&model, &["validate", "--model", "MODEL", "--deny-warnings"])).0, Some(1));
}

#[test]
fn the_default_model_is_sound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models/default.yaml");
    let path = path.to_str().expect("a path in UTF-8");
    let (code, out, errors) = told(&run(&["validate", "--model", path, "--deny-warnings"]));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
}
