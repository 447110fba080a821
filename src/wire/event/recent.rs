//! What was found of texts before.

use xxhash_rust::xxh3::xxh3_64;

/// How many texts are kept in mind: the pages of a site, of which few make up most of the views.
const TEXTS: usize = 1024;
/// The longest of them, in bytes.
const LONGEST: usize = 96;

/// Answers to questions about texts that come again and again, such as the paths of a site. Each has one place, and a
/// newer one takes it: so nothing depends on what is kept, but the time.
#[derive(Debug)]
pub struct Recent(Vec<Known>);

#[derive(Clone, Debug)]
struct Known {
    question: u32,
    text: String,
    answer: u64,
}

impl Default for Recent {
    fn default() -> Self {
        let nothing = Known { question: u32::MAX, text: String::new(), answer: 0 };
        Self(vec![nothing; TEXTS])
    }
}

impl Recent {
    /// The answer to a question, by its number, about a text: always the same, so it is only asked for if it is not
    /// known.
    #[inline]
    pub fn answer(&mut self, question: u32, text: &str, ask: impl FnOnce() -> u64) -> u64 {
        if text.len() > LONGEST {
            return ask();
        }
        let place = (xxh3_64(text.as_bytes()) as usize).wrapping_add(question as usize) % TEXTS;
        let known = &mut self.0[place];
        if known.question != question || known.text != text {
            known.answer = ask();
            known.question = question;
            known.text.clear();
            known.text.push_str(text);
        }
        known.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_asked_for_again() {
        let mut recent = Recent::default();
        let mut ask = |question, text: &str, expected: Option<u64>| {
            let mut asked = false;
            let answer = recent.answer(question, text, || {
                asked = true;
                100 * u64::from(question) + text.len() as u64
            });
            assert_eq!(answer, 100 * u64::from(question) + text.len() as u64, "{question} {text}");
            assert_eq!(asked, expected.is_none(), "{question} {text}");
        };
        ask(0, "/pricing", None);
        ask(0, "/pricing", Some(8));
        ask(1, "/pricing", None);
        ask(0, "", None);
        ask(0, "/pricing", Some(8));
        let long = "/".repeat(LONGEST + 1);
        ask(0, &long, None);
        ask(0, &long, None);
    }

    #[test]
    fn texts_of_one_place_take_turns() {
        let mut recent = Recent::default();
        for round in 0..3 {
            for number in 0..3 * TEXTS as u64 {
                let answer = recent.answer(0, &format!("/{number}"), || number);
                assert_eq!(answer, number, "in round {round}");
            }
        }
    }
}
