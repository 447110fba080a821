//! Attributes of accounts: from a record of the compacted topic to facts of the model.
//!
//! The record key names the account and the value is a flat JSON object. Without a key (in files),
//! the field `account` names it. A record without value, a tombstone, says that nothing is known.

use std::{borrow::Cow, mem, sync::Arc};

use super::{
    dead_letter::{Fault, Rejected},
    event::RawRecord,
    fields::{Slots, Wanted, account_in, account_of_key, text_at, time_at},
};
use crate::model::{Attributes, Facts, Field, Model, Timestamp};

/// Decodes attributes for one model. Reuses its buffers.
#[derive(Debug)]
pub struct AttributeDecoder {
    model: Arc<Model>,
    wanted: Wanted,
    account_slot: usize,
    time_slot: usize,
    fields: Slots<'static>,
    /// The account of the last record, if its JSON had it in escapes.
    account: String,
}

impl AttributeDecoder {
    /// A decoder for `model`.
    pub fn new(model: Arc<Model>) -> Self {
        let wanted = Wanted::new(model.attribute_keys(), &["account", "time"], false);
        let (account_slot, time_slot) = (wanted.slot("account"), wanted.slot("time"));
        Self { model, wanted, account_slot, time_slot, fields: Slots::default(), account: String::new() }
    }

    /// Reads a record. Without a record time, its `time` field stands for it; without that, it
    /// holds from the start of all time. An error is for the dead letters.
    pub fn decode<'r>(&'r mut self, record: RawRecord<'r>) -> Result<Attributes<'r>, Rejected> {
        let mut fields: Slots<'r> = mem::take(&mut self.fields);
        let outcome = self.read(&record, &mut fields);
        self.fields = fields.emptied();
        let (account, recorded, facts) = outcome?;
        let account = match account {
            Cow::Borrowed(account) => account,
            Cow::Owned(account) => {
                self.account = account;
                &self.account
            }
        };
        Ok(Attributes { account, recorded, facts })
    }

    fn read<'r>(
        &mut self,
        record: &RawRecord<'r>,
        fields: &mut Slots<'r>,
    ) -> Result<(Cow<'r, str>, Timestamp, Facts), Rejected> {
        if let (Some(key), None) = (record.key, record.value) {
            let recorded = record.recorded.unwrap_or(Timestamp::EARLIEST);
            return Ok((account_of_key(key)?.into(), recorded, Facts::default()));
        }
        self.wanted.read(record.value, fields)?;
        let recorded = match record.recorded {
            Some(recorded) => recorded,
            None => text_at(&fields[self.time_slot], "time")?.map_or(Ok(Timestamp::EARLIEST), time_at)?,
        };
        let account = account_of(&fields[self.account_slot], record.key)?;
        if fields[self.account_slot] == Field::Absent {
            fields.put(self.account_slot, Field::Text(account.clone()));
        }
        let facts = self.model.facts_of(fields);
        Ok((account, recorded, facts))
    }
}

/// The record key is what the topic is compacted by, so it comes before the field.
fn account_of<'r>(field: &Field<'r>, key: Option<&'r [u8]>) -> Result<Cow<'r, str>, Rejected> {
    match key {
        Some(key) => account_of_key(key).map(Cow::Borrowed),
        None => account_in(field)?.ok_or_else(|| {
            Rejected::new(Fault::MissingField, "$.account", "the record has neither a key nor an `account`")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::*;

    fn model() -> Arc<Model> {
        let text = |text: &str| Test::Text(Glob::new(text));
        let fact = |key, test| Fact { statement: "f".into(), matcher: Matcher(vec![(KeyId(key), test)]) };
        Arc::new(
            Model::new(ModelParts {
                id: ModelId { name: "m".into(), version: 1, digest: "d".into() },
                event_keys: vec![],
                attribute_keys: vec!["industry".into(), "employees".into(), "account".into()],
                ignore: vec![],
                signals: vec![],
                distinct_sets: vec![],
                facts: vec![
                    fact(0, Test::AnyOf(vec![text("software"), text("fintech")])),
                    fact(1, Test::Range { min: Some(50.0), max: Some(2000.0) }),
                    fact(2, text("*.gov")),
                ],
                fit: Fit::default(),
                tiers: vec![],
                segments: vec![],
                suppress: vec![],
            })
            .unwrap(),
        )
    }

    fn told(
        key: Option<&str>,
        value: Option<&str>,
        recorded: Option<i64>,
    ) -> Result<(String, i64, u64, u64), Rejected> {
        let mut decoder = AttributeDecoder::new(model());
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        let record = RawRecord { key, value, recorded: recorded.map(Timestamp::from_millis) };
        let attributes = decoder.decode(record)?;
        let Facts { known, holds } = attributes.facts;
        Ok((attributes.account.to_owned(), attributes.recorded.millis(), known, holds))
    }

    #[test]
    fn attributes_become_facts() {
        let acme = |known, holds| Ok(("acme.com".to_owned(), 7, known, holds));
        let keyed = |value| told(Some("acme.com"), Some(value), Some(7));
        assert_eq!(keyed(r#"{"industry":"fintech","employees":51}"#), acme(0b111, 0b011));
        assert_eq!(keyed(r#"{"industry":["steel","software"],"employees":null}"#), acme(0b101, 0b001));
        assert_eq!(keyed(r#"{"employees":"51","more":{"x":[1]}}"#), acme(0b110, 0b000));
        assert_eq!(keyed("{}"), acme(0b100, 0));
        assert_eq!(told(Some("acme.com"), None, Some(7)), acme(0, 0), "a tombstone");
    }

    #[test]
    fn the_key_names_the_account_and_the_field_stands_in() {
        let account = |key, value| told(key, Some(value), None).map(|told| (told.0, told.2, told.3));
        assert_eq!(account(Some("a"), r#"{"account":"x.gov"}"#), Ok(("a".to_owned(), 0b100, 0b100)));
        assert_eq!(account(Some("x.gov"), "{}"), Ok(("x.gov".to_owned(), 0b100, 0b100)));
        assert_eq!(account(None, r#"{"account":"x\u002egov"}"#), Ok(("x.gov".to_owned(), 0b100, 0b100)));
    }

    #[test]
    fn a_file_may_date_its_attributes() {
        let time = |value| told(Some("a"), Some(value), None).map(|told| told.1);
        assert_eq!(time(r#"{"time":"1970-01-01T00:00:01Z"}"#), Ok(1000));
        assert_eq!(time("{}"), Ok(0));
        assert_eq!(told(Some("a"), Some(r#"{"time":5}"#), Some(9)).map(|told| told.1), Ok(9));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (key, value, fault, path) in [
            (None, Some("{}"), Fault::MissingField, "$.account"),
            (None, None, Fault::MissingField, "$"),
            (Some(""), Some("{}"), Fault::BadAccount, "key"),
            (Some(""), None, Fault::BadAccount, "key"),
            (None, Some(r#"{"account":""}"#), Fault::BadAccount, "$.account"),
            (None, Some(r#"{"account":4}"#), Fault::WrongType, "$.account"),
            (Some("a"), Some("[]"), Fault::WrongType, "$"),
            (Some("a"), Some("{"), Fault::Malformed, "$"),
            (Some("a"), Some(r#"{"time":"noon"}"#), Fault::BadTime, "$.time"),
        ] {
            let rejected = told(key, value, None).unwrap_err();
            assert_eq!((rejected.fault, &*rejected.path), (fault, path), "{value:?}: {rejected}");
        }
    }
}
