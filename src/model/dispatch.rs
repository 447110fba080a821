//! Which rules can hold of a record, told by one field that most rules test for fixed texts.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::{KeyId, Matcher, Test};

/// Rules sorted by the texts that they demand of one field, such as the type of an event. A record is
/// then tested against the few that its own text leaves over, in the order in which they were given,
/// and for these the field itself is not tested again.
#[derive(Clone, Debug)]
pub struct Dispatch<R> {
    by_text: HashMap<Box<str>, Vec<(R, Matcher)>>,
    /// The rules that do not ask for fixed texts.
    otherwise: Vec<(R, Matcher)>,
}

impl<R: Copy> Dispatch<R> {
    /// Sorts rules by the field; all of them are left over for every record if there is none.
    pub fn new(field: Option<KeyId>, rules: &[(R, &Matcher)]) -> Self {
        let demands: Vec<_> = rules.iter().map(|(_, matcher)| demands(field, matcher)).collect();
        let texts: BTreeSet<&str> = demands.iter().flatten().flatten().copied().collect();
        let left_by = |text: Option<&str>| {
            let left = rules.iter().zip(&demands).filter_map(|((rule, matcher), demanded)| match (demanded, text) {
                (None, _) => Some((*rule, (*matcher).clone())),
                (Some(texts), Some(text)) if texts.contains(&text) => Some((*rule, without(field, matcher))),
                (Some(_), _) => None,
            });
            left.collect::<Vec<_>>()
        };
        Self {
            by_text: texts.iter().map(|text| ((*text).into(), left_by(Some(text)))).collect(),
            otherwise: left_by(None),
        }
    }

    /// The rules that can hold of a record whose field has this text, and what of each is left to test.
    pub fn candidates(&self, text: &str) -> &[(R, Matcher)] {
        self.by_text.get(text).unwrap_or(&self.otherwise)
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
            let candidates = dispatch.candidates(fields[usize::from(TYPE.0)]).iter();
            let found: Vec<_> = candidates.filter(|(_, left)| left.matches(&texts)).map(|(rule, _)| *rule).collect();
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
            dispatch.candidates(text).iter().map(|(rule, Matcher(tests))| (*rule, tests.len())).collect()
        };
        assert_eq!(left("view"), [(0, 1), (1, 0), (2, 1)]);
        assert_eq!(left("click"), [(1, 0), (2, 1)]);
        assert_eq!(left("visit"), [(2, 1)]);
    }
}
