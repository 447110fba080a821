//! Reads any JSON: the careful way into the fields of a record, and the one that says what is wrong.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Place, Slots, Wanted};
use crate::{
    model::Field,
    wire::dead_letter::{Fault, Rejected},
};

/// Fills the slots from a JSON object.
pub fn read<'r>(wanted: &Wanted, text: &'r str, slots: &mut Slots<'r>) -> Result<(), Rejected> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut at = "$";
    let record = Record { wanted, slots, at: &mut at };
    let outcome = record.deserialize(&mut json).and_then(|()| json.end());
    outcome.map_err(|error| {
        let fault = if error.is_data() { Fault::WrongType } else { Fault::Malformed };
        Rejected::new(fault, at, error.to_string())
    })
}

struct Record<'w, 'f, 'r> {
    wanted: &'w Wanted,
    slots: &'f mut Slots<'r>,
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
                Place::Slot(slot) => self.slots.put(slot as usize, map.next_value_seed(Value::Whole)?),
                Place::Properties => {
                    self.wanted.empty_properties(self.slots);
                    *self.at = "$.properties";
                    map.next_value_seed(Properties { wanted: self.wanted, slots: self.slots })?;
                    *self.at = "$";
                }
                Place::Nowhere => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
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
        Ok(self.0.place(name.as_bytes()))
    }
}

struct Properties<'w, 'f, 'r> {
    wanted: &'w Wanted,
    slots: &'f mut Slots<'r>,
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
            match self.wanted.slot_of_property(place) {
                Some(slot) => self.slots.put(slot, map.next_value_seed(Value::Whole)?),
                None => drop(map.next_value::<IgnoredAny>()?),
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
