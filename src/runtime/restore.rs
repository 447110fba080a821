//! Bringing a partition back: pages from where the oldest last copy of one lies, and standings, from their
//! topics, then the input from where the oldest unsaved page was first touched. One code path for start,
//! rebalance and failed commits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    WorkerSettings,
    copies::PageCopy,
    partition::{Owned, Positions, Start},
    progress::Checkpoint,
};
use crate::{
    drill::{self, Point},
    engine::Remap,
    log::{Committed, InputId, InputKind, Log, LogError, Offset, Partition, Restoring, Row, Table, TableReader},
    model::Standing,
    settings::StartFrom,
    wire::{
        page::{self, PageHeader, StoredSchema},
        standing::decode_standing,
    },
};

/// Where each of the partitions is to be taken up, from what the group has committed.
pub fn plan<L: Log>(log: &mut L, settings: &WorkerSettings, partitions: &[Partition]) -> Result<Vec<Start>, LogError> {
    if let Some(new) = partitions.iter().find(|partition| partition.0 >= settings.partitions) {
        return Err(repartitioned(settings.partitions, &format!("now partition {} is assigned", new.0)));
    }
    let committed = log.committed(partitions)?;
    let plans = partitions.iter().zip(committed);
    plans.map(|(partition, committed)| plan_one(log, settings, *partition, committed)).collect()
}

fn plan_one<L: Log>(
    log: &mut L,
    settings: &WorkerSettings,
    partition: Partition,
    committed: Vec<Option<Committed>>,
) -> Result<Start, LogError> {
    let inputs = &settings.inputs;
    let mut start = Planned::default();
    for (input, committed) in inputs.ids().zip(committed) {
        let bounds = log.bounds(input, partition)?;
        let Some(Committed { offset, metadata }) = committed else {
            let latest = settings.start_from == StartFrom::Latest;
            start.begin_at(if latest { bounds.end } else { bounds.start });
            continue;
        };
        let place = Place { topic: inputs.name(input), partition };
        let promise = Checkpoint::decode(&metadata).map_err(|error| place.foreign_offset(offset, &error))?;
        if promise.partitions != settings.partitions {
            return Err(repartitioned(promise.partitions, &format!("now there are {}", settings.partitions)));
        }
        place.check(inputs.kind(input), promise.replay_from(), offset, bounds)?;
        start.resume(offset, promise, metadata);
    }
    Ok(start.into())
}

fn repartitioned(before: i32, now: &str) -> LogError {
    LogError::Refused(format!(
        "the topics had {before} partitions when state was written, {now}: accounts would move to partitions where \
         their state is not. Go back to {before} partitions, or start afresh with another group and new topics"
    ))
}

#[derive(Default)]
struct Planned {
    from: Vec<Offset>,
    committed: Vec<Offset>,
    checkpoint: Option<Checkpoint>,
    metadata: Vec<String>,
}

impl Planned {
    fn begin_at(&mut self, offset: Offset) {
        self.from.push(offset);
        self.committed.push(offset);
    }

    fn resume(&mut self, offset: Offset, promise: Checkpoint, metadata: String) {
        self.from.push(promise.replay_from());
        self.committed.push(offset);
        self.checkpoint = Some(promise);
        self.metadata.push(metadata);
    }
}

impl From<Planned> for Start {
    fn from(Planned { from, committed, checkpoint, metadata }: Planned) -> Self {
        Self { from: from.into(), committed: committed.into(), checkpoint, metadata }
    }
}

/// Names a topic partition in a refusal.
struct Place<'a> {
    topic: &'a str,
    partition: Partition,
}

impl Place<'_> {
    fn foreign_offset(&self, offset: Offset, error: &str) -> LogError {
        LogError::Refused(format!(
            "{self}: the group's committed offset {} was not written by tidemark, or was moved by hand ({error}). \
             Progress and state must agree: restore the offset with its metadata, or start afresh with another group \
             and an empty state topic",
            offset.0
        ))
    }

    fn check(
        &self,
        kind: InputKind,
        replay_from: Offset,
        committed: Offset,
        bounds: std::ops::Range<Offset>,
    ) -> Result<(), LogError> {
        if committed > bounds.end {
            return Err(LogError::Refused(format!(
                "{self}: the group's committed offset {} lies beyond the end of the topic ({}): the topic was truncated \
                 or created anew. Restore it, or start afresh with another group and an empty state topic",
                committed.0, bounds.end.0
            )));
        }
        // Compaction may move the start of a compacted topic; the records that matter are kept.
        if replay_from < bounds.start && kind == InputKind::Events {
            return Err(LogError::Refused(format!(
                "{self}: state needs the records from offset {} on, but retention has removed everything below {}. \
                 Events are lost to the scores: give the topic more retention than an outage lasts; to accept the \
                 loss, start afresh with another group and an empty state topic",
                replay_from.0, bounds.start.0
            )));
        }
        Ok(())
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topic {}, partition {}", self.topic, self.partition.0)
    }
}

/// How the accounts of pages with one schema are read.
struct KnownSchema {
    /// As pages have it.
    stored: Box<[u8]>,
    remap: Remap,
    /// Its accounts were judged under another model.
    is_stale: bool,
}

/// A restore in progress.
pub struct Restore<R> {
    reader: R,
    first_start: bool,
    schemas: Vec<KnownSchema>,
    /// Standings wait until all pages are in: a page and a standing of one account come in any order.
    standings: HashMap<Arc<str>, Standing>,
    /// Records read so far.
    pub records: u64,
    /// When it began, on the monotonic clock.
    pub began: Duration,
}

impl<R: TableReader> Restore<R> {
    /// Starts to read a partition's tables.
    pub fn new(reader: R, first_start: bool, began: Duration) -> Self {
        Self { reader, first_start, schemas: Vec::new(), standings: HashMap::new(), records: 0, began }
    }

    /// Reads on for about `wait`. Returns whether the tables are complete and taken in.
    pub fn advance(&mut self, owned: &mut Owned, wait: Duration) -> Result<bool, LogError> {
        let Self { reader, first_start, schemas, standings, records, .. } = self;
        let mut fault = None;
        let restoring = reader.read(wait, &mut |row| {
            *records += 1;
            drill::reach(Point::MidRestore);
            let taken = match row.table {
                Table::State => take_page(owned, *first_start, schemas, row),
                Table::Standings => take_standing(owned.partition, standings, row),
            };
            if let Err(error) = taken {
                fault.get_or_insert(error);
            }
        })?;
        if let Some(error) = fault {
            return Err(error);
        }
        if restoring == Restoring::More {
            return Ok(false);
        }
        self.finish(owned)?;
        Ok(true)
    }

    fn finish(&mut self, owned: &mut Owned) -> Result<(), LogError> {
        let partition = owned.partition.0;
        if self.first_start && (owned.copies().count() > 0 || !self.standings.is_empty()) {
            return Err(LogError::Refused(format!(
                "partition {partition}: the state or standings topic holds records, but the group has no committed \
                 offsets: they expired, or this is another group's state. Restore the offsets, or start afresh with \
                 empty state and standings topics"
            )));
        }
        self.check_standings(owned)?;
        for standing in self.standings.values() {
            owned.engine.load_standing(standing);
        }
        self.standings = HashMap::new();
        Ok(())
    }

    /// What was published of an account stands in the standings topic, or was withdrawn together with
    /// the account's page: a page is never ahead of it.
    fn check_standings(&self, owned: &Owned) -> Result<(), LogError> {
        let known = |name: &str| self.standings.get(name).map_or(0, |standing| standing.sequence);
        let behind = owned.engine.published().filter(|(name, sequence)| known(name) < *sequence).count();
        if behind > 0 {
            return Err(LogError::Refused(format!(
                "partition {}: the standings topic lacks the last standing of {behind} accounts that the state topic \
                 knows: it was deleted, truncated or belongs to another cluster. Restore it, or start afresh with \
                 another group and empty state and standings topics",
                owned.partition.0
            )));
        }
        Ok(())
    }

    /// Whether the pages answer all that the model asks of attributes.
    pub fn lacks_facts(&self) -> bool {
        self.schemas.iter().any(|known| known.remap.lacks_facts())
    }
}

/// Checks that as many pages were found as were ever stored.
pub fn check_pages(owned: &Owned, checkpoint: Option<&Checkpoint>) -> Result<(), LogError> {
    let (found, stored) = (owned.copies().count(), checkpoint.map_or(0, |checkpoint| checkpoint.pages));
    if found < stored {
        return Err(LogError::Refused(format!(
            "partition {}: the state topic holds {found} pages, but {stored} were stored: it was deleted, truncated or \
             belongs to another cluster. Restore it, or start afresh with another group and empty state and standings \
             topics",
            owned.partition.0
        )));
    }
    Ok(())
}

fn take_page(
    owned: &mut Owned,
    first_start: bool,
    schemas: &mut Vec<KnownSchema>,
    Row { offset, key, value, .. }: Row<'_>,
) -> Result<(), LogError> {
    // A tombstone ends a part that a smaller page no longer has.
    let Some(bytes) = value else { return Ok(()) };
    let partition = owned.partition.0;
    let refuse = |error: &dyn std::fmt::Display| {
        let key = String::from_utf8_lossy(key);
        LogError::Refused(format!("state topic, partition {partition}, key {key}: {error}"))
    };
    let mut part = page::decode(bytes).map_err(|error| refuse(&error))?;
    let header = &part.header;
    if header.partition != partition {
        return Err(refuse(&format!("it holds the accounts of partition {}", header.partition)));
    }
    let page = header.page;
    let positions = positions_of(header, owned, first_start).map_err(|error| refuse(&error))?;
    if header.part > 0 && owned.copies().reflects(page) != Some(&positions) {
        // Left over from an earlier, larger write of the page.
        return Ok(());
    }
    let schema = known_schema(header.schema, schemas, owned).map_err(|error| refuse(&error))?;
    if header.part == 0 {
        let copy = PageCopy { from: offset, parts: header.parts.max(1), reflects: Some(positions) };
        owned.begin_page(page, copy, schema.is_stale);
    }
    owned.engine.reserve(page, part.accounts_left());
    while let Some(account) = part.next_account().map_err(|error| refuse(&error))? {
        let refuse_account = |why: &str| refuse(&format!("account {} {why}", String::from_utf8_lossy(account.name)));
        match owned.engine.load(&account, &schema.remap) {
            Some(home) if home == page => {}
            Some(_) => return Err(refuse_account(&format!("belongs on another page than {}", page.0))),
            None => return Err(refuse_account("holds state that is not well formed")),
        }
    }
    Ok(())
}

/// The positions that a page reflects. On the first start there must be no page: that is said when
/// all are read.
fn positions_of(header: &PageHeader<'_>, owned: &Owned, first_start: bool) -> Result<Positions, String> {
    let ours = |topic: &str| owned.inputs().0.iter().any(|(name, _)| **name == *topic);
    if !header.positions.iter().any(|(topic, _)| ours(topic)) {
        let theirs: Vec<&str> = header.positions.iter().map(|(topic, _)| *topic).collect();
        return Err(format!(
            "the page reflects the topics {}, and none of those that are configured: it is the state of another \
             service. Configure a state topic of its own for each",
            theirs.join(", ")
        ));
    }
    let position = |input: InputId| {
        let name = owned.inputs().name(input);
        let known = header.positions.iter().find(|(topic, _)| *topic == &**name);
        // A topic that the page does not know yet is read from its start.
        let position = known.map_or(Offset(0), |(_, offset)| Offset(*offset));
        let committed = owned.committed()[usize::from(input.0)];
        if position > committed && !first_start {
            return Err(format!(
                "the page reflects topic {name} up to offset {}, but the group's committed offset is {}: it was moved \
                 back, or deleted, as happens when the topic is created anew. Restore the offsets, or start afresh \
                 with another group and empty state and standings topics",
                position.0, committed.0
            ));
        }
        Ok(position)
    };
    owned.inputs().ids().map(position).collect()
}

fn known_schema<'k>(
    StoredSchema(stored): StoredSchema<'_>,
    schemas: &'k mut Vec<KnownSchema>,
    owned: &Owned,
) -> Result<&'k KnownSchema, String> {
    let at = match schemas.iter().position(|known| *known.stored == *stored) {
        Some(at) => at,
        None => {
            let schema = StoredSchema(stored).decode().map_err(|error| error.to_string())?;
            let is_stale = schema.digest != owned.engine.model().id().digest;
            let remap = Remap::new(schema, &owned.engine).map_err(|error| error.to_string())?;
            schemas.push(KnownSchema { stored: stored.into(), remap, is_stale });
            schemas.len() - 1
        }
    };
    Ok(&schemas[at])
}

fn take_standing(
    partition: Partition,
    standings: &mut HashMap<Arc<str>, Standing>,
    Row { key, value, .. }: Row<'_>,
) -> Result<(), LogError> {
    let refuse = |error: &dyn std::fmt::Display| {
        let key = String::from_utf8_lossy(key);
        LogError::Refused(format!("standings topic, partition {}, key {key}: {error}", partition.0))
    };
    match value {
        Some(bytes) => {
            let standing = decode_standing(bytes).map_err(|error| refuse(&error))?;
            standings.insert(standing.account.clone(), standing);
        }
        None => {
            let account = std::str::from_utf8(key).map_err(|error| refuse(&error))?;
            standings.remove(account);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Engine, Mode, PageId, Step, account_hash, page_of},
        log::TakeRow,
        model::{Event, EventId, Hit, Model, SignalId, Timestamp},
        runtime::simulation::model::{GRACE, inputs, model},
        wire::model_file,
    };

    const TIME: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    /// A page that holds `account`, which has shown the first signal of `model` once.
    fn stored(account: &str, model: Arc<Model>, page: PageId, partition: i32, input: &str) -> Vec<u8> {
        let mut engine = Engine::new(model, GRACE);
        let hits = &[Hit::Count(SignalId(0))];
        let event = Event { id: EventId(1), account, time: TIME, recorded: TIME, hits };
        engine.apply(&event, Mode::Live, TIME, &mut Step::default());
        let images = engine.images(home_of(account));
        page::encode(page, partition, &[(input.into(), 0)], &engine.schema(), images, usize::MAX).remove(0)
    }

    fn home_of(account: &str) -> PageId {
        page_of(account_hash(account))
    }

    fn owned() -> Owned {
        let nowhere: Positions = vec![Offset(0), Offset(0)].into();
        let start = Start { from: nowhere.clone(), committed: nowhere, checkpoint: None, metadata: Vec::new() };
        Owned::new(Partition(3), model(), GRACE, inputs(), start)
    }

    fn take(owned: &mut Owned, schemas: &mut Vec<KnownSchema>, bytes: &[u8]) -> Result<(), String> {
        let row = Row { table: Table::State, offset: Offset(0), key: b"9", value: Some(bytes) };
        take_page(owned, false, schemas, row).map_err(|error| error.to_string())
    }

    #[test]
    fn a_page_is_taken_in_where_it_belongs_and_nowhere_else() {
        let home = home_of("acme.com");
        let take = |page, partition, input| {
            take(&mut owned(), &mut Vec::new(), &stored("acme.com", model(), page, partition, input))
        };
        assert_eq!(take(home, 3, "intent.events"), Ok(()));
        let stray = take(home, 4, "intent.events").unwrap_err();
        assert!(stray.contains("partition 3, key 9: it holds the accounts of partition 4"), "{stray}");
        let moved = take(PageId(home.0 ^ 1), 3, "intent.events").unwrap_err();
        assert!(moved.contains("account acme.com belongs on another page"), "{moved}");
        let foreign = take(home, 3, "other.events").unwrap_err();
        assert!(foreign.contains("reflects the topics other.events, and none of those"), "{foreign}");
    }

    #[test]
    fn every_page_is_read_by_its_own_schema() {
        // What comes first in this one comes second in the model of the test.
        let text = "model: old\nversion: 1\nsignals:\n  - { name: demo, match: { type: demo }, points: 1, half_life: 6h }\n\
                    tiers:\n  - { name: warm, intent: { enter: 20, exit: 12 } }\n";
        let old = model_file::parse(text, "inline").unwrap().model;
        let (mut owned, mut schemas) = (owned(), Vec::new());
        let mut bring = |account, model| {
            let bytes = stored(account, model, home_of(account), 3, "intent.events");
            take(&mut owned, &mut schemas, &bytes).unwrap();
            let explanation = owned.engine.explain(account, TIME).unwrap();
            let signals: Vec<_> = explanation.contributions.iter().map(|reason| reason.signal.to_string()).collect();
            (signals.concat(), schemas.iter().map(|known: &KnownSchema| known.is_stale).collect::<Vec<_>>())
        };
        assert_eq!(bring("acme.com", model()), ("visit".into(), vec![false]));
        assert_eq!(bring("beta.com", old.clone()), ("demo".into(), vec![false, true]));
        assert_eq!(bring("gamma.com", model()), ("visit".into(), vec![false, true]));
        assert_eq!(bring("delta.com", old), ("demo".into(), vec![false, true]));
    }

    /// Standings of which there are none.
    struct Empty;

    impl TableReader for Empty {
        fn read(&mut self, _: Duration, _: &mut TakeRow<'_>) -> Result<Restoring, LogError> {
            Ok(Restoring::Done)
        }
    }

    #[test]
    fn what_was_published_must_stand_in_the_standings() {
        // One visit is worth a tier here, and none in the model of the test.
        let text = "model: m\nversion: 1\nsignals:\n  - { name: visit, match: { type: visit }, points: 10, half_life: 2h }\n\
                    tiers:\n  - { name: warm, intent: { enter: 10, exit: 5 } }\n";
        let restored_from = |model| {
            let mut owned = owned();
            let bytes = stored("acme.com", model, home_of("acme.com"), 3, "intent.events");
            take(&mut owned, &mut Vec::new(), &bytes).unwrap();
            Restore::new(Empty, false, Duration::ZERO).advance(&mut owned, Duration::ZERO)
        };
        assert_eq!(restored_from(model()).ok(), Some(true));
        let refused = restored_from(model_file::parse(text, "inline").unwrap().model).unwrap_err().to_string();
        assert!(refused.contains("lacks the last standing of 1 accounts"), "{refused}");
    }
}
