//! Acts as the JSON that input topics carry.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::journeys::{self, Act};
use crate::{
    model::Timestamp,
    wire::time::{Rfc3339, format_rfc3339},
};

/// The site that is visited.
const SITE: &str = "https://www.vendor.example";
/// How a crawler introduces itself.
const CRAWLER: &str = "ExampleBot/1.0 (+https://bot.example)";

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    account: &'a str,
    time: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<String, Value>,
}

/// The event of an act; nothing for what is not told by events.
pub fn encode(act: &Act, id: &str, account: &str, time: Timestamp) -> Option<Vec<u8>> {
    let (kind, person, path, properties) = parts(act)?;
    let body = Body {
        id,
        kind,
        account,
        time: Rfc3339(time),
        person: person.map(|person| format!("{account}/{person}")),
        url: path.map(|path| format!("{SITE}{path}")),
        properties: match properties {
            Value::Object(properties) => properties,
            _ => Map::new(),
        },
    };
    serde_json::to_vec(&body).ok()
}

/// Type, person, path, and properties.
type Parts = (&'static str, Option<i64>, Option<&'static str>, Value);

fn parts(act: &Act) -> Option<Parts> {
    Some(match act {
        Act::View { path, person } => ("page_view", Some(*person), Some(*path), Value::Null),
        Act::Crawl { path, noticed } => {
            ("page_view", None, Some(*path), json!({"user_agent": CRAWLER, "bot": noticed}))
        }
        Act::AdImpression { campaign } => ("ad_impression", None, None, json!({"campaign": campaign})),
        Act::AdClick { campaign, person } => ("ad_click", Some(*person), None, json!({"campaign": campaign})),
        Act::EmailClick { person } => ("email_click", Some(*person), None, Value::Null),
        Act::Webinar { person } => ("webinar_attended", Some(*person), None, Value::Null),
        Act::Form { form, person } => ("form_submit", Some(*person), None, json!({"form": form})),
        Act::SignUp { person } => ("product_signup", Some(*person), None, Value::Null),
        Act::Reviews { strength } => {
            ("third_party", None, None, json!({"provider": "g2", "kind": "compare", "strength": strength}))
        }
        Act::News { kind } => ("company_news", None, None, json!({"kind": kind})),
        Act::Surge { topic, score } => {
            ("topic_score", None, None, json!({"provider": "bombora", "topic": topic, "score": score}))
        }
        Act::Lifecycle(_) => return None,
    })
}

/// Ways in which a record can be broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    CutOff,
    NoTime,
    WrongType,
    FarFuture,
    UnknownLevel,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::CutOff, Self::NoTime, Self::WrongType, Self::FarFuture, Self::UnknownLevel];

    /// A record that has it.
    pub fn record(self, id: &str, account: &str, time: Timestamp) -> Vec<u8> {
        let visit = json!({"id": id, "type": "page_view", "account": account, "time": format_rfc3339(time)});
        let with = |key: &str, value: Value| {
            let mut event = visit.clone();
            event[key] = value;
            event.to_string().into_bytes()
        };
        match self {
            Self::CutOff => {
                let mut text = with("url", json!(SITE));
                text.truncate(text.len() / 2);
                text
            }
            Self::NoTime => json!({"id": id, "type": "page_view", "account": account}).to_string().into_bytes(),
            Self::WrongType => with("type", json!(7)),
            Self::FarFuture => with("time", json!(format_rfc3339(journeys::after(time, journeys::DAY)))),
            Self::UnknownLevel => {
                let properties = json!({"provider": "bombora", "topic": "intent data", "score": "very high"});
                let mut event = visit;
                event["type"] = json!("topic_score");
                event["properties"] = properties;
                event.to_string().into_bytes()
            }
        }
    }
}
