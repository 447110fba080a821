//! Having accounts on their way from memory before they are needed.
//!
//! With millions of accounts, each one that an event touches lies in memory that no cache holds: its place in the
//! table of its page, then its beginning, then the rest of it. Waiting for these one after the other, event
//! by event, took a fifth of the time of a worker. Looking through a batch first lets the processor
//! wait for many accounts at once: within each pass here, no read depends on another account's.
//!
//! What was found on the way is handed on, so that applying an event need not search for its account again.

use std::hint::black_box;

use super::{
    Engine,
    account::Account,
    accounts::{Page, PageId, hash_of_name, page_of},
};

/// An account that was looked for ahead, by what should be its name, and where it most likely is: so it need not be
/// searched for again. By default nothing was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sought<'n> {
    name: &'n [u8],
    hash: u64,
    at: Option<usize>,
}

impl Engine {
    /// Reads what applying events to accounts of these names will read, or write where an account is new, and gives for
    /// each name, in their order, where its account most likely is. Changes nothing; no names do no harm.
    pub fn look_ahead<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Vec<Sought<'n>> {
        let mut all: Vec<Sought<'n>> = names.map(|name| Sought { name, hash: hash_of_name(name), at: None }).collect();
        // The places are read here only so that all of them are on their way: what is found there decides what to do.
        black_box(
            all.iter().fold(0, |sum: usize, sought| sum.wrapping_add(self.page_for(sought).peek_place(sought.hash))),
        );
        for sought in &mut all {
            sought.at = self.page_for(sought).candidate(sought.hash);
        }
        let known = || all.iter().filter_map(|sought| Some(self.page_for(sought).get(sought.at?)));
        black_box(known().fold(0, |sum: u64, account| sum.wrapping_add(account.peek_head())));
        black_box(known().fold(0, |sum: u64, account| sum.wrapping_add(account.peek())));
        all
    }

    fn page_for(&self, sought: &Sought<'_>) -> &Page {
        &self.pages[usize::from(page_of(sought.hash).0)]
    }

    /// Where the account of this name is, which is made if it is not there.
    pub(super) fn find_or_add(&mut self, name: &str, sought: &Sought<'_>) -> (PageId, usize) {
        let name = name.as_bytes();
        // Another may be there by now, or the guess was wrong.
        if let Some(at) = sought.at.filter(|at| self.page_for(sought).has(*at, name)) {
            return (page_of(sought.hash), at);
        }
        let hash = if sought.name == name { sought.hash } else { hash_of_name(name) };
        let page = page_of(hash);
        (page, self.pages[usize::from(page.0)].find_or_add(hash, name, || Account::new(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Mode, PageId, Step, tests::model},
        model::{Event, EventId, Hit, SignalId, Span, Timestamp},
    };

    const VISIT: &[Hit] = &[Hit::Count(SignalId(0))];
    const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn visit(account: &str, number: u64) -> Event<'_> {
        let time = START + Span::seconds(number as u32);
        Event { account, id: EventId(number), time, recorded: time, hits: VISIT }
    }

    fn with_visits<'n>(names: impl Iterator<Item = &'n str>) -> Engine {
        let mut engine = Engine::new(model(), Span::ZERO);
        for (number, name) in names.enumerate() {
            engine.apply(&visit(name, number as u64), Mode::Silent, START, &mut Step::default());
        }
        engine
    }

    /// The accounts, each with its cells, by name.
    fn contents(engine: &Engine) -> Vec<(&[u8], &[[u8; 8]])> {
        let mut all: Vec<_> =
            PageId::all().flat_map(|page| engine.images(page)).map(|image| (image.name, image.words)).collect();
        all.sort();
        all
    }

    /// Of each page some twenty accounts are sought, so that many are mistaken for others at first.
    #[test]
    fn an_account_is_found_whatever_was_found_when_it_was_sought() {
        let names: Vec<String> = (0..20_000).map(|number| format!("account-{number}")).collect();
        let names = || names.iter().map(|name| &**name);
        let known = with_visits(names().step_by(2));
        let sought = known.look_ahead(names().map(str::as_bytes));
        let reversed: Vec<Sought<'_>> = sought.iter().rev().copied().collect();
        for (story, known, sought) in [
            ("half of them are new", names().step_by(2).collect::<Vec<_>>(), &sought),
            ("all have been evicted", Vec::new(), &sought),
            ("others are where they were", names().skip(10_000).collect(), &sought),
            ("the keys named others", names().step_by(2).collect(), &reversed),
        ] {
            let [mut engine, mut plain] = [(), ()].map(|()| with_visits(known.iter().copied()));
            for (number, (name, sought)) in names().zip(sought).enumerate() {
                let event = visit(name, 1_000_000 + number as u64);
                engine.apply_sought(&event, sought, Mode::Silent, START, &mut Step::default());
                plain.apply(&event, Mode::Silent, START, &mut Step::default());
            }
            assert!(contents(&engine) == contents(&plain), "{story}");
        }
    }
}
