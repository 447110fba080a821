//! The log over a real Kafka broker: what the runtime's promise rests on.

mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, Producer},
};
use support::{
    kafka::Broker,
    topics::{self, Isolation, Record, Writer},
    wait_until,
};
use tidemark::log::{
    Committed, End, Fetched, InputId, Log, LogError, Offset, Output, OutputTopic, Partition, Progress, Restoring,
    Table, TableReader, Transaction,
    kafka::{Creation, KafkaConfig, KafkaLog, Properties, TopicNames, Topics, check_topics, create_topics},
};

const LIMIT: Duration = Duration::from_secs(60);
const SLICE: Duration = Duration::from_millis(100);
const CHECKPOINT: Duration = Duration::from_secs(60);
const EVENTS: InputId = InputId(0);
const ACCOUNTS: InputId = InputId(1);

/// A group with topics of its own.
struct Group {
    broker: &'static Broker,
    names: TopicNames,
    config: KafkaConfig,
}

impl Group {
    fn new(test: &str, partitions: i32) -> Option<Self> {
        let group = Self::without_topics(test)?;
        let TopicNames { events, accounts, tier_changes, segment_changes, standings, dead_letters, state } =
            &group.names;
        let names = [&events[0], accounts, tier_changes, segment_changes, standings, dead_letters, state];
        topics::create(group.broker, &names.map(String::as_str), partitions, &[]);
        Some(group)
    }

    fn without_topics(test: &str) -> Option<Self> {
        let broker = Broker::shared()?;
        let prefix = broker.namespace(test);
        let name = |what: &str| format!("{prefix}.{what}");
        let names = TopicNames {
            events: vec![name("events")],
            accounts: name("accounts"),
            tier_changes: name("tier-changes"),
            segment_changes: name("segment-changes"),
            standings: name("standings"),
            dead_letters: name("dead-letters"),
            state: name("state"),
        };
        let properties =
            [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500"), ("max.poll.interval.ms", "6000")];
        let config = KafkaConfig {
            brokers: broker.bootstrap().to_owned(),
            group: prefix.clone(),
            instance: "one".to_owned(),
            topics: Topics::try_from(names.clone()).unwrap(),
            properties: Properties::new(
                properties
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect::<BTreeMap<_, _>>(),
            )
            .unwrap(),
        };
        Some(Self { broker, names, config })
    }

    fn connect(&self, instance: &str) -> Member {
        let config = KafkaConfig { instance: instance.to_owned(), ..self.config.clone() };
        Member { log: KafkaLog::connect(Arc::new(config), 0).expect("the broker is there"), seen: Vec::new() }
    }

    fn fill_events(&self, count: usize) {
        let writer = Writer::plain(self.broker);
        for number in 0..count {
            writer.send(&self.names.events[0], &text_record("k", &number.to_string()));
        }
        writer.flush();
    }

    fn committed_values(&self, topic: &str) -> Vec<String> {
        topics::read(self.broker, topic, Isolation::Committed).iter().map(value_text).collect()
    }
}

/// A log, and what it delivered.
struct Member {
    log: KafkaLog,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Seen {
    Record(InputId, Partition, Offset),
    AtEnd(End),
    Assigned(Vec<Partition>),
    Revoked { lost: bool },
}

impl Member {
    fn poll(&mut self, max: usize) -> Result<(), LogError> {
        let seen = &mut self.seen;
        self.log.poll(SLICE, max, &mut |fetched| match fetched {
            Fetched::Records(records) => {
                seen.extend(records.iter().map(|one| Seen::Record(one.input, one.partition, one.offset)));
            }
            Fetched::AtEnd(end) => seen.push(Seen::AtEnd(end)),
            Fetched::Assigned(partitions) => seen.push(Seen::Assigned(partitions)),
            Fetched::Revoked { lost } => seen.push(Seen::Revoked { lost }),
        })
    }

    /// Polls until `found` finds something in what was delivered since the last call.
    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let outcome = wait_until(what, LIMIT, || {
            self.poll(1000).expect("a poll");
            found(&self.seen)
        });
        self.seen.clear();
        outcome
    }

    fn assigned(&mut self) -> Vec<Partition> {
        self.until("an assignment", |seen| {
            seen.iter()
                .find_map(|one| if let Seen::Assigned(partitions) = one { Some(partitions.clone()) } else { None })
        })
    }

    fn start_at(&mut self, partitions: &[Partition], offset: i64) {
        let at: Vec<_> = partitions
            .iter()
            .flat_map(|partition| [(EVENTS, *partition, Offset(offset)), (ACCOUNTS, *partition, Offset(0))])
            .collect();
        self.log.start(&at).expect("a start");
    }

    fn resume(&mut self, partitions: &[Partition]) {
        let inputs: Vec<_> =
            partitions.iter().flat_map(|partition| [(EVENTS, *partition), (ACCOUNTS, *partition)]).collect();
        self.log.resume(&inputs).expect("a resume");
    }

    /// Joins, and takes up what it is given from the beginning.
    fn take_up(&mut self) -> Vec<Partition> {
        let partitions = self.assigned();
        self.start_at(&partitions, 0);
        self.resume(&partitions);
        partitions
    }

    /// Does what the group asks for, if it asks for anything.
    fn follow(&mut self) {
        self.poll(1000).expect("a poll");
        for one in std::mem::take(&mut self.seen) {
            match one {
                Seen::Revoked { .. } => self.log.release().expect("a release"),
                Seen::Assigned(partitions) => {
                    self.start_at(&partitions, 0);
                    self.resume(&partitions);
                }
                Seen::Record(..) | Seen::AtEnd(..) => {}
            }
        }
    }

    fn offsets_until_end(&mut self) -> Vec<i64> {
        self.until("the end of the events", |seen| {
            let is_end =
                |one: &Seen| matches!(one, Seen::AtEnd(end) if (end.input, end.partition) == (EVENTS, Partition(0)));
            seen.iter().any(is_end).then(|| offsets(seen))
        })
    }
}

fn offsets(seen: &[Seen]) -> Vec<i64> {
    let offset = |one: &Seen| if let Seen::Record(EVENTS, _, offset) = one { Some(offset.0) } else { None };
    seen.iter().filter_map(offset).collect()
}

fn text_record(key: &str, value: &str) -> Record {
    Record { key: Some(key.into()), value: Some(value.into()), time: 1_700_000_000_000, ..Record::default() }
}

fn value_text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

fn output(topic: OutputTopic, value: &str) -> Output {
    Output {
        topic,
        partition: Partition(0),
        key: Some(b"acme.com".to_vec()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

fn progress(offset: i64, metadata: &str) -> Progress {
    Progress { input: EVENTS, partition: Partition(0), offset: Offset(offset), metadata: metadata.to_owned() }
}

fn change(value: &str, offset: i64) -> Transaction {
    Transaction { outputs: vec![output(OutputTopic::TierChanges, value)], progress: vec![progress(offset, "")] }
}

#[test]
fn outputs_and_progress_become_visible_together() {
    let Some(group) = Group::new("commit", 1) else { return };
    group.fill_events(3);
    let mut member = group.connect("one");
    let partitions = member.assigned();
    assert_eq!(partitions, [Partition(0)]);
    assert_eq!(member.log.committed(&partitions).unwrap(), [vec![None, None]]);
    assert_eq!(member.log.bounds(EVENTS, Partition(0)).unwrap(), Offset(0)..Offset(3));
    member.start_at(&partitions, 0);
    member.resume(&partitions);
    assert_eq!(member.offsets_until_end(), [0, 1, 2]);
    assert_eq!(member.log.lag(EVENTS, Partition(0)), Some(0));

    let with_headers = Output {
        headers: vec![("reason", b"malformed".to_vec())],
        key: None,
        ..output(OutputTopic::DeadLetters, "rubbish")
    };
    let tombstone = Output { value: None, ..output(OutputTopic::Standings, "") };
    let pages = ["one page", "another"].map(|page| output(OutputTopic::State, page));
    let outputs = [output(OutputTopic::TierChanges, "up"), with_headers, tombstone].into_iter().chain(pages).collect();
    assert_eq!(member.log.state_end(Partition(0)), Offset(0));
    member.log.commit(Transaction { outputs, progress: vec![progress(3, "replay_from=1")] }).unwrap();

    assert_eq!(member.log.state_end(Partition(0)), Offset(2));
    assert_eq!(group.committed_values(&group.names.tier_changes), ["up"]);
    let dead = topics::read(group.broker, &group.names.dead_letters, Isolation::Committed);
    assert_eq!((dead[0].key.as_deref(), dead[0].header("reason")), (None, Some("malformed")));
    let standings = topics::read(group.broker, &group.names.standings, Isolation::Committed);
    assert_eq!((standings[0].key_text(), &standings[0].value), ("acme.com", &None));
    let committed = Committed { offset: Offset(3), metadata: "replay_from=1".to_owned() };
    assert_eq!(member.log.committed(&partitions).unwrap(), [vec![Some(committed), None]]);
    member.log.close();
}

#[test]
fn a_commit_does_not_sit_out_the_flush_of_the_client_library() {
    let Some(group) = Group::new("speed", 1) else { return };
    let mut member = group.connect("one");
    member.take_up();
    let mut times: Vec<Duration> = (1..=20)
        .map(|offset| {
            let begin = Instant::now();
            member.log.commit(change("up", offset)).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("commits took {:?} at best, {:?} at the median", times[0], times[10]);
    // Left to the library, every commit of fresh records takes 100 ms and more.
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
    member.log.close();
}

#[test]
fn a_transaction_without_progress_is_refused() {
    let Some(group) = Group::new("unfenced", 1) else { return };
    let mut member = group.connect("one");
    member.take_up();
    let unfenced = Transaction { progress: Vec::new(), ..change("up", 0) };
    assert!(matches!(member.log.commit(unfenced), Err(LogError::Refused(_))));
    assert!(group.committed_values(&group.names.tier_changes).is_empty());
    member.log.close();
}

#[test]
fn two_members_share_the_partitions_and_one_takes_over() {
    let Some(group) = Group::new("rebalance", 2) else { return };
    let mut first = group.connect("one");
    assert_eq!(first.take_up(), [Partition(0), Partition(1)]);

    let mut second = group.connect("two");
    let lost = wait_until("the revocation", LIMIT, || {
        second.poll(1000).unwrap();
        first.poll(1000).unwrap();
        first.seen.iter().find_map(|one| if let Seen::Revoked { lost } = one { Some(*lost) } else { None })
    });
    assert!(!lost);
    // What was done until the revocation can still be committed.
    first.log.commit(change("last", 7)).unwrap();
    first.log.release().unwrap();
    first.seen.clear();
    second.seen.clear();
    let mut shares = [None, None];
    wait_until("both assignments", LIMIT, || {
        for (member, share) in [&mut first, &mut second].into_iter().zip(&mut shares) {
            member.poll(1000).unwrap();
            if let Some(Seen::Assigned(partitions)) = member.seen.last() {
                *share = Some(partitions.clone());
            }
        }
        shares.iter().all(Option::is_some).then_some(())
    });
    let mut all = shares.iter().flatten().flatten().copied().collect::<Vec<_>>();
    all.sort();
    assert_eq!(all, [Partition(0), Partition(1)]);
    assert!(shares.iter().flatten().all(|share| share.len() == 1), "{shares:?}");

    let share = shares[0].clone().unwrap();
    first.start_at(&share, 0);
    let stray = Progress { partition: shares[1].clone().unwrap()[0], ..progress(9, "") };
    let foreign = Transaction { progress: vec![stray], ..Transaction::default() };
    assert!(first.log.commit(foreign).is_err(), "progress of a partition of somebody else");

    first.log.close();
    second.start_at(&shares[1].clone().unwrap(), 0);
    second.seen.clear();
    second.until("the revocation", |seen| seen.contains(&Seen::Revoked { lost: false }).then_some(()));
    second.log.release().unwrap();
    assert_eq!(second.take_up(), [Partition(0), Partition(1)]);
    let committed = second.log.committed(&[Partition(0)]).unwrap();
    assert_eq!(committed[0][0].as_ref().map(|committed| committed.offset), Some(Offset(7)));
    second.log.close();
}

#[test]
fn a_member_that_was_left_behind_cannot_commit() {
    let Some(group) = Group::new("zombie", 1) else { return };
    let mut zombie = group.connect("one");
    zombie.take_up();
    zombie.log.commit(change("before", 1)).unwrap();

    // The zombie does not poll, so the group goes on without it.
    let mut heir = group.connect("two");
    assert_eq!(heir.take_up(), [Partition(0)]);
    assert!(matches!(zombie.log.commit(change("from the grave", 2)), Err(LogError::Passing(_))));
    heir.log.commit(change("after", 2)).unwrap();

    // A heartbeat tells it, after which it does not even ask the broker.
    wait_until("the insight", LIMIT, || match zombie.log.commit(change("from the grave", 3)) {
        Err(LogError::Passing(text)) => text.contains("no member of the group any more").then_some(()),
        other => panic!("{other:?}"),
    });
    zombie.until("the loss", |seen| seen.contains(&Seen::Revoked { lost: true }).then_some(()));
    assert!(matches!(zombie.log.commit(change("from the grave", 3)), Err(LogError::Passing(_))));
    assert_eq!(group.committed_values(&group.names.tier_changes), ["before", "after"]);
    zombie.log.close();
    heir.log.close();
}

#[test]
fn of_two_processes_of_one_name_one_ends() {
    let Some(group) = Group::new("twins", 2) else { return };
    let mut first = group.connect("one");
    first.take_up();
    first.log.commit(change("first", 1)).unwrap();
    let twin = group.connect("one");
    // Once is no proof: it may be a restart that overlaps.
    match first.log.commit(change("fenced", 2)) {
        Err(LogError::Passing(text)) => assert!(text.contains("kafka.instance"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(group.committed_values(&group.names.tier_changes), ["first"]);
    twin.log.close();
    // The fenced producer was replaced. The group may have noticed the twin and ask to join again.
    wait_until("a commit by the new producer", LIMIT, || {
        first.follow();
        first.log.commit(change("again", 2)).ok()
    });
    let twin = group.connect("one");
    let refusal = wait_until("the second time", LIMIT, || {
        first.follow();
        match first.log.commit(change("fenced", 3)) {
            Err(LogError::Refused(text)) => Some(text),
            _ => None,
        }
    });
    assert!(refusal.contains("twins") && refusal.contains("kafka.instance"), "{refusal}");
    assert_eq!(group.committed_values(&group.names.tier_changes), ["first", "again"]);
    first.log.close();
    twin.log.close();
}

#[test]
fn a_start_delivers_nothing_before_it_is_resumed_and_can_move_back() {
    let Some(group) = Group::new("start", 1) else { return };
    group.fill_events(1000);
    let mut member = group.connect("one");
    let partitions = member.assigned();
    member.start_at(&partitions, 500);
    member.poll(1000).unwrap();
    assert_eq!(member.seen, []);
    member.resume(&partitions);
    // Few at a time, so that others are fetched already when the position moves.
    wait_until("the first records", LIMIT, || {
        member.poll(10).unwrap();
        (offsets(&member.seen).len() >= 20).then_some(())
    });
    assert_eq!(offsets(&member.seen)[..20], (500..520).collect::<Vec<_>>());
    member.seen.clear();

    member.start_at(&partitions, 100);
    member.poll(1000).unwrap();
    assert_eq!(member.seen, [], "paused again");
    member.resume(&partitions);
    assert_eq!(member.offsets_until_end(), (100..1000).collect::<Vec<_>>());
    assert_eq!(member.log.lag(EVENTS, Partition(0)), Some(0));

    // Moving does not cost the membership.
    member.log.commit(change("up", 1000)).unwrap();
    member.log.close();
}

#[test]
fn records_of_several_inputs_are_told_apart() {
    let Some(group) = Group::new("inputs", 4) else { return };
    let writer = Writer::plain(group.broker);
    for number in 0..200 {
        for topic in [&group.names.events[0], &group.names.accounts] {
            writer.send(topic, &text_record(&number.to_string(), "x"));
        }
    }
    writer.flush();
    let mut member = group.connect("one");
    member.take_up();
    member.until("all records of both inputs", |seen| {
        let of = |input| seen.iter().filter(|one| matches!(one, Seen::Record(found, ..) if *found == input)).count();
        ([of(EVENTS), of(ACCOUNTS)] == [200, 200]).then_some(())
    });
    member.log.close();
}

#[test]
fn paused_partitions_go_on_where_they_stopped() {
    let Some(group) = Group::new("pause", 1) else { return };
    group.fill_events(1000);
    let mut member = group.connect("one");
    member.take_up();
    wait_until("the first records", LIMIT, || {
        member.poll(10).unwrap();
        (offsets(&member.seen).len() >= 20).then_some(())
    });
    member.log.pause(&[(EVENTS, Partition(0))]).unwrap();
    let before = offsets(&member.seen).len();
    member.poll(1000).unwrap();
    assert_eq!(offsets(&member.seen).len(), before);
    member.log.resume(&[(EVENTS, Partition(0))]).unwrap();
    assert_eq!(member.offsets_until_end(), (0..1000).collect::<Vec<_>>());
    member.log.close();
}

#[test]
fn an_input_holds_more_while_something_is_undecided_and_not_for_its_markers() {
    let Some(group) = Group::new("more", 1) else { return };
    let events = &group.names.events[0];
    let writer = Writer::transactional(group.broker, events);
    let send = |value: &str| {
        writer.begin();
        writer.send(events, &text_record("k", value));
        writer.flush();
    };
    send("first");
    writer.commit();
    let mut member = group.connect("one");
    let partitions = member.take_up();
    assert_eq!(member.offsets_until_end(), [0]);
    let hold_more = |member: &mut Member| member.log.hold_more(&[(ACCOUNTS, Partition(0)), (EVENTS, Partition(0))]);
    assert_eq!(hold_more(&mut member), [Some(false), Some(false)], "a marker lies between the record and the end");

    send("second");
    assert_eq!(hold_more(&mut member), [Some(false), Some(true)], "the second record is undecided");
    writer.commit();
    assert_eq!(member.offsets_until_end(), [2]);
    assert_eq!(hold_more(&mut member), [Some(false), Some(false)]);

    send("third");
    writer.abort();
    assert_eq!(hold_more(&mut member), [Some(false), Some(true)], "nobody has told the member that the third is void");
    member.start_at(&partitions, 3);
    member.resume(&partitions);
    assert!(member.offsets_until_end().is_empty());
    assert_eq!(hold_more(&mut member), [Some(false), Some(false)]);

    send("fourth");
    member.start_at(&partitions, 5);
    member.resume(&partitions);
    let open = End { input: EVENTS, partition: Partition(0), offset: Offset(6), undecided: true };
    member.until("the end of what is decided", |seen| seen.contains(&Seen::AtEnd(open)).then_some(()));
    writer.commit();
    let end = End { offset: Offset(8), undecided: false, ..open };
    member.until("the end behind the marker", |seen| seen.contains(&Seen::AtEnd(end)).then_some(()));
    member.log.close();
}

#[test]
fn an_offset_that_the_log_does_not_have_is_refused_by_name() {
    let Some(group) = Group::new("range", 1) else { return };
    group.fill_events(3);
    let mut member = group.connect("one");
    let partitions = member.assigned();
    member.start_at(&partitions, 1000);
    member.resume(&partitions);
    let error = wait_until("the refusal", LIMIT, || member.poll(1000).err());
    let text = error.to_string();
    assert!(matches!(error, LogError::Refused(_)), "{text}");
    assert!(text.contains(&format!("`{}` partition 0 has no offset 1000", group.names.events[0])), "{text}");
    assert!(offsets(&member.seen).is_empty());
    member.log.close();
}

#[test]
fn tables_wait_for_transactions_that_are_still_open() {
    let Some(group) = Group::new("tables", 1) else { return };
    let state = &group.names.state;
    let plain = Writer::plain(group.broker);
    plain.send(state, &text_record("1", "old"));
    plain.send(state, &Record { value: None, ..text_record("2", "") });
    plain.flush();
    let aborted = Writer::transactional(group.broker, &format!("{state}-aborted"));
    aborted.begin();
    aborted.send(state, &text_record("1", "aborted"));
    aborted.flush();
    aborted.abort();
    let open = Writer::transactional(group.broker, &format!("{state}-open"));
    open.begin();
    open.send(state, &text_record("1", "new"));
    open.flush();

    let mut member = group.connect("one");
    let mut tables = member.log.tables(Partition(0), Offset(0)).unwrap();
    // After the end that was there when it was opened.
    plain.send(state, &text_record("9", "later"));
    plain.flush();
    let mut rows = Vec::new();
    let mut read = || read_rows(&mut tables);
    wait_until("what is decided", LIMIT, || {
        let (outcome, fresh) = read();
        assert_eq!(outcome, Restoring::More);
        rows.extend(fresh);
        (rows.len() == 2).then_some(())
    });
    for _ in 0..3 {
        assert_eq!(read(), (Restoring::More, vec![]), "the transaction is open");
    }
    open.commit();
    wait_until("the rest", LIMIT, || {
        let (outcome, fresh) = read();
        rows.extend(fresh);
        (outcome == Restoring::Done).then_some(())
    });
    let row = |key: &str, value| row(Table::State, key, value);
    assert_eq!(rows[..3], [row("1", Some("old")), row("2", None), row("1", Some("new"))]);
    assert!(rows[3..].iter().all(|row| row.1 == "9"), "{rows:?}");
    assert_eq!(read().0, Restoring::Done);
    member.log.close();
}

#[test]
fn tables_begin_where_their_logs_do() {
    let Some(group) = Group::new("trimmed", 1) else { return };
    let plain = Writer::plain(group.broker);
    for number in 0..5 {
        plain.send(&group.names.state, &text_record("1", &number.to_string()));
    }
    plain.send(&group.names.standings, &text_record("a", "gone"));
    plain.flush();
    topics::delete_before(group.broker, &group.names.state, 0, 3);
    topics::delete_before(group.broker, &group.names.standings, 0, 1);

    let mut member = group.connect("one");
    let mut read_from = |offset| {
        let mut tables = member.log.tables(Partition(0), Offset(offset)).unwrap();
        let mut rows = Vec::new();
        wait_until("the tables", LIMIT, || {
            let (outcome, fresh) = read_rows(&mut tables);
            rows.extend(fresh);
            (outcome == Restoring::Done).then_some(())
        });
        rows
    };
    assert_eq!(read_from(0), [row(Table::State, "1", Some("3")), row(Table::State, "1", Some("4"))]);
    assert_eq!(read_from(4), [row(Table::State, "1", Some("4"))]);
    assert_eq!(read_from(5), []);
    assert_eq!(read_from(99), [], "beyond the end, as after the topic was created anew");
    member.log.close();
}

type Row = (Table, String, Option<String>);

fn row(table: Table, key: &str, value: Option<&str>) -> Row {
    (table, key.to_owned(), value.map(str::to_owned))
}

fn read_rows(tables: &mut impl TableReader) -> (Restoring, Vec<Row>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut rows = Vec::new();
    let outcome = tables.read(SLICE, &mut |row| rows.push((row.table, text(row.key), row.value.map(text))));
    (outcome.unwrap(), rows)
}

#[test]
fn undecided_offsets_of_a_previous_owner_are_waited_for() {
    let Some(group) = Group::new("undecided", 1) else { return };
    // A transaction that nobody ends: the broker does, after its time.
    let mut config: ClientConfig = group.broker.client();
    config.set("transactional.id", format!("{}-previous", group.config.group));
    let previous: BaseProducer = config.set("transaction.timeout.ms", "2000").create().unwrap();
    let outsider: BaseConsumer = group.broker.client().set("group.id", &group.config.group).create().unwrap();
    previous.init_transactions(LIMIT).unwrap();
    previous.begin_transaction().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&group.names.events[0], 0, rdkafka::Offset::Offset(7)).unwrap();
    previous.send_offsets_to_transaction(&offsets, &outsider.group_metadata().unwrap(), LIMIT).unwrap();

    let mut member = group.connect("one");
    assert_eq!(member.log.committed(&[Partition(0)]).unwrap(), [vec![None, None]], "it was aborted");
    member.log.close();
}

#[test]
fn a_record_that_is_too_large_is_named_and_leaves_nothing_behind() {
    let Some(group) = Group::new("large", 1) else { return };
    let mut member = group.connect("one");
    member.take_up();
    // Over the library's limit, then within it but over the topic's.
    for bytes in [2_000_000, 1_300_000] {
        let mut config = group.config.clone();
        let limit = BTreeMap::from([("message.max.bytes".to_owned(), "1500000".to_owned())]);
        config.properties = Properties::new(limit).unwrap();
        config.instance = format!("large-{bytes}");
        config.group = format!("{}-{bytes}", group.config.group);
        let log = KafkaLog::connect(Arc::new(config), 0).unwrap();
        let mut member = Member { log, seen: Vec::new() };
        member.take_up();
        // Such that compression does not help.
        let mut seed = 1_u64;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        });
        let large = Output { value: Some(noise.take(bytes).collect()), ..output(OutputTopic::State, "") };
        let mut transaction = change("up", 1);
        transaction.outputs.push(large);
        match member.log.commit(transaction) {
            Err(LogError::Refused(text)) => {
                assert!(text.contains(&group.names.state) && text.contains("max.message.bytes"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert!(group.committed_values(&group.names.tier_changes).is_empty());
        member.log.commit(Transaction { progress: vec![progress(1, "")], ..Transaction::default() }).unwrap();
        member.log.close();
    }
    member.log.close();
}

#[test]
fn missing_topics_are_created_as_they_are_needed() {
    let Some(group) = Group::without_topics("survey") else { return };
    let before = check_topics(&group.config, CHECKPOINT).unwrap();
    assert!(before.iter().all(|finding| finding.partitions.is_none()), "{before:?}");
    topics::create(group.broker, &[group.names.events[0].as_str()], 3, &[]);
    topics::create(group.broker, &[group.names.state.as_str()], 2, &[("cleanup.policy", "delete")]);
    let created = create_topics(&group.config, CHECKPOINT, Creation::default()).unwrap();
    assert_eq!(created.len(), 5);
    wait_until("the new topics", LIMIT, || {
        let after = check_topics(&group.config, CHECKPOINT).unwrap();
        after.iter().all(|finding| finding.partitions.is_some()).then_some(())
    });
    for finding in check_topics(&group.config, CHECKPOINT).unwrap() {
        let is_state = *finding.topic == *group.names.state;
        assert_eq!(finding.is_fine(), !is_state, "{finding:?}");
        if is_state {
            let told = finding.problems.concat();
            assert!(told.contains("cleanup.policy is `delete`") && told.contains("2 partitions"), "{told}");
        } else {
            assert_eq!(finding.partitions, Some(3), "{finding:?}");
        }
    }
}
