//! The fields of a record, each in its slot.

use std::{borrow::Cow, mem, ops::Deref};

use crate::model::Field;

/// Slots for fields; a slice of fields to those who read them.
#[derive(Debug, Default)]
pub struct Slots<'r> {
    fields: Vec<Field<'r>>,
    /// Whether any of the fields may own memory. To drop a field is a call, as a list drops fields in
    /// turn: too much for every slot of every record, where hardly ever anything is to be freed.
    owners: bool,
}

impl<'r> Slots<'r> {
    /// Makes all slots empty, so many of them.
    pub fn reset(&mut self, slots: usize) {
        self.clear();
        self.fields.resize_with(slots, Field::default);
    }

    /// Fills a slot.
    pub fn put(&mut self, slot: usize, field: Field<'r>) {
        self.owners |= matches!(field, Field::Text(Cow::Owned(_)) | Field::List(_));
        let before = mem::replace(&mut self.fields[slot], field);
        if self.owners { drop(before) } else { mem::forget(before) }
    }

    /// Fills a slot with text of the record.
    #[inline]
    pub fn put_text(&mut self, slot: usize, text: &'r str) {
        if self.owners {
            return self.put(slot, Field::Text(Cow::Borrowed(text)));
        }
        mem::forget(mem::replace(&mut self.fields[slot], Field::Text(Cow::Borrowed(text))));
    }

    /// Fills those of the first slots that are empty from the slots that begin at `second`, in their order.
    pub fn fill_from(&mut self, second: usize) {
        let (first, second) = self.fields.split_at_mut(second);
        for (field, other) in first.iter_mut().zip(second) {
            if matches!(field, Field::Absent) && !matches!(other, Field::Absent) {
                mem::swap(field, other);
            }
        }
    }

    /// The same slots without fields, fit for other borrows.
    pub fn emptied<'new>(mut self) -> Slots<'new> {
        self.clear();
        // Collecting in place keeps the memory.
        Slots { fields: self.fields.into_iter().map_while(|_| None).collect(), owners: false }
    }

    /// For how many slots there is memory.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.fields.capacity()
    }

    fn clear(&mut self) {
        if mem::take(&mut self.owners) {
            self.fields.clear();
        }
        // None of those that are left would free anything.
        mem::forget(self.fields.drain(..));
    }
}

impl<'r> Deref for Slots<'r> {
    type Target = [Field<'r>];
    fn deref(&self) -> &[Field<'r>] {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_for_other_records() {
        let mut slots = Slots::default();
        slots.reset(2);
        let text = "a".to_owned();
        slots.put_text(1, &text);
        let capacity = slots.capacity();
        let mut slots = slots.emptied();
        drop(text);
        assert_eq!((slots.len(), slots.capacity()), (0, capacity));
        slots.reset(2);
        assert_eq!(*slots, [Field::Absent, Field::Absent]);
    }

    #[test]
    fn what_may_own_memory_is_known() {
        let mut slots = Slots::default();
        slots.reset(1);
        slots.put_text(0, "a");
        slots.put(0, Field::Number(1.0));
        assert!(!slots.owners);
        for field in [Field::List(vec![Field::Bool(true)]), Field::Text(Cow::Owned("b".to_owned()))] {
            slots.put(0, field.clone());
            assert_eq!((&slots[0], slots.owners), (&field, true));
            slots.put_text(0, "a");
            assert_eq!((&slots[0], slots.owners), (&Field::Text("a".into()), true), "another slot may own memory");
            slots.reset(1);
            assert_eq!((&slots[0], slots.owners), (&Field::Absent, false));
        }
    }

    #[test]
    fn second_slots_stand_in_for_empty_ones() {
        let mut slots = Slots::default();
        slots.reset(5);
        for (slot, text) in [(1, "b"), (3, "A"), (4, "B")] {
            slots.put_text(slot, text);
        }
        slots.fill_from(3);
        assert_eq!(slots[..3], [Field::Text("A".into()), Field::Text("b".into()), Field::Absent]);
    }
}
