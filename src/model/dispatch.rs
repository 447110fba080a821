//! Which rules can hold of a record, told by one field that most rules test for fixed texts.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{KeyId, Matcher, Test};

/// Rules sorted by the texts that they demand of one field, such as the type of an event. A record is
/// then tested against the few that its own text leaves over, in the order in which they were given,
/// and for these the field itself is not tested again.
#[derive(Clone, Debug)]
pub struct Dispatch<R> {
    by_text: HashMap<Box<str>, Candidates<R>>,
    /// The rules that do not ask for fixed texts.
    otherwise: Candidates<R>,
}

/// The rules that can hold of a record whose field has a certain text, and what of each is left to test.
#[derive(Clone, Debug)]
pub struct Candidates<R> {
    pub rules: Vec<(R, Matcher)>,
    /// Tells them from those of other texts.
    pub number: u32,
    /// The field that most of the rules are about.
    pub main_field: Option<KeyId>,
    /// The rules that are about this field alone, one bit each; not those beyond the 64th.
    of_main_field: u64,
}

impl<R: Copy> Dispatch<R> {
    /// Sorts rules by the field; all of them are left over for every record if there is none.
    pub fn new(field: Option<KeyId>, rules: &[(R, &Matcher)]) -> Self {
        let demands: Vec<_> = rules.iter().map(|(_, matcher)| demands(field, matcher)).collect();
        let texts: BTreeSet<&str> = demands.iter().flatten().flatten().copied().collect();
        let left_by = |number: usize, text: Option<&str>| {
            let left = rules.iter().zip(&demands).filter_map(|((rule, matcher), demanded)| match (demanded, text) {
                (None, _) => Some((*rule, (*matcher).clone())),
                (Some(texts), Some(text)) if texts.contains(&text) => Some((*rule, without(field, matcher))),
                (Some(_), _) => None,
            });
            Candidates::new(left.collect(), number as u32)
        };
        Self {
            otherwise: left_by(texts.len(), None),
            by_text: texts.iter().enumerate().map(|(at, text)| ((*text).into(), left_by(at, Some(text)))).collect(),
        }
    }

    /// The rules that can hold of a record whose field has this text.
    pub fn candidates(&self, text: &str) -> &Candidates<R> {
        self.by_text.get(text).unwrap_or(&self.otherwise)
    }
}

impl<R> Candidates<R> {
    fn new(rules: Vec<(R, Matcher)>, number: u32) -> Self {
        let mut fields: BTreeMap<u16, u64> = BTreeMap::new();
        for (at, (_, Matcher(tests))) in rules.iter().enumerate().take(u64::BITS as usize) {
            if let [(only, _), others @ ..] = &tests[..]
                && others.iter().all(|(other, _)| other == only)
            {
                *fields.entry(only.0).or_default() |= 1 << at;
            }
        }
        let main = fields.into_iter().max_by_key(|(_, rules)| rules.count_ones());
        let (main_field, of_main_field) = main.map_or((None, 0), |(field, rules)| (Some(KeyId(field)), rules));
        Self { rules, number, main_field, of_main_field }
    }

    /// Whether the rule at this place is about the main field alone. Those beyond the 64th are not taken to be.
    #[inline]
    pub fn is_about_main_field(&self, at: usize) -> bool {
        at < u64::BITS as usize && self.of_main_field >> at & 1 != 0
    }
}

/// The texts one of which a matcher demands of the field, if they are fixed.
fn demands(field: Option<KeyId>, Matcher(tests): &Matcher) -> Option<Vec<&str>> {
    tests.iter().filter(|(key, _)| Some(*key) == field).find_map(|(_, test)| fixed_texts(test))
}

fn fixed_texts(test: &Test) -> Option<Vec<&str>> {
    match test {
        Test::Text(glob) => glob.fixed().map(|text| vec![text]),
        Test::AnyOf(tests) => tests.iter().map(fixed_texts).collect::<Option<Vec<_>>>().map(|texts| texts.concat()),
        _ => None,
    }
}

/// The matcher without the test by which it was sorted.
fn without(field: Option<KeyId>, Matcher(tests): &Matcher) -> Matcher {
    let sorted_by = tests.iter().position(|(key, test)| Some(*key) == field && fixed_texts(test).is_some());
    let left = tests.iter().enumerate().filter(|(at, _)| Some(*at) != sorted_by);
    Matcher(left.map(|(_, test)| test.clone()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Field, Glob};

    const TYPE: KeyId = KeyId(1);

    fn test() -> impl Strategy<Value = Test> {
        let text = prop::sample::select(&["a", "b", "a*", "*", ""][..]).prop_map(|text| Test::Text(Glob::new(text)));
        let leaf = prop_oneof![4 => text, 1 => Just(Test::Number(1.0)), 1 => any::<bool>().prop_map(Test::Exists)];
        leaf.prop_recursive(2, 6, 3, |inner| {
            let not = inner.clone().prop_map(|test| Test::Not(Box::new(test)));
            prop_oneof![not, prop::collection::vec(inner, 0..3).prop_map(Test::AnyOf)]
        })
    }

    proptest! {
        #[test]
        fn the_candidates_that_match_are_the_rules_that_match(
            matchers in prop::collection::vec(prop::collection::vec((0_u16..3, test()), 0..4), 0..6),
            fields in prop::collection::vec(prop::sample::select(&["a", "b", "ab", "c", ""][..]), 3),
            field in prop::option::weighted(0.9, Just(TYPE)),
        ) {
            let keyed = |(key, test)| (KeyId(key), test);
            let matchers: Vec<_> =
                matchers.into_iter().map(|tests| Matcher(tests.into_iter().map(keyed).collect())).collect();
            let texts: Vec<_> = fields.iter().map(|text| Field::Text((*text).into())).collect();
            let rules: Vec<_> = matchers.iter().enumerate().collect();
            let dispatch = Dispatch::new(field, &rules);
            let candidates = dispatch.candidates(fields[usize::from(TYPE.0)]);
            let found: Vec<_> = candidates.rules.iter().filter(|(_, left)| left.matches(&texts)).map(|(rule, _)| *rule).collect();
            let expected: Vec<_> = rules.iter().filter(|(_, matcher)| matcher.matches(&texts)).map(|(rule, _)| *rule).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn few_rules_are_left_to_test() {
        let text = |key, text| (KeyId(key), Test::Text(Glob::new(text)));
        let matchers = [
            Matcher(vec![text(1, "view"), text(0, "/pricing*")]),
            Matcher(vec![(TYPE, Test::AnyOf(vec![Test::Text(Glob::new("view")), Test::Text(Glob::new("click"))]))]),
            Matcher(vec![text(1, "v*")]),
        ];
        let dispatch = Dispatch::new(Some(TYPE), &matchers.iter().enumerate().collect::<Vec<_>>());
        let left = |text: &str| -> Vec<(usize, usize)> {
            let rules = dispatch.candidates(text).rules.iter();
            rules.map(|(rule, Matcher(tests))| (*rule, tests.len())).collect()
        };
        assert_eq!(left("view"), [(0, 1), (1, 0), (2, 1)]);
        assert_eq!(left("click"), [(1, 0), (2, 1)]);
        assert_eq!(left("visit"), [(2, 1)]);
        let numbers = ["view", "click", "visit"].map(|text| dispatch.candidates(text).number);
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn the_main_field_is_the_one_that_most_rules_are_about() {
        let rule = |fields: &[u16]| {
            let tests = fields.iter().map(|field| (KeyId(*field), Test::Exists(true)));
            ((), Matcher(tests.collect()))
        };
        let of = |rules: &[&[u16]]| {
            let candidates = Candidates::new(rules.iter().map(|fields| rule(fields)).collect(), 0);
            (candidates.main_field, candidates.of_main_field)
        };
        assert_eq!(of(&[&[2], &[5], &[], &[5, 2], &[5, 5], &[5]]), (Some(KeyId(5)), 0b11_0010));
        assert_eq!(of(&[&[], &[1, 2]]), (None, 0));
        assert_eq!(of(&[&[3][..]; 70]), (Some(KeyId(3)), u64::MAX));
    }
}
