//! Seeded events of about 300 bytes, written into the same buffers again and again.

use fastrand::Rng;
use tidemark::{model::Timestamp, wire::time::Rfc3339};

use crate::{
    options::{Parameters, Skew},
    random::{Subject, Subjects},
};

/// The page that brings a cold account into a tier and a segment of the default model.
const TELLING: &str = "/pricing";
/// A telling view of a cold account is two changes: the tier and the segment.
const CHANGES_OF_A_TELLING_VIEW: f64 = 2.0;
/// Pages that nothing but the count of persons takes notice of.
const IDLE: [&str; 2] = ["/blog/intent", "/company/about"];
/// Pages of which the busier accounts have some more signals.
const MIXED: [&str; 10] = [
    "/blog/intent",
    "/company/about",
    "/blog/marks",
    "/blog/tides",
    "/",
    "/company/team",
    "/product/tour",
    "/features/segments",
    "/docs/start",
    "/customers/acme",
];

/// One event as it goes to the log.
pub struct Written<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Its own time, and that of its record.
    pub time: Timestamp,
}

/// An endless stream of events.
pub struct Traffic {
    random: Rng,
    subjects: Subjects,
    accounts: u64,
    pages: &'static [&'static str],
    telling_share: f64,
    /// What the numbers of the accounts of telling views begin with.
    telling_from: u64,
    events: u64,
    /// The newest time, as text: many events have the same.
    time: (Timestamp, String),
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Traffic {
    /// The events that the parameters ask for; the same seed gives the same.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            random: Rng::with_seed(parameters.seed),
            subjects: Subjects::new(parameters.skew, parameters.accounts),
            accounts: parameters.accounts,
            pages: if parameters.skew == Skew::Mixed { &MIXED } else { &IDLE },
            telling_share: parameters.changes_per_mille / 1000.0 / CHANGES_OF_A_TELLING_VIEW,
            telling_from: 0,
            events: 0,
            time: (Timestamp::MIN, String::new()),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Gives telling views accounts of their own, as many again: nothing but a timer finds that those
    /// fall. Else the next event of an account would mostly find it first.
    pub fn apart(self) -> Self {
        Self { telling_from: self.accounts, ..self }
    }

    /// The next event, which happened at `time`.
    pub fn next(&mut self, time: Timestamp) -> Written<'_> {
        let mut subject = self.subjects.draw(&mut self.random);
        let telling = self.random.f64() < self.telling_share;
        if telling {
            subject.account += self.telling_from;
        }
        let page = if telling { TELLING } else { self.pages[self.random.usize(0..self.pages.len())] };
        self.view(subject, page, time)
    }

    /// A view of a page by somebody. Put together piece by piece, which takes less time than a format: the sender has
    /// its cores with what is measured.
    pub fn view(&mut self, subject: Subject, page: &str, time: Timestamp) -> Written<'_> {
        if self.time.0 != time {
            self.time = (time, Rfc3339(time).to_string());
        }
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new()];
        let [number, account, person] = &mut digits;
        // Twelve digits, whatever the number.
        let number = &number.format(1_000_000_000_000 + self.events)[1..];
        let (account, person) = (account.format(subject.account), person.format(subject.person));
        self.events += 1;
        fill(&mut self.key, &["company-", account, ".example"]);
        fill(
            &mut self.value,
            &[
                r#"{"id":"e-"#,
                number,
                r#"","type":"page_view","account":"company-"#,
                account,
                r#".example","time":""#,
                &self.time.1,
                r#"","person":"p-"#,
                account,
                "-",
                person,
                r#"","url":"https://www.example.com"#,
                page,
                r#"?utm_source=newsletter","properties":{"referrer":"https://search.example/","#,
                r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64)","status":200}}"#,
            ],
        );
        Written { key: &self.key, value: &self.value, time }
    }
}

/// Replaces what a buffer holds.
fn fill(buffer: &mut Vec<u8>, pieces: &[&str]) {
    buffer.clear();
    for piece in pieces {
        buffer.extend_from_slice(piece.as_bytes());
    }
}
