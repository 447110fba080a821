//! One pass over a partition: inputs in about the order of their record times, and beside them what
//! was published, about in step.

use std::{collections::HashSet, mem, ops::Range, sync::Arc};

use super::{
    changes::Published,
    ledger::Ledger,
    letters::{Letter, Letters, Place},
    partition::{Question, Readers},
    plan::{CHANGES, Plan},
    recompute::{Late, Recompute, Rules},
};
use crate::{
    log::{
        InputId, LogError, Offset, OutputTopic, Partition,
        kafka::{Scan, Scanned, Topics},
    },
    model::{Model, Span, Timestamp},
    wire::time::format_rfc3339,
};

/// How far ahead of another input the service lets one run.
const LEAD: Span = Span::seconds(60);

/// A scan with its next record in view, read as what it is to be: once, as it may be looked at often.
struct Cursor<'a, T> {
    scan: &'a mut Scan,
    read: Box<dyn Fn(Scanned) -> T + 'a>,
    head: Option<T>,
}

/// A record that is not what it is to be.
struct Unreadable {
    offset: i64,
    key: Option<Vec<u8>>,
    why: String,
}

impl<'a, T> Cursor<'a, T> {
    /// Goes to a range and looks at its first record.
    fn open(
        scan: &'a mut Scan,
        partition: Partition,
        range: Range<Offset>,
        read: impl Fn(Scanned) -> T + 'a,
    ) -> Result<Self, LogError> {
        scan.start(partition, range)?;
        let mut cursor = Self { scan, read: Box::new(read), head: None };
        cursor.take()?;
        Ok(cursor)
    }

    fn take(&mut self) -> Result<Option<T>, LogError> {
        let next = self.scan.read()?.map(&self.read);
        Ok(mem::replace(&mut self.head, next))
    }

    /// The next record, unless that is to wait.
    fn take_unless(&mut self, waits: impl FnOnce(&T) -> bool) -> Result<Option<T>, LogError> {
        if self.head.as_ref().is_none_or(waits) { Ok(None) } else { self.take() }
    }
}

/// An input on its way.
struct Source<'a> {
    cursor: Cursor<'a, Scanned>,
    input: InputId,
    /// Records below it must have had their effect.
    committed: i64,
    /// The highest record time so far.
    highest: Timestamp,
    /// The highest record time below the committed offset.
    highest_committed: Timestamp,
    /// The next offset to read.
    next: i64,
    /// Records lie between what is committed and where the input ended then.
    backlog: bool,
}

/// A change of another model, if one was published.
#[derive(Clone, Debug)]
pub struct Foreign {
    pub digest: String,
    pub topic: Arc<str>,
    pub offset: i64,
    pub effective_at: Timestamp,
}

/// The pass.
pub struct Pass<'a> {
    plan: &'a Plan,
    topics: &'a Topics,
    rules: &'a Rules,
    model: &'a Model,
    question: &'a Question,
    sources: Vec<Source<'a>>,
    changes: [Cursor<'a, Result<Published, Unreadable>>; 2],
    letters: Cursor<'a, Result<Letter, Unreadable>>,
    recompute: Recompute,
    /// Records that the service found to be ahead of its clock.
    ahead: HashSet<Place>,
    ledger: Ledger,
    books: Letters,
    foreign: Option<Foreign>,
    notes: Vec<String>,
    records: u64,
}

/// What came of a pass.
pub struct Passed {
    pub ledger: Ledger,
    pub books: Letters,
    pub foreign: Option<Foreign>,
    /// What limits what was looked at.
    pub notes: Vec<String>,
    /// Events that came too late for what was published to be a function of the log.
    pub late: Late,
    /// Records of inputs that were read.
    pub records: u64,
    /// Up to when falls had to be there.
    pub due: Timestamp,
}

impl<'a> Pass<'a> {
    /// Goes to the start of everything.
    pub fn open(
        readers: &'a mut Readers,
        plan: &'a Plan,
        topics: &'a Topics,
        rules: &'a Rules,
        model: &'a Arc<Model>,
        question: &'a Question,
        ledger: Ledger,
    ) -> Result<Self, LogError> {
        let Readers { inputs, changes: [tiers, segments], letters, .. } = readers;
        let ahead = letters_ahead_of_clock(letters, plan, topics)?;
        Ok(Self {
            plan,
            topics,
            rules,
            model,
            question,
            sources: open_inputs(inputs, plan, topics)?,
            changes: [open_changes(tiers, plan, 0)?, open_changes(segments, plan, 1)?],
            letters: open_letters(letters, plan, topics)?,
            recompute: Recompute::new(model.clone(), rules, plan.wall),
            ahead,
            ledger,
            books: Letters::default(),
            foreign: None,
            notes: Vec::new(),
            records: 0,
        })
    }

    /// Reads everything and closes the books of changes.
    pub fn run(mut self) -> Result<Passed, LogError> {
        self.limit_to_retained();
        while self.sources.iter().any(Source::is_below_committed)
            && let Some(at) = self.next_source()
        {
            self.step(at)?;
            let horizon = self.sources[at].highest;
            self.read_published(horizon)?;
            self.read_letters(false)?;
        }
        self.read_published(Timestamp::LATEST)?;
        self.read_letters(true)?;
        let due = self.due();
        self.ledger.published_all(due);
        // A service that runs has gone on: its latest changes may stem from what lies beyond.
        while self.ledger.waiting() > 0
            && let Some(at) = self.next_source()
        {
            self.step(at)?;
        }
        self.settle(due);
        self.ledger.close();
        let Self { ledger, books, foreign, notes, records, recompute, .. } = self;
        Ok(Passed { ledger, books, foreign, notes, late: recompute.late, records, due })
    }

    /// The input whose next record comes first by the highest record times.
    fn next_source(&self) -> Option<usize> {
        let heads = self.sources.iter().enumerate().filter_map(|(at, source)| Some((source.head_time()?, at)));
        heads.min().map(|(_, at)| at)
    }

    fn step(&mut self, at: usize) -> Result<(), LogError> {
        let source = &mut self.sources[at];
        let Some(time) = source.head_time() else { return Ok(()) };
        let Some(record) = source.cursor.take()? else { return Ok(()) };
        self.records += 1;
        source.highest = time;
        source.next = record.offset + 1;
        let committed = record.offset < source.committed;
        if committed {
            source.highest_committed = time;
        } else {
            source.backlog |= record.offset < self.plan.ends_before[at].0;
        }
        self.recompute.pass(time);
        self.ledger.expect(&mut self.recompute.step, false);
        let place = (source.input, record.offset);
        let kind = self.topics.inputs().kind(source.input);
        if let Err(rejected) = self.recompute.apply(kind, &record, self.ahead.contains(&place)) {
            let (partition, findings) = (self.plan.partition.0, &mut self.ledger.findings);
            self.books.expect(place, &record, &rejected, committed, partition, findings);
        }
        self.ledger.expect(&mut self.recompute.step, committed);
        self.recompute.sweep();
        Ok(())
    }

    /// Takes published changes that take effect by `horizon`.
    fn read_published(&mut self, horizon: Timestamp) -> Result<(), LogError> {
        let waits = |head: &Result<Published, _>| head.as_ref().is_ok_and(|change| change.effective_at > horizon);
        for (at, topic) in CHANGES.into_iter().enumerate() {
            while let Some(published) = self.changes[at].take_unless(waits)? {
                match published {
                    Ok(published) if published.digest == *self.model.id().digest => self.ledger.publish(published),
                    Ok(published) => self.note_foreign(published, at),
                    Err(Unreadable { offset, key, why }) => self.ledger.unreadable(topic, offset, key, why),
                }
            }
        }
        Ok(())
    }

    fn note_foreign(&mut self, published: Published, at: usize) {
        let Published { digest, offset, effective_at, .. } = published;
        if effective_at <= self.question.until.unwrap_or(Timestamp::LATEST) {
            let topic = self.topics.output(CHANGES[at]).clone();
            self.foreign.get_or_insert(Foreign { digest, topic, offset, effective_at });
        }
    }

    /// Takes dead letters of records that were read, or all.
    fn read_letters(&mut self, all: bool) -> Result<(), LogError> {
        let partition = self.plan.partition.0;
        let sources = &self.sources;
        let waits = |head: &Result<Letter, _>| {
            let place = head.as_ref().ok().map(|letter| letter.place);
            !all && place.is_some_and(|(input, offset)| offset >= sources[usize::from(input.0)].next)
        };
        while let Some(letter) = self.letters.take_unless(waits)? {
            match letter {
                Ok(letter) => self.books.take(letter, partition, &mut self.ledger.findings),
                Err(Unreadable { offset, key, why }) => {
                    self.ledger.unreadable(OutputTopic::DeadLetters, offset, key, why);
                }
            }
        }
        Ok(())
    }

    /// Up to when falls must be published.
    fn due(&self) -> Timestamp {
        let Question { until, settle, .. } = *self.question;
        let Rules { grace, max_future_skew, .. } = *self.rules;
        let wall = self.plan.wall.back(grace);
        // A service with a backlog lets time pass with the records.
        let behind = self.sources.iter().filter(|source| source.has_backlog(self.plan));
        let clock = behind.map(|source| source.highest_committed.back(grace)).min().unwrap_or(wall);
        let due = match (self.plan.group_is_alive, until) {
            (Some(true), _) => clock.min(wall.back(settle)),
            (_, Some(_)) => wall,
            // Timers fire in the order of their times, though a record settles its own account as far as
            // its own time, which may be ahead of the clock by so much.
            (_, None) => {
                let fallen = self.ledger.latest_fall.unwrap_or(Timestamp::MIN);
                clock.min(fallen.back(grace).back(max_future_skew).back(LEAD))
            }
        };
        due.min(until.unwrap_or(Timestamp::LATEST))
    }

    /// Lets time pass to where falls must be there, and on to what was published beyond that.
    fn settle(&mut self, due: Timestamp) {
        self.recompute.settle(due);
        self.ledger.expect(&mut self.recompute.step, false);
        if let Some(latest) = self.ledger.latest_waiting() {
            self.recompute.settle(latest.min(self.plan.wall));
            self.ledger.expect(&mut self.recompute.step, false);
        }
    }

    /// Where retention has removed changes, compares from where they are complete.
    fn limit_to_retained(&mut self) {
        for (at, topic) in CHANGES.into_iter().enumerate() {
            let start = self.plan.changes[at].start.0;
            if start == 0 {
                continue;
            }
            let first = self.changes[at].head.as_ref().and_then(|head| head.as_ref().ok());
            // Changes do not stand in the order of their times, but nearly.
            let Rules { grace, max_future_skew, .. } = *self.rules;
            let from = first.map_or(self.plan.wall, |first| first.effective_at + grace + max_future_skew + LEAD);
            self.ledger.findings.narrow(from);
            self.notes.push(format!(
                "`{}` begins at offset {start}, as retention has removed older changes: compared from {} on",
                self.topics.output(topic),
                format_rfc3339(from)
            ));
        }
    }
}

impl Source<'_> {
    /// The highest record time with that of the next record; without a next record nothing.
    fn head_time(&self) -> Option<Timestamp> {
        let head = self.cursor.head.as_ref()?;
        Some(self.highest.max(head.time.unwrap_or(Timestamp::MIN)))
    }

    fn is_below_committed(&self) -> bool {
        self.cursor.head.as_ref().is_some_and(|head| head.offset < self.committed)
    }

    fn has_backlog(&self, plan: &Plan) -> bool {
        let end = plan.ends_before[usize::from(self.input.0)].0;
        self.backlog || self.cursor.head.as_ref().is_some_and(|head| head.offset < end)
    }
}

fn open_inputs<'a>(scans: &'a mut [Scan], plan: &Plan, topics: &Topics) -> Result<Vec<Source<'a>>, LogError> {
    let inputs = scans.iter_mut().zip(topics.inputs().ids()).enumerate();
    let open = |(at, (scan, input)): (usize, (&'a mut Scan, InputId))| {
        Ok(Source {
            cursor: Cursor::open(scan, plan.partition, plan.inputs[at].clone(), |record| record)?,
            input,
            committed: plan.committed(at).0,
            highest: Timestamp::MIN,
            highest_committed: Timestamp::MIN,
            next: 0,
            backlog: false,
        })
    };
    inputs.map(open).collect()
}

fn open_changes<'a>(
    scan: &'a mut Scan,
    plan: &'a Plan,
    at: usize,
) -> Result<Cursor<'a, Result<Published, Unreadable>>, LogError> {
    Cursor::open(scan, plan.partition, plan.changes[at].clone(), move |record| {
        let (offset, key, follows) = (record.offset, record.key.clone(), record.offset < plan.standing_follows[at].0);
        let published = Published::read(CHANGES[at], offset, follows, record.key, record.value);
        published.map_err(|why| Unreadable { offset, key, why })
    })
}

fn open_letters<'a>(
    scan: &'a mut Scan,
    plan: &'a Plan,
    topics: &'a Topics,
) -> Result<Cursor<'a, Result<Letter, Unreadable>>, LogError> {
    Cursor::open(scan, plan.partition, plan.letters.clone(), |record| {
        let letter = Letter::read(&record, plan.partition.0, topics.inputs());
        letter.map_err(|why| Unreadable { offset: record.offset, key: record.key, why })
    })
}

/// Records whose dead letters say that their record time was ahead of the clock.
fn letters_ahead_of_clock(scan: &mut Scan, plan: &Plan, topics: &Topics) -> Result<HashSet<Place>, LogError> {
    let mut ahead = HashSet::new();
    scan.start(plan.partition, plan.letters.clone())?;
    while let Some(record) = scan.read()? {
        let letter = Letter::read(&record, plan.partition.0, topics.inputs());
        ahead.extend(letter.ok().filter(Letter::is_ahead_of_clock).map(|letter| letter.place));
    }
    Ok(ahead)
}
