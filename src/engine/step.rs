//! All that a batch caused, as one value.

use std::sync::Arc;

use super::accounts::PageId;
use crate::model::{Change, Standing};

/// What applying events and letting time pass has caused; nothing of it is out yet.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Changes in the order in which they must be published.
    pub changes: Vec<Change>,
    /// The standing after the changes of an account; a later one replaces an earlier one.
    pub standings: Vec<Standing>,
    /// Accounts that were evicted and had a standing, which is thereby gone. None of them is in
    /// `standings`.
    pub evicted: Vec<Arc<str>>,
    /// Pages whose first change since they were last stored is in this step.
    pub touched: Vec<PageId>,
    pub stats: Stats,
}

/// Counts for the metrics; the engine itself reports to nobody.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Events that counted, late ones included.
    pub applied: u64,
    /// Events whose id the account had seen.
    pub duplicates: u64,
    /// Applied events that were older than the grace.
    pub late: u64,
    /// Attribute records.
    pub attributes: u64,
    /// Timers that came due, the stale ones included.
    pub timers_fired: u64,
    pub evicted: u64,
}
