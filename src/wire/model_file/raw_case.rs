//! The tests of a model file as they are written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCase {
    pub name: Spanned<String>,
    pub events: Vec<Spanned<RawInput>>,
    pub expect: Spanned<Vec<Spanned<RawExpectation>>>,
}

/// An event, or the attributes of an account.
#[derive(Debug)]
pub struct RawInput {
    pub at: Option<Spanned<String>>,
    pub account: Option<Spanned<String>>,
    pub times: Option<Spanned<u32>>,
    pub attributes: Option<Spanned<Map<String, Value>>>,
    /// All other keys: what the event says.
    pub fields: Map<String, Value>,
}

impl<'de> Deserialize<'de> for RawInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RawInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event with `at`, `type` and any fields, or `at` and `attributes`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawInput, A::Error> {
                let (mut at, mut account, mut times, mut attributes) = (None, None, None, None);
                let mut fields = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "at" => at = Some(map.next_value()?),
                        "account" => account = Some(map.next_value()?),
                        "times" => times = Some(map.next_value()?),
                        "attributes" => attributes = Some(map.next_value()?),
                        _ => {
                            fields.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(RawInput { at, account, times, attributes, fields })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawExpectation {
    pub at: Spanned<String>,
    pub account: Option<Spanned<String>>,
    pub tier: Option<Spanned<String>>,
    pub intent: Option<Spanned<f64>>,
    pub tolerance: Option<Spanned<f64>>,
    pub fit: Option<Spanned<FitExpectation>>,
    pub grade: Option<Spanned<String>>,
    pub segments: Option<Vec<Spanned<String>>>,
    pub suppressed: Option<Spanned<String>>,
    pub changes: Option<Vec<Spanned<String>>>,
}

/// Fit as a test expects it: points, or the word `unknown`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FitExpectation {
    Points(f64),
    Unknown,
}

impl<'de> Deserialize<'de> for FitExpectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "unknown" => Ok(Self::Unknown),
            number => {
                let points = number.parse().map(Self::Points);
                points.map_err(|_| D::Error::custom("expected points from 0 to 100, or `unknown`"))
            }
        }
    }
}
