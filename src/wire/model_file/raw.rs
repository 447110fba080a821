//! The model file as it is written: shapes only, nothing checked.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_saphyr::Spanned;

use super::raw_case::RawCase;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    pub model: Spanned<String>,
    pub version: Spanned<u32>,
    #[serde(default)]
    pub ignore: Vec<RawIgnore>,
    pub signals: Spanned<Vec<RawSignal>>,
    pub fit: Option<RawFit>,
    #[serde(default)]
    pub tiers: Vec<RawTier>,
    #[serde(default)]
    pub segments: Vec<RawSegment>,
    #[serde(default)]
    pub suppress: Vec<RawSuppression>,
    #[serde(default)]
    pub tests: Vec<RawCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIgnore {
    #[serde(rename = "match")]
    pub matching: Spanned<RawMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSignal {
    pub name: Spanned<String>,
    #[serde(rename = "match")]
    pub matching: Spanned<RawMatch>,
    pub points: Spanned<f64>,
    pub half_life: Option<Spanned<String>>,
    pub cap: Option<Spanned<f64>>,
    pub level: Option<Spanned<String>>,
    pub distinct: Option<Spanned<String>>,
    pub within: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFit {
    pub criteria: Spanned<Vec<RawCriterion>>,
    pub grades: Option<RawGrades>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCriterion {
    pub name: Spanned<String>,
    pub points: Spanned<f64>,
    #[serde(rename = "match")]
    pub matching: Spanned<RawMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGrades {
    #[serde(rename = "A")]
    pub a: Spanned<f64>,
    #[serde(rename = "B")]
    pub b: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTier {
    pub name: Spanned<String>,
    pub intent: Option<RawBand>,
    pub fit: Option<RawLeast>,
    pub segment: Option<Spanned<String>>,
    pub when: Option<Spanned<RawRule>>,
    pub min_dwell: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBand {
    pub enter: Spanned<f64>,
    pub exit: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLeast {
    pub min: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCount {
    pub min: Spanned<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSuppression {
    pub name: Spanned<String>,
    #[serde(rename = "match")]
    pub matching: Spanned<RawMatch>,
}

/// A segment is a name, an action, and the keys of a rule. They are repeated here because serde's
/// `flatten` loses the places.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSegment {
    pub name: Spanned<String>,
    pub action: Option<Spanned<String>>,
    all: Option<Spanned<Vec<Spanned<RawRule>>>>,
    any: Option<Spanned<Vec<Spanned<RawRule>>>>,
    not: Option<Box<Spanned<RawRule>>>,
    signal: Option<Spanned<String>>,
    count: Option<Spanned<RawCount>>,
    distinct: Option<Spanned<String>>,
    score: Option<Spanned<RawLeast>>,
    within: Option<Spanned<String>>,
    intent: Option<Spanned<RawLeast>>,
    fit: Option<Spanned<RawLeast>>,
    attribute: Option<Spanned<RawMatch>>,
    segment: Option<Spanned<String>>,
}

impl RawSegment {
    /// Its name and action apart from its rule.
    pub fn split(self) -> (Spanned<String>, Option<Spanned<String>>, RawRule) {
        let Self {
            name,
            action,
            all,
            any,
            not,
            signal,
            count,
            distinct,
            score,
            within,
            intent,
            fit,
            attribute,
            segment,
        } = self;
        let rule = RawRule { all, any, not, signal, count, distinct, score, within, intent, fit, attribute, segment };
        (name, action, rule)
    }
}

/// A node of a rule. Which keys may stand together is for the compiler to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pub all: Option<Spanned<Vec<Spanned<RawRule>>>>,
    pub any: Option<Spanned<Vec<Spanned<RawRule>>>>,
    pub not: Option<Box<Spanned<RawRule>>>,
    pub signal: Option<Spanned<String>>,
    pub count: Option<Spanned<RawCount>>,
    pub distinct: Option<Spanned<String>>,
    pub score: Option<Spanned<RawLeast>>,
    pub within: Option<Spanned<String>>,
    pub intent: Option<Spanned<RawLeast>>,
    pub fit: Option<Spanned<RawLeast>>,
    pub attribute: Option<Spanned<RawMatch>>,
    pub segment: Option<Spanned<String>>,
}

/// Keys and their tests, in the order of the file.
#[derive(Debug)]
pub struct RawMatch(pub Vec<(Spanned<String>, Spanned<RawTest>)>);

impl<'de> Deserialize<'de> for RawMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawMatch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with what they must be")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMatch, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawMatch(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// What a key must be.
#[derive(Debug)]
pub enum RawTest {
    Text(String),
    Number(f64),
    Bool(bool),
    AnyOf(Vec<Spanned<RawTest>>),
    Shape(RawShape),
}

/// A test that is written as a mapping.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawShape {
    pub min: Option<Spanned<f64>>,
    pub max: Option<Spanned<f64>>,
    pub not: Option<Box<Spanned<RawTest>>>,
    pub exists: Option<Spanned<bool>>,
}

impl<'de> Deserialize<'de> for RawTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyShape;
        impl<'de> Visitor<'de> for AnyShape {
            type Value = RawTest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number, boolean, list, or a mapping of `min`, `max`, `not` or `exists`")
            }
            fn visit_str<E>(self, text: &str) -> Result<RawTest, E> {
                Ok(RawTest::Text(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<RawTest, E> {
                Ok(RawTest::Bool(value))
            }
            fn visit_u64<E>(self, number: u64) -> Result<RawTest, E> {
                Ok(RawTest::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<RawTest, E> {
                Ok(RawTest::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<RawTest, E> {
                Ok(RawTest::Number(number))
            }
            fn visit_unit<E: Error>(self) -> Result<RawTest, E> {
                Err(E::custom("nothing to compare with: for a key that must be absent write `{ exists: false }`"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawTest, A::Error> {
                let mut tests = Vec::new();
                while let Some(test) = seq.next_element()? {
                    tests.push(test);
                }
                Ok(RawTest::AnyOf(tests))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTest, A::Error> {
                RawShape::deserialize(MapAccessDeserializer::new(map)).map(RawTest::Shape)
            }
        }
        deserializer.deserialize_any(AnyShape)
    }
}
