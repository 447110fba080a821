//! The stored copies of a partition's pages: where they lie, what they reflect, and what they lack.

use super::partition::Positions;
use crate::{
    engine::{PAGES, PageId},
    log::{InputId, Offset},
};

/// What is known of the stored copies of all pages.
pub struct Copies {
    stored: Vec<Option<PageCopy>>,
    /// Where pages were first touched since they were stored.
    dirty_since: Vec<Option<Positions>>,
}

/// The last stored copy of a page.
#[derive(Clone, Debug)]
pub struct PageCopy {
    /// An offset of the state topic that it does not lie below.
    pub from: Offset,
    /// How many parts it came in.
    pub parts: u16,
    /// The positions that it reflects; needed until the partition is live.
    pub reflects: Option<Positions>,
}

impl Copies {
    /// No page is stored, and none is touched.
    pub fn new() -> Self {
        Self { stored: vec![None; PAGES], dirty_since: vec![None; PAGES] }
    }

    /// A restore has found a copy, newer than any before.
    pub fn found(&mut self, page: PageId, copy: PageCopy) {
        self.stored[usize::from(page.0)] = Some(copy);
    }

    /// The positions that the page's copy reflects.
    pub fn reflects(&self, page: PageId) -> Option<&Positions> {
        self.stored[usize::from(page.0)].as_ref()?.reflects.as_ref()
    }

    /// Nothing is read silently any more: what the copies reflect is of no further interest.
    pub fn go_live(&mut self) {
        self.stored.iter_mut().flatten().for_each(|copy| copy.reflects = None);
    }

    /// The page differs from its copy, if it did not already, because of what was read there.
    pub fn touch(&mut self, page: PageId, positions: &Positions) {
        self.dirty_since[usize::from(page.0)].get_or_insert_with(|| positions.clone());
    }

    /// The page is to be stored in so many parts, at this offset of the state topic or further on. Returns
    /// how many parts its last copy came in.
    pub fn store(&mut self, page: PageId, parts: u16, from: Offset) -> u16 {
        self.dirty_since[usize::from(page.0)] = None;
        let before = self.stored[usize::from(page.0)].replace(PageCopy { from, parts, reflects: None });
        before.map_or(0, |before| before.parts)
    }

    /// How many pages have ever been stored.
    pub fn count(&self) -> u16 {
        self.stored.iter().flatten().count() as u16
    }

    /// The oldest position at which a page that was not stored since was first touched, if there is one.
    pub fn replay_from(&self, input: InputId) -> Option<Offset> {
        self.dirty_since.iter().flatten().map(|positions| positions[usize::from(input.0)]).min()
    }

    /// The oldest offset of the state topic at which the copy of a page may lie.
    pub fn state_from(&self) -> Offset {
        self.stored.iter().flatten().map(|copy| copy.from).min().unwrap_or(Offset(0))
    }
}
