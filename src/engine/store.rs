//! Accounts leaving and entering memory: state pages, standings, eviction, and what a change of
//! the model does to stored state.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::{
    Engine, Retired, Sought, Step,
    account::{Account, IDS_KEPT, NEVER, Tag},
    accounts::{PageId, hash_of_name, page_of},
    faded_at,
    layout::{Layout, Slot},
};
use crate::model::{MAX_ACCOUNT_BYTES, Model, SegmentId, Standing, TierId, Timestamp};

/// The names that stored state refers to by number. Stored with every page, so that a page can be
/// read under another model: what has the same name means the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schema {
    /// Digest of the model that the page's accounts were last judged under.
    pub digest: Arc<str>,
    /// Names of the slots: kind, colon, what for.
    pub slots: Vec<Arc<str>>,
    pub tiers: Vec<Arc<str>>,
    /// The statements about attributes, one per bit.
    pub facts: Vec<Arc<str>>,
}

/// An account as it is stored. Of one that was read, nothing is known to be sound until it is loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccountImage<'a> {
    /// UTF-8.
    pub name: &'a [u8],
    pub settled: Timestamp,
    /// Index into [`Schema::tiers`].
    pub tier: Option<u8>,
    /// How many of the words, at the end, are event ids.
    pub ids: u8,
    /// Cells and event ids, little-endian; see [`Schema::slots`] for what the cells mean.
    pub words: &'a [[u8; 8]],
}

/// How to read accounts stored under one schema with another model.
#[derive(Clone, Debug)]
pub struct Remap {
    identical: bool,
    schema: Schema,
    widths: Vec<usize>,
    slots: Vec<Option<Slot>>,
    tiers: Vec<Option<TierId>>,
    facts: Vec<Option<u32>>,
    lacks_facts: bool,
}

/// A page names a kind of state that this program does not know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a state page holds `{0}`, which this version does not know; it was written by a newer one")]
pub struct UnknownSlot(pub Arc<str>);

impl Remap {
    /// How accounts stored under `schema` read for `engine`.
    pub fn new(schema: Schema, engine: &Engine) -> Result<Self, UnknownSlot> {
        let current = engine.schema();
        let place = |names: &[Arc<str>], name: &Arc<str>| names.iter().position(|known| known == name);
        let widths = schema.slots.iter().map(width_of).collect::<Result<_, _>>()?;
        Ok(Self {
            identical: (&schema.slots, &schema.tiers, &schema.facts)
                == (&current.slots, &current.tiers, &current.facts),
            widths,
            slots: schema.slots.iter().map(|name| place(&current.slots, name).map(|at| Slot(at as u8))).collect(),
            tiers: schema.tiers.iter().map(|name| place(&current.tiers, name).map(|at| TierId(at as u8))).collect(),
            facts: schema.facts.iter().map(|name| place(&current.facts, name).map(|at| at as u32)).collect(),
            lacks_facts: current.facts.iter().any(|name| !schema.facts.contains(name)),
            schema,
        })
    }

    /// Whether the model asks for statements about attributes that the page does not answer, so
    /// that the attributes must be read again.
    pub fn lacks_facts(&self) -> bool {
        self.lacks_facts
    }

    /// Whether an account is what the schema says: cells of known slots in order, each whole, a known
    /// tier, a name, a time, and no more event ids than accounts keep.
    fn fits(&self, image: &AccountImage<'_>) -> bool {
        let Some(end) = image.words.len().checked_sub(usize::from(image.ids)) else { return false };
        let known_tier = image.tier.is_none_or(|tier| usize::from(tier) < self.tiers.len());
        // Nothing is decided beyond the last moment that a record may carry.
        let has_time = image.settled <= Timestamp::LATEST;
        if usize::from(image.ids) > IDS_KEPT || !known_tier || !has_time || !is_name(image.name) {
            return false;
        }
        let (mut at, mut last) = (0, Slot(0));
        while at < end {
            let slot = Tag(u64::from_le_bytes(image.words[at])).slot();
            let Some(width) = self.widths.get(usize::from(slot.0)) else { return false };
            if slot < last {
                return false;
            }
            (at, last) = (at + width, slot);
        }
        at == end
    }

    fn words(&self, image: &AccountImage<'_>, retired: &mut Retired) -> Vec<u64> {
        let stored: Vec<u64> = image.words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (cells, ids) = stored.split_at(stored.len().saturating_sub(usize::from(image.ids)));
        let mut kept: Vec<(Slot, &[u64])> = Vec::new();
        let mut at = 0;
        while let Some(&word) = cells.get(at) {
            let old = usize::from(Tag(word).slot().0);
            let width = self.widths.get(old).copied().unwrap_or(1);
            let cell = &cells[at..cells.len().min(at + width)];
            match self.slots.get(old).copied().flatten() {
                Some(slot) => kept.push((slot, cell)),
                None => self.retire_member(old, Tag(word).time(), retired),
            }
            at += width;
        }
        // A stable sort keeps the order within a slot: newest first.
        kept.sort_by_key(|(slot, _)| *slot);
        let mut words = Vec::with_capacity(stored.len());
        for (slot, cell) in kept {
            let tag = Tag(cell[0]);
            words.push(Tag::new(slot, tag.count(), tag.time()).0);
            match cell {
                [_, known, holds] if slot == Layout::FACTS => words.extend([self.bits(*known), self.bits(*holds)]),
                cell => words.extend(&cell[1..]),
            }
        }
        words.extend(ids);
        words
    }

    fn retire_member(&self, slot: usize, since: Timestamp, retired: &mut Retired) {
        if let Some(segment) = self.schema.slots.get(slot).and_then(|name| name.strip_prefix("member:")) {
            retired.segments.push(crate::model::SegmentSince { name: segment.into(), since });
        }
    }

    fn bits(&self, old: u64) -> u64 {
        let bits = self.facts.iter().enumerate().filter(|(bit, _)| old & (1 << bit) != 0);
        bits.filter_map(|(_, new)| *new).fold(0, |word, bit| word | 1 << bit)
    }
}

/// Whether these bytes may be the name of an account.
fn is_name(bytes: &[u8]) -> bool {
    // Nearly all are ASCII, and that is told faster.
    (1..=MAX_ACCOUNT_BYTES).contains(&bytes.len()) && (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok())
}

fn width_of(name: &Arc<str>) -> Result<usize, UnknownSlot> {
    match name.split(':').next().unwrap_or_default() {
        "facts" => Ok(3),
        "standing" | "sum" | "level" | "seen" => Ok(2),
        "member" | "gained" | "times" => Ok(1),
        _ => Err(UnknownSlot(name.clone())),
    }
}

impl Engine {
    /// The names that this engine's accounts refer to by number.
    pub fn schema(&self) -> Schema {
        let model: &Model = &self.model;
        Schema {
            digest: model.id().digest.clone(),
            slots: self.layout.names().to_vec(),
            tiers: model.tiers().iter().map(|tier| tier.name.clone()).collect(),
            facts: model.facts().iter().map(|fact| fact.statement.clone()).collect(),
        }
    }

    /// Whether the page holds changes that were not stored.
    pub fn is_dirty(&self, page: PageId) -> bool {
        self.dirty[usize::from(page.0)]
    }

    /// Prepares a page for storing: evicts the accounts of which nothing can matter any more at
    /// `clock`. Returns whether the page must be stored, because something in it changed.
    pub fn sweep(&mut self, page: PageId, clock: Timestamp, step: &mut Step) -> bool {
        let at_page = usize::from(page.0);
        if !self.dirty[at_page] && clock < self.fades_at[at_page] {
            return false;
        }
        self.pages[at_page].peek();
        let mut fades_at = NEVER;
        for at in self.positions(page) {
            let faded = faded_at(&self.reading(page, at));
            // A timer that is due may still turn a `not` true.
            let due = self.account(page, at).armed() <= clock;
            if faded <= clock && !due && !self.retired.contains_key(self.account(page, at).name()) {
                self.evict(page, at, step);
            } else {
                fades_at = fades_at.min(faded);
            }
        }
        self.fades_at[at_page] = fades_at;
        self.dirty[at_page]
    }

    fn evict(&mut self, page: PageId, at: usize, step: &mut Step) {
        let (sequence, _) = self.last_published(page, at);
        if sequence > 0 {
            let name = self.account(page, at).name();
            step.standings.retain(|standing| *standing.account != *name);
            step.evicted.push(name.into());
        }
        self.pages[usize::from(page.0)].remove(at);
        self.dirty[usize::from(page.0)] = true;
        step.stats.evicted += 1;
    }

    /// The accounts of a page, as they are to be stored.
    pub fn images(&self, page: PageId) -> impl ExactSizeIterator<Item = AccountImage<'_>> {
        self.pages[usize::from(page.0)].accounts().map(|account| AccountImage {
            name: account.name_bytes(),
            settled: account.settled(),
            tier: account.tier().map(|tier| tier.0),
            ids: account.id_count(),
            words: account.words(),
        })
    }

    /// Notes that the page was stored as it is now.
    pub fn stored(&mut self, page: PageId) {
        self.dirty[usize::from(page.0)] = false;
    }

    /// Forgets the accounts of a page: a newer one of the same number follows.
    pub fn clear_page(&mut self, page: PageId) {
        let accounts = std::mem::take(&mut self.pages[usize::from(page.0)]);
        if !self.retired.is_empty() {
            // An older copy may be of another model. A newer one of that model names again what is gone; one of
            // this model was stored when that had been left.
            accounts.accounts().for_each(|account| drop(self.retired.remove(account.name())));
        }
    }

    /// Makes room for so many more accounts of a page at once.
    pub fn reserve(&mut self, page: PageId, accounts: usize) {
        self.pages[usize::from(page.0)].reserve(accounts);
    }

    /// Takes in a stored account that is not in memory yet, and returns the page that it belongs on.
    /// One that is not well formed is not taken in.
    pub fn load(&mut self, image: &AccountImage<'_>, remap: &Remap) -> Option<PageId> {
        if !remap.fits(image) {
            return None;
        }
        if remap.identical {
            return Some(self.take_in(image, image.tier.map(TierId), image.words));
        }
        let mut retired = Retired::default();
        let words = remap.words(image, &mut retired);
        let tier = image.tier.and_then(|tier| remap.tiers.get(usize::from(tier)).copied().flatten());
        if let (None, Some(old)) = (tier, image.tier) {
            retired.tier = remap.schema.tiers.get(usize::from(old)).cloned();
        }
        let page = self.take_in(image, tier, words.as_bytes().as_chunks().0);
        if retired != Retired::default() {
            self.retired.insert(String::from_utf8_lossy(image.name).into(), retired);
        }
        Some(page)
    }

    fn take_in(&mut self, image: &AccountImage<'_>, tier: Option<TierId>, words: &[[u8; 8]]) -> PageId {
        let hash = hash_of_name(image.name);
        let page = page_of(hash);
        self.pages[usize::from(page.0)]
            .find_or_add(hash, image.name, || Account::from_parts(image.name, image.settled, tier, words, image.ids));
        page
    }

    /// Takes in a published standing. It replaces what a page said if its sequence is higher: pages
    /// are written later than standings.
    pub fn load_standing(&mut self, standing: &Standing) {
        let (page, at) = self.find_or_add(&standing.account, &Sought::default());
        let (sequence, _) = self.last_published(page, at);
        if standing.sequence <= sequence {
            return;
        }
        let mut retired = Retired::default();
        let tier = standing.tier.as_ref().and_then(|name| self.tier_named(name));
        retired.tier = standing.tier.clone().filter(|_| tier.is_none());
        let account = self.pages[usize::from(page.0)].get_mut(at);
        account.set_settled(account.settled().max(standing.as_of));
        account.set_tier(tier);
        account.set_judged(false);
        let since = Tag::new(Layout::STANDING, u64::from(standing.since.is_some()), standing.since.unwrap_or_default());
        account.put(&self.layout, Layout::STANDING, [since.0, standing.sequence as u64]);
        for (id, segment) in self.model.segments().iter().enumerate() {
            let slot = self.layout.member(SegmentId(id as u8));
            match standing.segments.iter().find(|member| member.name == segment.name) {
                Some(member) => account.put(&self.layout, slot, [Tag::new(slot, 0, member.since).0]),
                None => account.clear(&self.layout, slot),
            }
        }
        for (id, tier) in self.model.tiers().iter().enumerate() {
            let Some(slot) = self.layout.gained(TierId(id as u8)) else { continue };
            match standing.gained.iter().find(|gained| gained.name == tier.name) {
                Some(gained) => account.put(&self.layout, slot, [Tag::new(slot, 0, gained.at).0]),
                None => account.clear(&self.layout, slot),
            }
        }
        let known = |name: &Arc<str>| self.model.segments().iter().any(|segment| segment.name == *name);
        retired.segments = standing.segments.iter().filter(|member| !known(&member.name)).cloned().collect();
        if retired == Retired::default() {
            self.retired.remove(&*standing.account);
        } else {
            self.retired.insert((&*standing.account).into(), retired);
        }
    }

    /// The accounts of which something was published, and the sequence of the last.
    pub fn published(&self) -> impl Iterator<Item = (&str, i64)> {
        PageId::all().flat_map(move |page| {
            self.pages[usize::from(page.0)].positions().filter_map(move |at| {
                let (last, _) = self.last_published(page, at);
                // Most are unpublished, and a name is checked when it is asked for.
                (last > 0).then(|| (self.account(page, at).name(), last))
            })
        })
    }

    fn tier_named(&self, name: &str) -> Option<TierId> {
        let at = self.model.tiers().iter().position(|tier| *tier.name == *name);
        at.map(|at| TierId(at as u8))
    }

    /// Arms the timers of all accounts: after a restore, before time advances.
    pub fn arm_all(&mut self) {
        for page in PageId::all() {
            for at in self.positions(page) {
                let settled = self.account(page, at).settled();
                let due = self.next_change(page, at, settled);
                self.arm(page, at, due);
            }
        }
    }

    /// Marks a page as holding changes that were not stored; for restore, which knows.
    pub fn mark_dirty(&mut self, page: PageId) {
        self.dirty[usize::from(page.0)] = true;
    }

    /// The standings of all accounts of which something was published, for the read view after a restore.
    pub fn standings(&self) -> impl Iterator<Item = Standing> + '_ {
        PageId::all().flat_map(move |page| {
            let accounts = self.pages[usize::from(page.0)].positions();
            let published = accounts.filter(move |at| self.last_published(page, *at).0 > 0);
            published.map(move |at| self.current_standing(page, at))
        })
    }

    fn current_standing(&self, page: PageId, at: usize) -> Standing {
        let settled = self.account(page, at).settled();
        let next = self.account(page, at).armed();
        self.standing(page, at, settled, self.reading(page, at).intent(settled), next)
    }
}
