//! The coordinator of the group: members, sessions, generations, eager rebalances.

use std::collections::BTreeMap;

use crate::log::{Fetched, Partition};

/// A member that has not been heard of for this long is dropped.
const SESSION_MILLIS: i64 = 10_000;

#[derive(Debug)]
pub(super) struct Group {
    pub partitions: i32,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    /// The generation in force.
    generation: u64,
    /// Members have come or gone since it began.
    rebalancing: bool,
}

#[derive(Debug)]
struct Member {
    seen: i64,
    /// The generation whose assignment it holds; nothing after it gave everything back.
    holds: Option<u64>,
}

impl Group {
    pub fn new(partitions: i32) -> Self {
        Self { partitions, members: BTreeMap::new(), next_member: 0, generation: 0, rebalancing: false }
    }

    pub fn join(&mut self, now: i64) -> u64 {
        let id = self.next_member;
        self.next_member += 1;
        self.members.insert(id, Member { seen: now, holds: None });
        self.rebalancing = true;
        id
    }

    pub fn remove(&mut self, member: u64) {
        self.rebalancing |= self.members.remove(&member).is_some();
    }

    pub fn release(&mut self, member: u64) {
        if let Some(member) = self.members.get_mut(&member) {
            member.holds = None;
        }
    }

    /// Sessions time out.
    pub fn pass(&mut self, now: i64) {
        let before = self.members.len();
        self.members.retain(|_, member| now - member.seen <= SESSION_MILLIS);
        self.rebalancing |= self.members.len() < before;
    }

    /// What the group has to say to a member that is heard of now.
    pub fn event(&mut self, id: u64, now: i64, believes_to_belong: bool) -> Option<Fetched<'static>> {
        let Some(member) = self.members.get_mut(&id) else {
            if believes_to_belong {
                return Some(Fetched::Revoked { lost: true });
            }
            // It joins again, under the same name for brevity.
            self.members.insert(id, Member { seen: now, holds: None });
            self.rebalancing = true;
            return None;
        };
        member.seen = now;
        match member.holds {
            // It was dropped and has joined again, and does not know yet.
            None if believes_to_belong => Some(Fetched::Revoked { lost: true }),
            Some(_) if self.rebalancing => Some(Fetched::Revoked { lost: false }),
            Some(_) => None,
            None => self.assign(id),
        }
    }

    fn assign(&mut self, id: u64) -> Option<Fetched<'static>> {
        if self.rebalancing {
            if self.members.values().any(|member| member.holds.is_some()) {
                return None;
            }
            self.generation += 1;
            self.rebalancing = false;
        }
        let rank = self.members.keys().position(|member| *member == id)? as i32;
        let count = self.members.len() as i32;
        self.members.get_mut(&id)?.holds = Some(self.generation);
        let assigned = (0..self.partitions).filter(|partition| partition % count == rank).map(Partition);
        Some(Fetched::Assigned(assigned.collect()))
    }

    pub fn generation_of(&self, member: u64) -> Option<u64> {
        self.members.get(&member)?.holds
    }

    /// Whether offsets are taken from a member that says it is in this generation. For the sake of
    /// old clients, brokers take them from one that is in none.
    pub fn accepts(&self, member: u64, generation: Option<u64>) -> bool {
        generation.is_none_or(|said| said == self.generation && self.generation_of(member) == Some(said))
    }
}
