//! The quick way and the careful way read the same.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value};

use super::*;

/// Names that are wanted, and the two of the record's own.
const NAMES: [&str; 6] = ["type", "path", "score", "topics", "id", "properties"];

fn wanted() -> Wanted {
    Wanted::new(&NAMES[..4].iter().map(|name| (*name).into()).collect(), &["id"], true)
}

/// The slots as the quick way fills them, if it does.
fn quickly(text: &str) -> Option<Vec<Field<'_>>> {
    quickly_by(&mut wanted(), text)
}

/// The same for one that has read other texts before.
fn quickly_by<'r>(wanted: &mut Wanted, text: &'r str) -> Option<Vec<Field<'r>>> {
    let mut slots = Slots::default();
    slots.reset(wanted.slots + wanted.properties);
    plain::read(wanted, text, &mut slots).map(|()| slots.to_vec())
}

fn carefully(text: &str) -> Result<Vec<Field<'_>>, Rejected> {
    let wanted = wanted();
    let mut slots = Slots::default();
    slots.reset(wanted.slots + wanted.properties);
    any::read(&wanted, text, &mut slots).map(|()| slots.to_vec())
}

/// Whether the text was read quickly; then it was read as carefully. Compares what is shown of the
/// fields: a negative zero equals zero, but is shown.
fn agrees(text: &str) -> Result<bool, TestCaseError> {
    let Some(quick) = quickly(text) else { return Ok(false) };
    let careful = carefully(text).map_err(|rejected| TestCaseError::fail(format!("{text:?}: {rejected}")))?;
    prop_assert_eq!(format!("{quick:?}"), format!("{careful:?}"), "{}", text);
    Ok(true)
}

#[test]
fn what_producers_send_is_plain() {
    for text in [
        "{}",
        r#"{"id":"1","x":"y","type":"Z\u007f"}"#.replace("\\u007f", "\u{7f}").as_str(),
        r#" { "id" : "1" , "properties" : { "score" : 70.5 , "path" : null } } "#,
        "{\"path\":\"/caf\u{e9}/\u{1f600}\",\"\u{e9}\":\"\u{2028}\"}",
        r#"{"score":0,"x":-0,"y":0.10,"z":12345678901234567890123456789.5}"#,
        r#"{"score":-0.0,"type":true,"path":false,"id":null,"topics":[]}"#,
        r#"{"topics":["a",1,null,[1,"x"],{"a":{}}],"x":[[1],{"a":[]}]}"#,
        r#"{"type":"a","type":"b","properties":{"score":1},"properties":null}"#,
        r#"{"properties":{"properties":{"score":1},"id":"x","score":123456789012345}}"#,
        r#"{"score":{"a":1}}"#,
    ] {
        assert!(agrees(text).unwrap(), "{text}");
    }
}

#[test]
fn what_is_odd_is_left_to_the_careful_way() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(9), "]".repeat(9));
    for text in [
        "",
        "{",
        "[]",
        "{} {}",
        "{}\n",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{a:1}"#,
        r#"{"a":"\n"}"#,
        "{\"a\":\"\t\"}",
        "{\t\"a\":1}",
        r#"{"a":"}"#,
        r#"{"a":01}"#,
        r#"{"a":-}"#,
        r#"{"a":- 1}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e3}"#,
        r#"{"a":1x}"#,
        r#"{"a":nul}"#,
        r#"{"a":nulll}"#,
        r#"{"a":tru"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[1}"#,
        r#"{"a":}"#,
        r#"{"score":1234567890123456}"#,
        r#"{"properties":1}"#,
        r#"{"properties":[]}"#,
        &deep,
    ] {
        assert_eq!(quickly(text), None, "{text}");
    }
}

#[test]
fn the_kept_inputs_of_the_fuzzer_are_read_the_same() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let (mut texts, mut plain) = (0, 0);
    for name in ["event", "attributes"] {
        for entry in fs::read_dir(directory.join(name)).expect("the corpus") {
            let bytes = fs::read(entry.expect("a file").path()).expect("the input can be read");
            let Ok(text) = str::from_utf8(&bytes) else { continue };
            for cut in text.char_indices().map(|(at, _)| at).chain([text.len()]) {
                texts += 1;
                plain += u32::from(agrees(&text[..cut]).unwrap());
            }
        }
    }
    assert!((3..texts / 10).contains(&plain), "{plain} of {texts} are plain");
}

/// JSON values with names that are wanted and some that are not.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![any::<i32>().prop_map(Value::from), any::<u64>().prop_map(Value::from), decimal()];
    let text = prop_oneof!["[ -~]{0,20}", "\\PC{0,9}", Just("/pricing".to_owned())].prop_map(Value::from);
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, text];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name =
            prop_oneof![4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => "[a-z\u{e9}\"]{0,9}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn decimal() -> impl Strategy<Value = Value> {
    (any::<i64>(), 0_u32..19).prop_map(|(digits, places)| (digits as f64 / 10_f64.powi(places as i32)).into())
}

fn object() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((prop::sample::select(&NAMES[..]), value(), " {0,1}"), 0..8);
    members.prop_map(|members| {
        // By hand, as names may stand twice.
        let members = members.iter().map(|(name, value, space)| format!("{space}\"{name}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_object_is_read_the_same(text in object()) {
        agrees(&text)?;
    }

    #[test]
    fn numbers_are_read_the_same(text in "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,16})?([eE][+-]?[0-9]{1,3})?") {
        let read = agrees(&format!(r#"{{"score":{text}}}"#))?;
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        prop_assert_eq!(read, digits <= 15 && !text.contains(['e', 'E']));
    }

    #[test]
    fn what_was_read_before_changes_nothing(texts in prop::collection::vec(object(), 2..6), order: Vec<Index>) {
        let mut wanted = wanted();
        for text in order.iter().map(|index| index.get(&texts)) {
            let (before, fresh) = (quickly_by(&mut wanted, text), quickly(text));
            prop_assert_eq!(format!("{before:?}"), format!("{fresh:?}"), "{}", text);
        }
    }

    #[test]
    fn a_damaged_object_is_read_the_same(
        text in object(),
        damage in prop::collection::vec((any::<Index>(), prop::sample::select(&b" \t\"\\{}[]:,01-.eEtfn\xc3"[..]), 0..3), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(text) = str::from_utf8(&bytes) {
            agrees(text)?;
        }
    }
}
