//! Good models load, bad ones say what to do, and the digest covers exactly what decides.

use proptest::prelude::*;

use super::*;
use crate::model::{Leaf, Rule, Scoring, SignalId};

/// Every part of a model once. Tests change one thing in it.
const SMALL: &str = r#"model: small
version: 3
ignore:
  - { match: { type: page_view, path: "/careers*" } }
signals:
  - { name: visit, match: { type: page_view }, points: 12, half_life: 10d, cap: 45 }
  - { name: surge, match: { type: topic, provider: [b, a] }, level: score, points: 0.3, half_life: 14d }
  - { name: team, match: { type: page_view }, distinct: person, within: 14d, points: 4, cap: 24 }
fit:
  criteria:
    - { name: size, points: 60, match: { employees: { min: 50, max: 2000 } } }
    - { name: place, points: 40, match: { country: { not: [XX] } } }
  grades: { A: 75, B: 50 }
tiers:
  - { name: high, intent: { enter: 60, exit: 45 }, fit: { min: 75 }, min_dwell: 2d }
  - { name: low, intent: { enter: 30, exit: 22 }, segment: warm, when: { not: { signal: surge, score: { min: 2 } } } }
segments:
  - { name: warm, action: alert, all: [{ signal: visit, count: { min: 3 }, within: 7d }] }
  - { name: hot, action: call, any: [{ segment: warm }, { signal: visit, distinct: person, count: { min: 9 }, within: 7d }] }
suppress:
  - { name: customer, match: { lifecycle: customer } }
tests:
  - name: rises
    events:
      - { at: 0s, type: page_view, times: 4 }
    expect:
      - { at: 1m, tier: low, changes: [none -> low, enter warm] }
"#;

fn small() -> Arc<Model> {
    parse(SMALL, "small.yaml").expect("it loads").model
}

/// `SMALL` with one change.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "`{from}` must stand once in the small model");
    SMALL.replace(from, to)
}

fn failure(text: &str) -> Diagnostic {
    match parse(text, "small.yaml") {
        Err(ModelFileError::Wrong(diagnostic)) => *diagnostic,
        other => panic!("expected a problem, got {other:?}"),
    }
}

#[test]
fn a_model_is_compiled_whole() {
    let model = small();
    assert_eq!((&*model.id().name, model.id().version, model.id().digest.len()), ("small", 3, 16));
    assert_eq!(model.signals().len(), 3);
    assert!(matches!(model.signals()[1].scoring, Scoring::Level { field, .. }
        if &*model.event_keys()[usize::from(field.0)] == "score"));
    assert_eq!(model.facts().len(), 3);
    assert_eq!(model.times_kept(SignalId(0)), 3);
    let kept: Vec<_> = model.distinct_sets().iter().map(|set| (set.signal, set.keep)).collect();
    assert_eq!(kept, [(SignalId(2), 6), (SignalId(0), 9)], "24 / 4 for the cap, 9 for the rule");
    assert!(!model.is_monotone());
}

#[test]
fn a_rule_holds_the_segment_that_it_names() {
    let model = small();
    let Some(Rule::All(both)) = &model.tiers()[1].rule else { panic!("{:?}", model.tiers()[1].rule) };
    assert_eq!(both[0], model.segments()[0].rule);
    let Rule::Any(either) = &model.segments()[1].rule else { panic!("{:?}", model.segments()[1].rule) };
    assert_eq!(either[0], model.segments()[0].rule);
    assert!(matches!(either[1], Rule::Leaf(Leaf::Distinct { min: 9, .. })));
}

#[test]
fn equal_statements_about_attributes_are_one_fact() {
    let twice = changed(
        "{ name: place, points: 40, match: { country: { not: [XX] } } }",
        "{ name: place, points: 40, match: { employees: { max: 2.0e3, min: 50 } } }",
    );
    let model = parse(&twice, "small.yaml").unwrap().model;
    assert_eq!(model.facts().len(), 2);
    assert_eq!(&*model.facts()[0].statement, r#"{"employees":{"max":2000,"min":50}}"#);
}

#[test]
fn a_long_statement_about_attributes_has_a_short_name() {
    let listing = |first: u32| {
        let domains: Vec<String> = (first..first + 10_000).map(|number| format!("company-{number}.example")).collect();
        let text = changed(
            "{ name: place, points: 40, match: { country: { not: [XX] } } }",
            &format!("{{ name: place, points: 40, match: {{ domain: [{}] }} }}", domains.join(", ")),
        );
        let model = parse(&text, "small.yaml").unwrap().model;
        model.facts().iter().map(|fact| fact.statement.clone()).find(|name| name.starts_with("sha256:")).unwrap()
    };
    assert_eq!(listing(0).len(), "sha256:".len() + 64);
    assert_eq!(listing(0), listing(0));
    assert_ne!(listing(0), listing(1));
}

#[test]
fn a_long_statement_is_in_the_digest_as_it_stands() {
    let domains: Vec<String> = (0..100).map(|number| format!("company-{number}.example")).collect();
    let text = format!(
        "model: long\nversion: 1\nsignals:\n  - {{ name: visit, match: {{ type: page_view }}, points: 12, half_life: 10d }}\n\
         tiers:\n  - {{ name: high, intent: {{ enter: 60, exit: 45 }} }}\nsuppress:\n  - {{ name: competitor, match: {{ domain: \
         [{}] }} }}\n",
        domains.join(", ")
    );
    assert_eq!(
        &*parse(&text, "long.yaml").unwrap().model.id().digest,
        "51bfc59fdda6f9ac",
        "as before they had short names"
    );
}

#[test]
fn properties_are_looked_at_one_by_one() {
    let text = changed(r#"path: "/careers*""#, "properties: { exists: true }");
    let error = parse(&text, "small.yaml").unwrap_err().to_string();
    assert!(error.contains("`properties` as a whole") && error.contains("small.yaml:4:"), "{error}");
}

#[test]
fn a_problem_is_shown_as_a_person_reads_it() {
    let text = changed("points: 12", "pionts: 12");
    assert_eq!(
        parse(&text, "models/small.yaml").unwrap_err().to_string(),
        "unknown key `pionts`
 --> models/small.yaml:6:48
  |
6 |   - { name: visit, match: { type: page_view }, pionts: 12, half_life: 10d, cap: 45 }
  |                                                ^^^^^^
  = help: did you mean `points`?"
    );
    assert!(
        load(Path::new("no/such.yaml")).unwrap_err().to_string().starts_with("cannot read the model file no/such.yaml")
    );
}

#[test]
fn every_mistake_has_its_place_and_its_advice() {
    // What is changed in the small model, into what; where the caret points; what is said; the advice.
    let table = [
        ("model: small", "model: 9lives", "1: 9lives", "`9lives` cannot be the name of a model", "a letter and then"),
        ("version: 3", "version: -3", "2: -3", "expected a whole number", ""),
        ("path: \"/careers*\"", "path: []", "4: []", "an empty list matches nothing", "at least one value"),
        ("points: 12", "points: -12", "6: -12", "points of `visit` is -12", "use `suppress` for accounts, or `ignore`"),
        ("points: 12", "points: .inf", "6: .inf", "points of `visit` is inf", ""),
        ("points: 12", "points: twelve", "6: twelve", "expected a number", ""),
        ("cap: 45", "cap: 0", "6: 0 }", "cap of `visit` is 0", ""),
        (", half_life: 10d", "", "6: visit", "signal `visit` has no half-life", "add `half_life: 14d`"),
        ("half_life: 10d", "half_life: 10 days", "6: 10 days", "`10 days` is not a duration", ""),
        ("half_life: 10d", "half_life: 0d", "6: 0d", "the half-life is zero", ""),
        ("half_life: 10d", "half_life: 10d, within: 3d", "6: 3d", "`within` of `visit` has no meaning", "`distinct`"),
        ("name: surge", "name: visit", "7: visit", "signal `visit` stands twice", "the first is on line 6"),
        ("level: score", "level: score, distinct: x", "7: x", "both `level` and `distinct`", "keep one"),
        ("within: 14d, points: 4", "points: 4", "8: person", "distinct signal `team` has no window", "within: 14d"),
        ("within: 14d, p", "within: 14d, half_life: 9d, p", "8: 9d", "has a half-life", "remove it"),
        (", cap: 24", "", "8: team", "distinct signal `team` has no cap", "how many values an account keeps"),
        ("cap: 24", "cap: 4100", "8: 4100", "takes 1025 distinct values", "lower the cap"),
        ("points: 60", "points: 60.5", "12: 40", "the scorecard has 100.5 points", "0 to 100"),
        ("min: 50, max: 2000", "min: 50, max: 5", "11: 50", "the range from 50 to 5 is empty", "above `max`"),
        ("{ not: [XX] }", "{ not: [XX], min: 3 }", "12: { not", "this test is not clear", "{ exists: true }"),
        ("{ not: [XX] }", "{}", "12: {}", "this test is not clear", "{ exists: true }"),
        ("{ not: [XX] }", "~", "12: ~", "nothing to compare with", ""),
        ("{ not: [XX] }", "{ nto: [XX] }", "12: nto", "unknown key `nto`", "did you mean `not`?"),
        ("A: 75, B: 50", "A: 50, B: 75", "13: 50", "grade A begins at 50, below B at 75", "above A's number"),
        ("A: 75", "A: 750", "13: 750", "grade A is 750", ""),
        ("exit: 45", "exit: 60", "15: 60 }", "exit 60 of `high` is not below its enter 60", "from flapping"),
        ("exit: 22", "exit: -1", "16: -1", "exit of `low` is -1", "never falls below 0"),
        ("enter: 30", "enter: 61", "16: 61", "tier `low` takes 61 points, more than `high`", "highest first"),
        ("fit: { min: 75 }", "fit: { min: 101 }", "15: 101", "the least fit is 101", ""),
        ("name: high", "name: none", "15: none", "`none` cannot be the name of a tier", "not `none`"),
        (
            "intent: { enter: 60, exit: 45 }, fit: { min: 75 }, ",
            "",
            "15: high",
            "tier `high` has no condition",
            "intent",
        ),
        ("segment: warm, when", "segment: wram, when", "16: wram", "no segment `wram`", "did you mean `warm`?"),
        ("[{ segment: warm }", "[{ segment: hot }", "19: hot", "no segment `hot` above", "segments so far: warm"),
        ("action: alert, ", "", "18: warm", "segment `warm` has no action", "add `action: sales-alert`"),
        ("{ signal: visit, count: { min: 3 }, within: 7d }", "", "18: []", "an empty `all` always", "at least one"),
        ("count: { min: 3 }, within: 7d", "count: { min: 3 }", "18: visit", "has no window", "within: 7d"),
        ("count: { min: 3 }, within: 7d", "count: { min: 3 }, within: 0s", "18: 0s", "the window is zero", ""),
        ("count: { min: 3 }", "count: { min: 0 }", "18: 0 }", "at least 0 always holds", "1 or more"),
        ("count: { min: 3 }", "count: { min: 2000 }", "18: 2000", "2000 is above 1024", "`score`"),
        ("count: { min: 3 }", "count: 3", "18: 3, within", "expected a mapping", "{ key: value }"),
        ("signal: visit, count", "signal: vist, count", "18: vist", "no signal `vist`", "did you mean `visit`?"),
        ("signal: visit, count", "signal: x, count", "18: x", "no signal `x`", "signals: visit, surge, team"),
        ("alert, all", "alert, intent: { min: 3 }, all", "18: { min", "`all` and `intent` stand", "`all` or `any`"),
        ("[{ signal: visit, count: { min: 3 }, w", "[{ w", "18: { w", "there is no condition here", "one of: all, any"),
        (
            "{ signal: surge, s",
            "{ intent: { min: 3 }, s",
            "16: { min: 2",
            "`score` without a `signal`",
            "name the signal",
        ),
        (
            "score: { min: 2 }",
            "count: { min: 2 }, score: { min: 2 }",
            "16: surge",
            "is not clear",
            "score: { min: 20 }",
        ),
        ("lifecycle: customer", "", "21: {", "an empty match would hold for everything", "name at least one key"),
        ("type: page_view, times: 4", "times: 4", "25: {", "the event has no `type`", "attributes"),
        ("times: 4", "times: 0", "25: 0 }", "`times` is 0", ""),
        ("times: 4", "times: 4, id: x", "25: 4", "counts once", "leave `id` or `times` out"),
        ("times: 4", "time: now", "25: {", "has no `time`", "`at` says when"),
        ("times: 4", "attributes: {}", "25: {", "`type` stands beside `attributes`", "write two"),
        ("at: 0s, ", "", "25: {", "this line has no `at`", "add `at: 0s`"),
        ("at: 0s, ", "at: 2m, ", "25: {", "after the last expectation", "or drop the line"),
        ("at: 1m", "at: 1", "27: 1,", "`1` is not a duration", ""),
        ("tier: low, ch", "tier: lo, ch", "27: lo", "no tier `lo`", "did you mean `low`?"),
        ("none -> low", "none to low", "27: none to low", "`none to low` is not a change", "enter SEGMENT"),
        ("tier: low, ch", "fit: good, ch", "27: good", "points from 0 to 100, or `unknown`", ""),
        ("tier: low, changes: [none -> low, enter warm]", "", "27: {", "this line expects nothing", "tier, intent"),
    ];
    let mut wrong = String::new();
    for (from, to, caret, said, advice) in table {
        let text = changed(from, to);
        let (told, place) = (failure(&text).to_string(), failure(&text).place());
        let rest: String =
            text.lines().nth(place.line - 1).unwrap_or_default().chars().skip(place.column - 1).collect();
        let help = told.split_once("= help: ").map_or("", |(_, help)| help);
        let found = format!("{}: {rest}", place.line);
        if !found.starts_with(caret) || !told.lines().next().unwrap().contains(said) || !help.contains(advice) {
            wrong += &format!("`{from}` -> `{to}` should say `{said}` at {caret} and advise `{advice}`:\n{told}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_line_of_a_test_must_say_which_of_several_accounts() {
    let text = changed("times: 4 }", "account: b }\n      - { at: 0s, account: c, type: x }");
    assert!(failure(&text).to_string().contains("add `account: …`"));
    let text = changed("times: 4 }", "account: b }");
    let tests = parse(&text, "small.yaml").unwrap().tests;
    assert_eq!(&*tests[0].expectations[0].account, "b", "the only one that the test names");
}

#[test]
fn lists_have_limits() {
    let signals: String =
        (0..65).map(|i| format!("  - {{ name: s{i}, match: {{ type: x }}, points: 1, half_life: 1d }}\n")).collect();
    let text = format!("model: m\nversion: 1\nsignals:\n{signals}");
    assert_eq!(failure(&text).message(), "signal `s64` is one too many: the limit is 64");
    assert_eq!(failure(&text).place().line, 68);
}

#[test]
fn segments_that_name_segments_cannot_explode() {
    let mut text =
        "model: m\nversion: 1\nsignals: [{ name: s, match: { type: x }, points: 1, half_life: 1d }]\nsegments:\n  \
                    - { name: s0, action: a, intent: { min: 1 } }\n"
            .to_owned();
    for i in 1..30 {
        let below = i - 1;
        text += &format!("  - {{ name: s{i}, action: a, all: [{{ segment: s{below} }}, {{ segment: s{below} }}] }}\n");
    }
    assert_eq!(failure(&text).message(), "this rule has more than 256 conditions");
}

#[test]
fn warnings_say_what_is_probably_not_meant() {
    let told = |from: &str, to: &str| {
        let loaded = parse(&changed(from, to), "small.yaml").unwrap();
        loaded.warnings.iter().map(|warning| warning.message().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told("model: small", "model: small"), Vec::<String>::new());
    assert_eq!(told("cap: 45", "cap: 9"), ["the cap 9 of `visit` is below the 12 points of one event"]);
    assert_eq!(told("points: 60", "points: 50"), ["the criteria add up to 90 of 100 points"]);
    assert_eq!(
        told("exit: 45", "exit: 20"),
        ["exit of `low` is above the exit of `high`: a fall from `high` passes it by"]
    );
    assert_eq!(told("half_life: 14d }", "half_life: 14d, cap: 3 }"), Vec::<String>::new(), "45 + 3 + 24 reach 60");
    let low = SMALL.replace("cap: 45", "cap: 30").replace("half_life: 14d }", "half_life: 14d, cap: 3 }");
    let low = parse(&low, "small.yaml").unwrap().warnings;
    assert_eq!(low[0].message(), "intent can never reach 60: all caps add up to 57");
    assert_eq!(told("fit: { min: 75 }", "fit: { min: 100 }"), Vec::<String>::new());
    let tests = SMALL.find("tests:").unwrap();
    assert_eq!(parse(&SMALL[..tests], "small.yaml").unwrap().warnings[0].message(), "the model has no tests");
}

#[test]
fn the_digest_is_blind_to_what_decides_nothing() {
    let digest = |text: &str| parse(text, "small.yaml").unwrap().model.id().digest.clone();
    let same = digest(SMALL);
    for (from, to) in [
        ("model: small", "# a comment\nmodel: other"),
        ("version: 3", "version: 4"),
        ("action: alert", "action: other"),
        ("times: 4", "times: 5"),
        ("provider: [b, a]", "provider: [a, b, b]"),
        ("{ type: topic, provider: [b, a] }", "{ provider: [b, a], type: topic }"),
        ("points: 0.3, half_life: 14d", "half_life: 2w, points: 0.30"),
        ("{ min: 50, max: 2000 }", "{ max: 2e3, min: 50 }"),
        ("[{ segment: warm }, {", "[{ all: [{ signal: visit, count: { min: 3 }, within: 168h }] }, {"),
    ] {
        assert_eq!(digest(&changed(from, to)), same, "{from} -> {to}");
    }
    let lines: Vec<&str> = SMALL.lines().collect();
    let mut reordered = lines.clone();
    reordered.swap(5, 7);
    reordered.swap(10, 11);
    assert_eq!(digest(&reordered.join("\n")), same, "signals and criteria in another order");
}

#[test]
fn the_digest_sees_everything_that_decides() {
    let digest = |text: &str| parse(text, "small.yaml").unwrap().model.id().digest.clone();
    let mut seen = std::collections::HashMap::from([(digest(SMALL), "nothing")]);
    for (from, to) in [
        ("\"/careers*\"", "\"/jobs*\""),
        ("points: 12", "points: 13"),
        ("half_life: 10d", "half_life: 11d"),
        (", cap: 45", ""),
        ("cap: 45", "cap: 46"),
        ("level: score", "level: strength"),
        ("provider: [b, a]", "provider: [b, c]"),
        ("provider: [b, a]", "provider: { not: [b, a] }"),
        ("distinct: person, within: 14d", "distinct: campaign, within: 14d"),
        ("within: 14d", "within: 15d"),
        ("points: 60", "points: 59"),
        ("name: size", "name: scale"),
        ("max: 2000", "max: 2001"),
        ("A: 75", "A: 76"),
        ("enter: 60", "enter: 61"),
        ("exit: 45", "exit: 44"),
        ("fit: { min: 75 }", "fit: { min: 74 }"),
        ("min_dwell: 2d", "min_dwell: 3d"),
        ("segment: warm, when", "when"),
        ("{ not: { signal: surge, score: { min: 2 } } }", "{ signal: surge, score: { min: 2 } }"),
        ("score: { min: 2 }", "score: { min: 3 }"),
        ("count: { min: 3 }", "count: { min: 4 }"),
        ("action: call, any", "action: call, all"),
        ("count: { min: 9 }, within: 7d", "count: { min: 9 }, within: 8d"),
        ("lifecycle: customer", "lifecycle: \"true\""),
        ("lifecycle: customer", "lifecycle: true"),
        ("lifecycle: customer", "lifecycle: { exists: true }"),
    ] {
        if let Some(other) = seen.insert(digest(&changed(from, to)), to) {
            panic!("`{from}` -> `{to}` has the digest of `{other}`");
        }
    }
}

#[test]
fn the_digest_of_a_model_never_changes_by_itself() {
    // A new digest makes every running instance judge all accounts afresh: change it knowingly.
    assert_eq!(&*small().id().digest, "74dec46c3282d8aa");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*|([a-z_]{0,6}[:,\\[\\]{} \n&*-]{1,3}){0,40}") {
        let _ = parse(&text, "any.yaml").map_err(|error| error.to_string());
    }

    #[test]
    fn no_damage_makes_the_parser_panic(at in 0..SMALL.len(), cut in 0..30usize, put in "[\\PC\n]{0,12}") {
        let end = (at + cut).min(SMALL.len());
        let text = format!("{}{put}{}", &SMALL[..at], &SMALL[end..]);
        let _ = parse(&text, "any.yaml").map_err(|error| error.to_string());
    }
}
