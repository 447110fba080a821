//! Boolean rules over an account, as segments and tiers use them.

use super::{DistinctId, FactId, SignalId, Span};

/// A tree of conditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    All(Vec<Rule>),
    Any(Vec<Rule>),
    Not(Box<Rule>),
    Leaf(Leaf),
}

/// One condition. As time passes without events, a leaf can only turn from true to false.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf {
    /// At least `min` events of the signal lie within the window: an event at t counts in [t, t + within).
    Count { signal: SignalId, min: u32, within: Span },
    /// At least `min` distinct values were seen within the window.
    Distinct { set: DistinctId, min: u32, within: Span },
    /// Intent is at least `min` points.
    Intent { min: f64 },
    /// Fit is known and at least `min`.
    Fit { min: f64 },
    /// The contribution of one signal is at least `min` points.
    Score { signal: SignalId, min: f64 },
    /// A statement about the account's attributes holds; unknown counts as not.
    Attribute(FactId),
}

impl Rule {
    /// Whether the tree holds a `not`, so that it can turn true by the mere passing of time.
    pub fn has_not(&self) -> bool {
        match self {
            Self::All(rules) | Self::Any(rules) => rules.iter().any(Self::has_not),
            Self::Not(_) => true,
            Self::Leaf(_) => false,
        }
    }

    /// Calls `visit` with every leaf.
    pub fn for_each_leaf(&self, visit: &mut impl FnMut(&Leaf)) {
        match self {
            Self::All(rules) | Self::Any(rules) => rules.iter().for_each(|rule| rule.for_each_leaf(visit)),
            Self::Not(rule) => rule.for_each_leaf(visit),
            Self::Leaf(leaf) => visit(leaf),
        }
    }
}
