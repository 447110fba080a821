//! The wire formats, byte by byte. A difference here breaks readers outside; an addition does not.
//! With `TIDEMARK_UPDATE_GOLDEN=1` in the environment the files are written anew.

use std::{env, fs, path::Path, sync::Arc};

use tidemark::{
    model::{Cause, Change, FitScore, ModelId, Op, Reason, SegmentSince, Standing, TierGained, Timestamp, Transition},
    wire::{
        change::{change_headers, encode_change},
        standing::{decode_standing, encode_standing},
    },
};

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let actual = [bytes, b"\n"].concat();
    if env::var_os("TIDEMARK_UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).unwrap();
    }
    let expected = fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(&actual), String::from_utf8_lossy(&expected), "{}", path.display());
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_280_400_000 + millis)
}

fn model() -> ModelId {
    ModelId { name: "abm-default".into(), version: 1, digest: "9f86d081884c7d65".into() }
}

fn rise() -> Change {
    let reason =
        |signal: &str, points, count, seen| Reason { signal: signal.into(), points, count, last_seen: at(seen) };
    Change {
        account: "acme.com".into(),
        transition: Transition::Tier { from: Some("tier_3".into()), to: Some("tier_1".into()), up: true },
        cause: Cause::Signal,
        intent: 61.234_567_89,
        fit: Some(FitScore { points: 80.0, coverage: 100.0, grade: Some('A') }),
        mark: Some(60.0),
        effective_at: at(0),
        detected_at: at(17),
        reasons: Arc::new([reason("pricing_page", 45.0, 7, 0), reason("g2_spike", 1.0 / 3.0, 1, -86_400_000)]),
        next_change_at: Some(at(1_234_567_891)),
        sequence: 1_795_280_400_000,
        previous_sequence: Some(1_795_000_000_001),
    }
}

fn fall() -> Change {
    Change {
        account: "sch\u{f6}n \"& co\" \u{2603}".into(),
        transition: Transition::Tier { from: Some("tier_3".into()), to: None, up: false },
        cause: Cause::Decay,
        intent: 6.999_999_999,
        fit: None,
        mark: Some(7.0),
        reasons: Arc::new([]),
        next_change_at: None,
        ..rise()
    }
}

fn exit() -> Change {
    Change {
        transition: Transition::Segment { name: "high_intent_evaluators".into(), op: Op::Exit },
        cause: Cause::Window,
        mark: None,
        previous_sequence: None,
        ..rise()
    }
}

fn standing() -> Standing {
    Standing {
        account: "acme.com".into(),
        tier: Some("tier_1".into()),
        since: Some(at(0)),
        segments: vec![SegmentSince { name: "high_intent_evaluators".into(), since: at(-5000) }],
        suppressed_by: None,
        intent: 61.234_567_89,
        fit: Some(FitScore { points: 80.0, coverage: 85.0, grade: None }),
        as_of: at(0),
        next_change_at: Some(at(1_234_567_891)),
        sequence: 1_795_280_400_000,
        gained: vec![TierGained { name: "tier_1".into(), at: at(0) }],
    }
}

#[test]
fn changes() {
    for (name, change) in
        [("tier-change-up.json", rise()), ("tier-change-down.json", fall()), ("segment-change.json", exit())]
    {
        let mut bytes = Vec::new();
        encode_change(&change, &model(), &mut bytes);
        golden(name, &bytes);
    }
}

#[test]
fn headers() {
    let mut text = String::new();
    for change in [rise(), exit()] {
        for (name, value) in change_headers(&change, "/tidemark/production") {
            text += &format!("{name}: {}\n", String::from_utf8(value).unwrap());
        }
    }
    golden("change-headers.txt", text.trim_end().as_bytes());
}

#[test]
fn standings() {
    let nobody = Standing { tier: None, segments: vec![], suppressed_by: Some("customer".into()), ..standing() };
    for (name, standing) in [("standing.json", standing()), ("standing-suppressed.json", nobody)] {
        let mut bytes = Vec::new();
        encode_standing(&standing, &model(), &mut bytes);
        golden(name, &bytes);
        // What is read back is what was written, but for the rounding of scores.
        let mut again = Vec::new();
        encode_standing(&decode_standing(&bytes).unwrap(), &model(), &mut again);
        assert_eq!(again, bytes);
    }
}

#[test]
fn the_event_id_depends_on_account_and_sequence_alone() {
    let id = |change: &Change| change_headers(change, "s")[1].1.clone();
    assert_eq!(id(&rise()), id(&Change { intent: 1.0, detected_at: at(99), ..rise() }));
    assert_ne!(id(&rise()), id(&Change { sequence: 5, ..rise() }));
    assert_ne!(id(&rise()), id(&Change { account: "acme.org".into(), ..rise() }));
}
