//! The fields of a JSON record that the model asks for; everything else is skipped unread.

use std::{borrow::Cow, fmt};

use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    dead_letter::{Fault, Rejected},
    time::parse_rfc3339,
};
use crate::model::{Field, Keys, Timestamp};

/// The largest record value that is read, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The largest account id, in bytes.
pub const MAX_ACCOUNT_BYTES: usize = 256;

/// Which fields of a record are kept, and where.
///
/// Fields are read into slots: first one for each key of the model, at the key's own index, then
/// one for each further name that the decoder itself needs. When the record has `properties`, a
/// second slot for each key of the model follows, for the property of that name.
#[derive(Debug)]
pub struct Wanted {
    slots: HashMap<Box<str>, usize>,
    model_keys: usize,
    properties: bool,
}

impl Wanted {
    /// Wants the keys of the model and `fixed` names.
    pub fn new(keys: &Keys, fixed: &[&str], properties: bool) -> Self {
        let mut slots = HashMap::new();
        for name in keys.iter().map(|key| &**key).chain(fixed.iter().copied()) {
            let next = slots.len();
            slots.entry(Box::from(name)).or_insert(next);
        }
        Self { slots, model_keys: keys.len(), properties }
    }

    /// The slot of a top-level field that is wanted.
    pub fn slot(&self, name: &str) -> usize {
        self.slots[name]
    }

    /// The slot of the property of the same name as the model's key at `key`.
    pub fn property_slot(&self, key: usize) -> usize {
        self.slots.len() + key
    }

    /// Fills the slots from a JSON object. Of a name that stands twice the last one counts.
    pub fn read<'r>(&self, value: Option<&'r [u8]>, fields: &mut Vec<Field<'r>>) -> Result<(), Rejected> {
        let properties = if self.properties { self.model_keys } else { 0 };
        fields.clear();
        fields.resize(self.slots.len() + properties, Field::Absent);
        let value = value.ok_or_else(|| Rejected::new(Fault::MissingField, "$", "the record has no value"))?;
        if value.len() > MAX_VALUE_BYTES {
            let message = format!("the value has more than the {MAX_VALUE_BYTES} bytes that are read");
            return Err(Rejected::new(Fault::Oversize, "$", message));
        }
        let text = str::from_utf8(value)
            .map_err(|error| Rejected::new(Fault::Malformed, "$", format!("the value is not UTF-8: {error}")))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let mut at = "$";
        let record = Record { wanted: self, fields, at: &mut at };
        let outcome = record.deserialize(&mut json).and_then(|()| json.end());
        outcome.map_err(|error| {
            let fault = if error.is_data() { Fault::WrongType } else { Fault::Malformed };
            Rejected::new(fault, at, error.to_string())
        })
    }
}

/// The emptied buffer, fit for other borrows: collecting in place keeps the memory.
pub fn emptied<'new>(mut fields: Vec<Field<'_>>) -> Vec<Field<'new>> {
    fields.clear();
    fields.into_iter().map_while(|_| None).collect()
}

/// The account that the field `account` names, if the record has one. Taken as it is.
pub fn account_in<'r>(field: &Field<'r>) -> Result<Option<Cow<'r, str>>, Rejected> {
    text_at(field, "account")?.map(|account| check_account(account, "$.account")).transpose()?;
    // The clone of borrowed text is free.
    Ok(if let Field::Text(account) = field { Some(account.clone()) } else { None })
}

fn check_account<'a>(account: &'a str, path: &str) -> Result<&'a str, Rejected> {
    match account.len() {
        0 => Err(Rejected::new(Fault::BadAccount, path, "the account is empty")),
        1..=MAX_ACCOUNT_BYTES => Ok(account),
        len => {
            let message = format!("the account has {len} bytes; the limit is {MAX_ACCOUNT_BYTES}");
            Err(Rejected::new(Fault::BadAccount, path, message))
        }
    }
}

/// The account that the record key names.
pub fn account_of_key(key: &[u8]) -> Result<&str, Rejected> {
    let text = str::from_utf8(key).map_err(|_| Rejected::new(Fault::BadAccount, "key", "the key is not UTF-8"))?;
    check_account(text, "key")
}

/// The moment that the text at `$.time` stands for.
pub fn time_at(text: &str) -> Result<Timestamp, Rejected> {
    let bad = |message| Rejected::new(Fault::BadTime, "$.time", message);
    let time = parse_rfc3339(text);
    let time = time.ok_or_else(|| bad(format!("`{text}` is not an RFC 3339 time such as 2026-11-21T17:00:00.000Z")))?;
    if time.is_representable() { Ok(time) } else { Err(bad(format!("`{text}` is not between 1970 and June 2527"))) }
}

/// What a field is, for messages.
pub fn kind_of(field: &Field<'_>) -> &'static str {
    match field {
        Field::Absent => "nothing",
        Field::Text(_) => "text",
        Field::Number(_) => "a number",
        Field::Bool(_) => "true or false",
        Field::List(_) => "a list",
        Field::Other => "an object",
    }
}

/// Text at `$.name`; nothing if the field is absent.
pub fn text_at<'f>(field: &'f Field<'_>, name: &str) -> Result<Option<&'f str>, Rejected> {
    match field {
        Field::Absent => Ok(None),
        Field::Text(text) => Ok(Some(text)),
        other => {
            let message = format!("`{name}` must be text, not {}", kind_of(other));
            Err(Rejected::new(Fault::WrongType, format!("$.{name}"), message))
        }
    }
}

struct Record<'w, 'f, 'r> {
    wanted: &'w Wanted,
    fields: &'f mut Vec<Field<'r>>,
    /// JSON path of the object that is being read.
    at: &'f mut &'static str,
}

impl<'r> DeserializeSeed<'r> for Record<'_, '_, 'r> {
    type Value = ();
    fn deserialize<D: Deserializer<'r>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'r> Visitor<'r> for Record<'_, '_, 'r> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Name(self.wanted))? {
            match place {
                Place::Slot(slot) => self.fields[slot] = map.next_value_seed(Value::Whole)?,
                Place::Properties => {
                    let properties = &mut self.fields[self.wanted.slots.len()..];
                    properties.fill(Field::Absent);
                    *self.at = "$.properties";
                    map.next_value_seed(Properties { wanted: self.wanted, fields: properties })?;
                    *self.at = "$";
                }
                Place::Nowhere => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Where a field goes.
enum Place {
    Slot(usize),
    Properties,
    Nowhere,
}

struct Name<'w>(&'w Wanted);

impl<'r> DeserializeSeed<'r> for Name<'_> {
    type Value = Place;
    fn deserialize<D: Deserializer<'r>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Place;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Place, E> {
        Ok(match self.0.slots.get(name) {
            Some(slot) => Place::Slot(*slot),
            None if self.0.properties && name == "properties" => Place::Properties,
            None => Place::Nowhere,
        })
    }
}

struct Properties<'w, 'f, 'r> {
    wanted: &'w Wanted,
    fields: &'f mut [Field<'r>],
}

impl<'r> DeserializeSeed<'r> for Properties<'_, '_, 'r> {
    type Value = ();
    fn deserialize<D: Deserializer<'r>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'r> Visitor<'r> for Properties<'_, '_, 'r> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of properties")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Name(self.wanted))? {
            match place {
                Place::Slot(slot) if slot < self.fields.len() => {
                    self.fields[slot] = map.next_value_seed(Value::Whole)?
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads one value as a field.
#[derive(Clone, Copy)]
enum Value {
    Whole,
    /// An element of a list. No test looks into a list within a list.
    Element,
}

impl<'r> DeserializeSeed<'r> for Value {
    type Value = Field<'r>;
    fn deserialize<D: Deserializer<'r>>(self, deserializer: D) -> Result<Field<'r>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'r> Visitor<'r> for Value {
    type Value = Field<'r>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: Error>(self) -> Result<Field<'r>, E> {
        Ok(Field::Absent)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Field<'r>, E> {
        Ok(Field::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Field<'r>, E> {
        Ok(Field::Number(value as f64))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Field<'r>, E> {
        Ok(Field::Number(value as f64))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Field<'r>, E> {
        Ok(Field::Number(value))
    }
    fn visit_borrowed_str<E: Error>(self, text: &'r str) -> Result<Field<'r>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Field<'r>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_map<A: MapAccess<'r>>(self, map: A) -> Result<Field<'r>, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Field::Other)
    }
    fn visit_seq<A: SeqAccess<'r>>(self, mut seq: A) -> Result<Field<'r>, A::Error> {
        if let Self::Element = self {
            return IgnoredAny.visit_seq(seq).map(|_| Field::Other);
        }
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self::Element)? {
            items.push(item);
        }
        Ok(Field::List(items))
    }
}
