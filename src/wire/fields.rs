//! The fields of a JSON record that the model asks for; everything else is skipped unread.

use std::{borrow::Cow, mem};

use super::{
    dead_letter::{Fault, Rejected},
    time::parse_rfc3339,
};
use crate::model::{Field, Keys, Timestamp};

mod any;
mod plain;

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
    /// Names and their places, by the length of the name: few are left to compare.
    places: Vec<Vec<(Box<str>, Place)>>,
    /// Number of slots of the top level.
    slots: usize,
    /// Number of slots of the properties.
    properties: usize,
}

/// Where a field goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Slot(usize),
    Properties,
    Nowhere,
}

impl Wanted {
    /// Wants the keys of the model and `fixed` names.
    pub fn new(keys: &Keys, fixed: &[&str], properties: bool) -> Self {
        let mut wanted = Self { places: Vec::new(), slots: 0, properties: if properties { keys.len() } else { 0 } };
        for name in keys.iter().map(|key| &**key).chain(fixed.iter().copied()) {
            wanted.slots += usize::from(wanted.want(name, Place::Slot(wanted.slots)));
        }
        if properties {
            wanted.want("properties", Place::Properties);
        }
        wanted
    }

    /// Whether the name was not wanted before.
    fn want(&mut self, name: &str, place: Place) -> bool {
        let is_new = self.place(name.as_bytes()) == Place::Nowhere;
        if is_new {
            self.places.resize_with(self.places.len().max(name.len() + 1), Vec::new);
            self.places[name.len()].push((name.into(), place));
        }
        is_new
    }

    /// The slot of a top-level field that is wanted.
    pub fn slot(&self, name: &str) -> usize {
        match self.place(name.as_bytes()) {
            Place::Slot(slot) => slot,
            Place::Properties | Place::Nowhere => panic!("`{name}` is not wanted"),
        }
    }

    /// The slot of the property of the same name as the model's key at `key`.
    pub fn property_slot(&self, key: usize) -> usize {
        self.slots + key
    }

    /// Fills the slots from a JSON object. Of a name that stands twice the last one counts.
    pub fn read<'r>(&self, value: Option<&'r [u8]>, fields: &mut Vec<Field<'r>>) -> Result<(), Rejected> {
        fields.clear();
        fields.resize_with(self.slots + self.properties, Field::default);
        let text = text_of(value)?;
        if plain::read(self, text, fields).is_some() {
            return Ok(());
        }
        fields.fill(Field::Absent);
        any::read(self, text, fields)
    }

    fn place(&self, name: &[u8]) -> Place {
        let mut alike = self.places.get(name.len()).into_iter().flatten();
        let found = alike.find(|(wanted, _)| wanted.bytes().eq(name.iter().copied()));
        found.map_or(Place::Nowhere, |(_, place)| *place)
    }

    /// Where, among the slots of the properties, a property goes whose name has this place at the top level.
    fn slot_of_property(&self, place: Place) -> Option<usize> {
        match place {
            Place::Slot(slot) if slot < self.properties => Some(slot),
            _ => None,
        }
    }

    /// The slots of the properties, without what earlier `properties` of the record had.
    fn emptied_properties<'f, 'r>(&self, fields: &'f mut [Field<'r>]) -> &'f mut [Field<'r>] {
        let properties = &mut fields[self.slots..];
        properties.iter_mut().for_each(|slot| put(slot, Field::Absent));
        properties
    }
}

/// The text of a record's value.
fn text_of(value: Option<&[u8]>) -> Result<&str, Rejected> {
    let value = value.ok_or_else(|| Rejected::new(Fault::MissingField, "$", "the record has no value"))?;
    if value.len() > MAX_VALUE_BYTES {
        let message = format!("the value has more than the {MAX_VALUE_BYTES} bytes that are read");
        return Err(Rejected::new(Fault::Oversize, "$", message));
    }
    str::from_utf8(value)
        .map_err(|error| Rejected::new(Fault::Malformed, "$", format!("the value is not UTF-8: {error}")))
}

/// The emptied buffer, fit for other borrows: collecting in place keeps the memory.
pub fn emptied<'new>(mut fields: Vec<Field<'_>>) -> Vec<Field<'new>> {
    fields.drain(..).for_each(discard);
    fields.into_iter().map_while(|_| None).collect()
}

/// Puts a field into a slot.
#[inline]
fn put<'r>(slot: &mut Field<'r>, field: Field<'r>) {
    discard(mem::replace(slot, field));
}

/// Drops a field. That is a call, as a list drops fields in turn, and nearly always for nothing: it is
/// saved where there is nothing to free.
#[inline]
fn discard(field: Field<'_>) {
    match field {
        Field::Text(Cow::Owned(_)) | Field::List(_) => drop(field),
        borrowed => mem::forget(borrowed),
    }
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

#[cfg(test)]
mod tests;
