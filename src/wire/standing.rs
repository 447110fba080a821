//! Standings as JSON: written for audience jobs, read back by the restore.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    change::{FitJson, ModelJson, rounded, write},
    time::Rfc3339,
};
use crate::model::{MAX_ACCOUNT_BYTES, ModelId, SegmentSince, Standing, TierGained, Timestamp};

/// Appends a standing as one line of JSON, without a line end. Scores are rounded to 1e-6.
pub fn encode_standing(standing: &Standing, model: &ModelId, out: &mut Vec<u8>) {
    write(out, &StandingJson::of(standing, model));
}

/// Why a record of the standings topic is not a standing.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    #[error("not a standing: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the account has {0} bytes; it must have 1 to {MAX_ACCOUNT_BYTES}")]
    Account(usize),
    #[error("the sequence is {0}; it must be greater than 0")]
    Sequence(i64),
    #[error("`{field}` is not between 1970 and June 2527")]
    Time { field: &'static str },
}

/// Reads what [`encode_standing`] wrote, or a later version of it: unknown fields are skipped.
pub fn decode_standing(value: &[u8]) -> Result<Standing, StandingError> {
    let json: StandingJson<'_> = serde_json::from_slice(value)?;
    if json.sequence <= 0 {
        return Err(StandingError::Sequence(json.sequence));
    }
    if !(1..=MAX_ACCOUNT_BYTES).contains(&json.account.len()) {
        return Err(StandingError::Account(json.account.len()));
    }
    let segments = json.segments.into_iter().map(|segment| {
        let since = storable("segments.since", segment.since)?;
        Ok::<_, StandingError>(SegmentSince { name: segment.name.into(), since })
    });
    let gained = json.gained.into_iter().map(|gained| {
        let at = storable("gained.at", gained.at)?;
        Ok::<_, StandingError>(TierGained { name: gained.name.into(), at })
    });
    Ok(Standing {
        account: json.account.into(),
        tier: json.tier.map(Into::into),
        since: json.since.map(|since| storable("since", since)).transpose()?,
        segments: segments.collect::<Result<_, _>>()?,
        suppressed_by: json.suppressed_by.map(Into::into),
        intent: json.intent,
        fit: json.fit.map(FitJson::score),
        as_of: storable("as_of", json.as_of)?,
        next_change_at: json.next_change_at.map(|at| at.0),
        sequence: json.sequence,
        gained: gained.collect::<Result<_, _>>()?,
    })
}

/// Account state packs these times into few bits.
fn storable(field: &'static str, time: Rfc3339) -> Result<Timestamp, StandingError> {
    if time.0.is_representable() { Ok(time.0) } else { Err(StandingError::Time { field }) }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StandingJson<'a> {
    account: Cow<'a, str>,
    tier: Option<Cow<'a, str>>,
    since: Option<Rfc3339>,
    segments: Vec<SegmentJson<'a>>,
    suppressed_by: Option<Cow<'a, str>>,
    intent: f64,
    fit: Option<FitJson>,
    as_of: Rfc3339,
    next_change_at: Option<Rfc3339>,
    sequence: i64,
    /// For readers outside: the restore takes the model from the state pages.
    #[serde(skip_deserializing)]
    model: Option<ModelJson<'a>>,
    /// A later addition: records without it hold no tier with a minimum dwell.
    #[serde(default)]
    gained: Vec<GainedJson<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SegmentJson<'a> {
    name: Cow<'a, str>,
    since: Rfc3339,
}

#[derive(Serialize, Deserialize)]
struct GainedJson<'a> {
    name: Cow<'a, str>,
    at: Rfc3339,
}

impl<'a> StandingJson<'a> {
    pub(super) fn of(standing: &'a Standing, model: &'a ModelId) -> Self {
        Self {
            account: Cow::Borrowed(&standing.account),
            tier: standing.tier.as_deref().map(Cow::Borrowed),
            since: standing.since.map(Rfc3339),
            segments: standing.segments.iter().map(SegmentJson::of).collect(),
            suppressed_by: standing.suppressed_by.as_deref().map(Cow::Borrowed),
            intent: rounded(standing.intent),
            fit: standing.fit.map(FitJson::of),
            as_of: Rfc3339(standing.as_of),
            next_change_at: standing.next_change_at.and_then(Rfc3339::of_four_digits),
            sequence: standing.sequence,
            model: Some(ModelJson::of(model)),
            gained: standing.gained.iter().map(GainedJson::of).collect(),
        }
    }
}

impl<'a> SegmentJson<'a> {
    pub(super) fn of(segment: &'a SegmentSince) -> Self {
        Self { name: Cow::Borrowed(&segment.name), since: Rfc3339(segment.since) }
    }
}

impl<'a> GainedJson<'a> {
    fn of(gained: &'a TierGained) -> Self {
        Self { name: Cow::Borrowed(&gained.name), at: Rfc3339(gained.at) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*};

    use super::*;
    use crate::model::FitScore;

    fn model() -> ModelId {
        ModelId { name: "m".into(), version: 3, digest: "d".into() }
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0..=Timestamp::LATEST.millis()).prop_map(Timestamp::from_millis)
    }

    /// Scores as they come back: with at most six decimals.
    fn score() -> impl Strategy<Value = f64> {
        (0_u32..1_000_000_000).prop_map(|millionths| f64::from(millionths) / 1e6)
    }

    fn fit() -> impl Strategy<Value = FitScore> {
        let grade = option::of(prop_oneof![Just('A'), Just('B'), Just('C')]);
        (score(), score(), grade).prop_map(|(points, coverage, grade)| FitScore { points, coverage, grade })
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let named = || (any::<String>(), time());
        let names = ("(?s).{1,32}", option::of(any::<String>()), option::of(any::<String>()));
        let lists = (collection::vec(named(), 0..3), collection::vec(named(), 0..3));
        let times = (option::of(time()), time(), option::of(time()));
        (names, lists, times, score(), option::of(fit()), 1..i64::MAX).prop_map(
            |((account, tier, suppressed), (segments, gained), (since, as_of, next), intent, fit, sequence)| Standing {
                account: account.into(),
                tier: tier.map(Into::into),
                since,
                segments: segments.into_iter().map(|(name, since)| SegmentSince { name: name.into(), since }).collect(),
                suppressed_by: suppressed.map(Into::into),
                intent,
                fit,
                as_of,
                next_change_at: next,
                sequence,
                gained: gained.into_iter().map(|(name, at)| TierGained { name: name.into(), at }).collect(),
            },
        )
    }

    #[test]
    fn a_later_version_and_an_earlier_one_are_read() {
        let value = r#"{"account":"a","tier":null,"segments":[],"intent":1,"as_of":"2026-11-21T17:00:00Z","sequence":5,
            "model":"of another shape","new_field":{"x":1}}"#;
        let standing = decode_standing(value.as_bytes()).unwrap();
        assert_eq!((&*standing.account, standing.sequence, standing.gained), ("a", 5, vec![]));
        assert_eq!(standing.as_of, Timestamp::from_millis(1_795_280_400_000));
    }

    #[test]
    fn what_state_cannot_hold_is_refused() {
        let value = |as_of: &str, sequence: i64| {
            let text = format!(r#"{{"account":"a","segments":[],"intent":1,"as_of":"{as_of}","sequence":{sequence}}}"#);
            decode_standing(text.as_bytes()).map_err(|error| error.to_string())
        };
        assert!(value("2026-11-21T17:00:00Z", 1).is_ok());
        assert_eq!(value("1969-11-21T17:00:00Z", 1).unwrap_err(), "`as_of` is not between 1970 and June 2527");
        assert_eq!(value("2026-11-21T17:00:00Z", 0).unwrap_err(), "the sequence is 0; it must be greater than 0");
        assert!(decode_standing(b"{}").is_err());
        let named = |account: &str| {
            let text = format!(
                r#"{{"account":"{account}","segments":[],"intent":1,"as_of":"2026-11-21T17:00:00Z","sequence":1}}"#
            );
            decode_standing(text.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(named(&"a".repeat(256)), Ok(()));
        assert_eq!(named(""), Err("the account has 0 bytes; it must have 1 to 256".to_owned()));
        assert_eq!(named(&"a".repeat(257)), Err("the account has 257 bytes; it must have 1 to 256".to_owned()));
    }

    proptest! {
        #[test]
        fn standings_survive_being_written(standing in standing()) {
            let mut value = Vec::new();
            encode_standing(&standing, &model(), &mut value);
            prop_assert_eq!(decode_standing(&value).unwrap(), standing);
        }

        #[test]
        fn any_bytes_are_read_without_panic(value in any::<Vec<u8>>()) {
            let _ = decode_standing(&value);
        }
    }
}
