//! The fields of a JSON record that the model asks for; everything else is skipped unread.

use std::borrow::Cow;

use super::{
    dead_letter::{Fault, Rejected},
    time::parse_rfc3339,
};
use crate::model::{Field, Keys, MAX_ACCOUNT_BYTES, Timestamp};

mod any;
mod order;
mod plain;
mod quotes;
mod slots;

pub use slots::Slots;

use order::Order;
use quotes::Quotes;

/// The largest record value that is read, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Which fields of a record are kept, and where.
///
/// Fields are read into slots: first one for each key of the model, at the key's own index, then
/// one for each further name that the decoder itself needs. When the record has `properties`, a
/// second slot for each key of the model follows, for the property of that name.
#[derive(Debug)]
pub struct Wanted {
    /// Names and their places, by the length of the name: few are left to compare.
    names: Vec<Vec<(Box<str>, Place)>>,
    /// Number of slots of the top level.
    slots: usize,
    /// Number of slots of the properties.
    properties: usize,
    /// What plain records are expected to have.
    order: Order,
    /// Those of the record that is being read, to reuse the memory.
    quotes: Quotes,
}

/// Where a field goes. Small, for it is handed on with every member of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Slot(u32),
    Properties,
    Nowhere,
}

impl Wanted {
    /// Wants the keys of the model and `fixed` names.
    pub fn new(keys: &Keys, fixed: &[&str], properties: bool) -> Self {
        let property_slots = if properties { keys.len() } else { 0 };
        let mut wanted = Self {
            names: Vec::new(),
            slots: 0,
            properties: property_slots,
            order: Order::default(),
            quotes: Quotes::default(),
        };
        for name in keys.iter().map(|key| &**key).chain(fixed.iter().copied()) {
            wanted.slots += usize::from(wanted.want(name, Place::Slot(wanted.slots as u32)));
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
            self.names.resize_with(self.names.len().max(name.len() + 1), Vec::new);
            self.names[name.len()].push((name.into(), place));
        }
        is_new
    }

    /// The slot of a top-level field that is wanted.
    pub fn slot(&self, name: &str) -> usize {
        match self.place(name.as_bytes()) {
            Place::Slot(slot) => slot as usize,
            Place::Properties | Place::Nowhere => panic!("`{name}` is not wanted"),
        }
    }

    /// The slot of the property of the same name as the model's key at `key`.
    pub fn property_slot(&self, key: usize) -> usize {
        self.slots + key
    }

    /// Fills the slots from a JSON object. Of a name that stands twice the last one counts.
    pub fn read<'r>(&mut self, value: Option<&'r [u8]>, slots: &mut Slots<'r>) -> Result<(), Rejected> {
        slots.reset(self.slots + self.properties);
        if plain::read(self, text_of(value)?, slots).is_some() { Ok(()) } else { self.read_carefully(value, slots) }
    }

    /// The same in the way that is slow for all records.
    pub fn read_carefully<'r>(&self, value: Option<&'r [u8]>, slots: &mut Slots<'r>) -> Result<(), Rejected> {
        slots.reset(self.slots + self.properties);
        any::read(self, text_of(value)?, slots)
    }

    fn place(&self, name: &[u8]) -> Place {
        let mut alike = self.names.get(name.len()).into_iter().flatten();
        let found = alike.find(|(wanted, _)| wanted.as_bytes() == name);
        found.map_or(Place::Nowhere, |(_, place)| *place)
    }

    /// The slot of a property whose name has this place at the top level.
    fn slot_of_property(&self, place: Place) -> Option<usize> {
        match place {
            Place::Slot(key) if (key as usize) < self.properties => Some(self.property_slot(key as usize)),
            _ => None,
        }
    }

    /// Empties the slots of the properties, of what earlier `properties` of the record had.
    fn empty_properties(&self, slots: &mut Slots<'_>) {
        (self.slots..slots.len()).for_each(|slot| slots.put(slot, Field::Absent));
    }
}

/// The text of a record's value.
fn text_of(value: Option<&[u8]>) -> Result<&str, Rejected> {
    let value = value.ok_or_else(|| Rejected::new(Fault::MissingField, "$", "the record has no value"))?;
    if value.len() > MAX_VALUE_BYTES {
        let message = format!("the value has more than the {MAX_VALUE_BYTES} bytes that are read");
        return Err(Rejected::new(Fault::Oversize, "$", message));
    }
    simdutf8::compat::from_utf8(value)
        .map_err(|error| Rejected::new(Fault::Malformed, "$", format!("the value is not UTF-8: {error}")))
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
#[inline]
pub fn text_at<'f>(field: &'f Field<'_>, name: &str) -> Result<Option<&'f str>, Rejected> {
    match field {
        Field::Absent => Ok(None),
        Field::Text(text) => Ok(Some(text)),
        other => Err(not_text(other, name)),
    }
}

#[cold]
fn not_text(field: &Field<'_>, name: &str) -> Rejected {
    Rejected::new(Fault::WrongType, format!("$.{name}"), format!("`{name}` must be text, not {}", kind_of(field)))
}

#[cfg(test)]
mod tests;
