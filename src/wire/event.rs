//! Events: from a record's bytes to what they mean to the model.
//!
//! A key that a `match` names is looked for at the top level of the event, then (`path`, `host`,
//! `query.NAME`) in its `url`, then in its `properties`.

use std::{borrow::Cow, fmt, mem, sync::Arc};

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use xxhash_rust::xxh3::xxh3_64;

use self::recent::Recent;
use super::{
    dead_letter::{Fault, Rejected},
    fields::{Slots, Wanted, account_in, account_of_key, kind_of, text_at, time_at},
    time::{format_rfc3339, format_span},
    url::Url,
};
use crate::model::{
    Candidates, Dispatch, DistinctId, Event, EventId, Field, Hit, KeyId, Model, PersonId, Scoring, SignalId, Span,
    Timestamp,
};

mod recent;

/// A record of an event or account topic, or a line of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRecord<'r> {
    pub key: Option<&'r [u8]>,
    /// Nothing is a tombstone.
    pub value: Option<&'r [u8]>,
    /// When the log got it. Without one (files, ancient message formats) the time that the record
    /// itself says stands for it.
    pub recorded: Option<Timestamp>,
}

/// The largest level that is read. Points that come of a much larger one would overflow, or be of no
/// use as a number in JSON.
pub const MAX_LEVEL: f64 = 1e9;

/// The key under which persons and other distinct values are hashed. Hashes under two keys cannot
/// be compared, so a new key makes everybody a new person.
#[derive(Clone)]
pub struct PersonKey([u8; 16]);

impl PersonKey {
    /// The key that a secret of any length stands for.
    pub fn from_secret(secret: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }

    fn hash(&self, text: &str) -> PersonId {
        PersonId(SipHasher24::new_with_key(&self.0).hash(text.as_bytes()))
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonKey(secret)")
    }
}

/// Why a sound event touches nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ignored {
    /// The model's `ignore` says so.
    Rule,
    /// No signal matches it.
    NoSignal,
}

impl Ignored {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::NoSignal => "no_signal",
        }
    }
}

/// A sound event.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'r> {
    /// It matches at least one signal.
    Event(Event<'r>),
    Ignored {
        why: Ignored,
        time: Timestamp,
    },
}

/// Decodes events for one model. Reuses its buffers: hardly any event allocates.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    fields: Slots<'static>,
    hits: Vec<Hit>,
    /// The account of the last event, if its JSON had it in escapes.
    account: String,
}

impl Decoder {
    /// A decoder for `model`; events may be dated up to `max_future_skew` after their record time.
    pub fn new(model: Arc<Model>, person_key: PersonKey, max_future_skew: Span) -> Self {
        let plan = Plan::new(model, person_key, max_future_skew);
        Self { plan, fields: Slots::default(), hits: Vec::new(), account: String::new() }
    }

    /// Reads a record. An error is for the dead letters.
    pub fn decode<'r>(&'r mut self, record: RawRecord<'r>) -> Result<Decoded<'r>, Rejected> {
        let mut fields: Slots<'r> = mem::take(&mut self.fields);
        let outcome = self.plan.read(&record, &mut fields, &mut self.hits);
        self.fields = fields.emptied();
        let Head { id, time, recorded, account, ignored } = outcome?;
        if let Some(why) = ignored {
            return Ok(Decoded::Ignored { why, time });
        }
        let account = match account {
            Cow::Borrowed(account) => account,
            Cow::Owned(account) => {
                self.account = account;
                &self.account
            }
        };
        Ok(Decoded::Event(Event { account, id, time, recorded, hits: &self.hits }))
    }
}

/// What is known of an event besides its hits.
struct Head<'r> {
    id: EventId,
    time: Timestamp,
    recorded: Timestamp,
    account: Cow<'r, str>,
    ignored: Option<Ignored>,
}

/// A part of the event's `url`.
#[derive(Debug)]
enum UrlPart {
    Path,
    Host,
    Query(Box<str>),
}

impl UrlPart {
    fn named(key: &str) -> Option<Self> {
        match key {
            "path" => Some(Self::Path),
            "host" => Some(Self::Host),
            _ => key.strip_prefix("query.").map(|name| Self::Query(name.into())),
        }
    }

    fn of<'a>(&self, url: &Url<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Path => url.path().map(Cow::Borrowed),
            Self::Host => url.host(),
            Self::Query(name) => url.query(name),
        }
    }
}

/// What to look for in an event, worked out once per model.
#[derive(Debug)]
struct Plan {
    model: Arc<Model>,
    person_key: PersonKey,
    max_future_skew: Span,
    wanted: Wanted,
    /// Slots of `id`, `type`, `account` and `time`.
    head: [usize; 4],
    /// Slot of `url`, if any key is derived from it.
    url: Option<usize>,
    derived: Vec<(usize, UrlPart)>,
    /// What can hold of an event of each type: the model's `ignore` first, then its signals.
    rules: Dispatch<Rule>,
    /// Which of the rules that one text decides hold of the texts that came last.
    recent: Recent,
    /// The distinct sets of each signal, with the field that they count.
    distinct: Vec<Vec<(DistinctId, KeyId)>>,
}

/// What holds of an event that matches.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Ignore,
    Signal(SignalId),
}

fn rules(model: &Model) -> Dispatch<Rule> {
    let kind = model.event_keys().iter().position(|key| **key == *"type").map(|slot| KeyId(slot as u16));
    let ignore = model.ignore().iter().map(|matcher| (Rule::Ignore, matcher));
    let signals = model.signals().iter().enumerate();
    let signals = signals.map(|(id, signal)| (Rule::Signal(SignalId(id as u8)), &signal.matcher));
    Dispatch::new(kind, &ignore.chain(signals).collect::<Vec<_>>())
}

impl Plan {
    fn new(model: Arc<Model>, person_key: PersonKey, max_future_skew: Span) -> Self {
        let keys = model.event_keys();
        let parts = keys.iter().enumerate();
        let derived: Vec<_> = parts.filter_map(|(slot, key)| Some((slot, UrlPart::named(key)?))).collect();
        let url: &[&str] = if derived.is_empty() { &[] } else { &["url"] };
        let wanted = Wanted::new(keys, &[&["id", "type", "account", "time"], url].concat(), true);
        let mut distinct = vec![Vec::new(); model.signals().len()];
        for (id, set) in model.distinct_sets().iter().enumerate() {
            distinct[usize::from(set.signal.0)].push((DistinctId(id as u8), set.field));
        }
        let head = ["id", "type", "account", "time"].map(|name| wanted.slot(name));
        Self {
            head,
            url: url.first().map(|name| wanted.slot(name)),
            rules: rules(&model),
            model,
            person_key,
            max_future_skew,
            wanted,
            derived,
            recent: Recent::default(),
            distinct,
        }
    }

    fn read<'r>(
        &mut self,
        record: &RawRecord<'r>,
        fields: &mut Slots<'r>,
        hits: &mut Vec<Hit>,
    ) -> Result<Head<'r>, Rejected> {
        self.wanted.read(record.value, fields)?;
        let [id, kind, account, time] = self.head.map(|slot| &fields[slot]);
        let id = EventId(xxh3_64(required(id, "id")?.as_bytes()));
        let candidates = self.rules.candidates(required(kind, "type")?);
        let time = self.time(required(time, "time")?, record.recorded)?;
        let account = account_of(account, record.key)?;
        if let Field::Absent = fields[self.head[2]] {
            // Matched like any other; the clone of the key's text is free.
            fields.put(self.head[2], Field::Text(account.clone()));
        }
        self.derive(fields)?;
        let known = known(candidates, fields, &mut self.recent);
        let ignored = self.collect(candidates, known, record, fields, hits)?;
        Ok(Head { id, time, recorded: record.recorded.unwrap_or(time), account, ignored })
    }

    fn time(&self, text: &str, recorded: Option<Timestamp>) -> Result<Timestamp, Rejected> {
        let time = time_at(text)?;
        match recorded {
            Some(recorded) if time > recorded + self.max_future_skew => {
                let (recorded, skew) = (format_rfc3339(recorded), format_span(self.max_future_skew));
                let message = format!("`{text}` is more than {skew} after the record time {recorded}");
                Err(Rejected::new(Fault::FarFuture, "$.time", message))
            }
            _ => Ok(time),
        }
    }

    /// Fills the keys that the top level of the event leaves open from its `url`, then from its
    /// properties.
    fn derive(&self, fields: &mut Slots<'_>) -> Result<(), Rejected> {
        if let Some(slot) = self.url {
            match fields[slot] {
                Field::Text(Cow::Borrowed(url)) => {
                    let url = Url::split(url);
                    self.fill(fields, |part| part.of(&url));
                }
                Field::Text(Cow::Owned(ref url)) => {
                    let url = url.clone();
                    let url = Url::split(&url);
                    self.fill(fields, |part| part.of(&url).map(|text| Cow::Owned(text.into_owned())));
                }
                ref other => drop(text_at(other, "url")?),
            }
        }
        fields.fill_from(self.wanted.property_slot(0));
        Ok(())
    }

    fn fill<'r>(&self, fields: &mut Slots<'r>, value: impl Fn(&UrlPart) -> Option<Cow<'r, str>>) {
        for (slot, part) in &self.derived {
            if matches!(fields[*slot], Field::Absent) {
                fields.put(*slot, value(part).map_or(Field::Absent, Field::Text));
            }
        }
    }

    /// Collects what the event means to each signal, or says why it means nothing. Which of the candidates hold that
    /// are about their main field alone may be `known`.
    fn collect(
        &self,
        candidates: &Candidates<Rule>,
        known: Option<u64>,
        record: &RawRecord<'_>,
        fields: &[Field<'_>],
        hits: &mut Vec<Hit>,
    ) -> Result<Option<Ignored>, Rejected> {
        hits.clear();
        for (at, (rule, matcher)) in candidates.rules.iter().enumerate() {
            let holds = match known {
                Some(known) if candidates.is_about_main_field(at) => known >> at & 1 != 0,
                _ => matcher.matches(fields),
            };
            match rule {
                _ if !holds => {}
                Rule::Ignore => return Ok(Some(Ignored::Rule)),
                Rule::Signal(signal) => self.hit(*signal, record, fields, hits)?,
            }
        }
        Ok(hits.is_empty().then_some(Ignored::NoSignal))
    }

    /// Adds what the event means to a signal that it matches.
    fn hit(
        &self,
        id: SignalId,
        record: &RawRecord<'_>,
        fields: &[Field<'_>],
        hits: &mut Vec<Hit>,
    ) -> Result<(), Rejected> {
        hits.push(Hit::Count(id));
        let signal = self.model.signal(id);
        if let Scoring::Level { field, .. } = signal.scoring {
            let level = level_of(&fields[usize::from(field.0)]);
            hits.push(Hit::Level(id, level.ok_or_else(|| self.unknown_level(record, field, &signal.name))?));
        }
        for (set, field) in &self.distinct[usize::from(id.0)] {
            self.see(*set, &fields[usize::from(field.0)], hits);
        }
        Ok(())
    }

    /// Adds a hit for the value, or for each value of a list. Empty text is nobody.
    fn see(&self, set: DistinctId, field: &Field<'_>, hits: &mut Vec<Hit>) {
        let mut seen = |text: &str| hits.push(Hit::Seen(set, self.person_key.hash(text)));
        match field {
            Field::Text(text) if text.is_empty() => {}
            Field::Text(text) => seen(text),
            Field::Number(number) => seen(&number.to_string()),
            Field::Bool(value) => seen(if *value { "true" } else { "false" }),
            Field::List(items) => items.iter().for_each(|item| self.see(set, item, hits)),
            Field::Absent | Field::Other => {}
        }
    }

    /// Reads the record once more to say where the level stands: rare, and it keeps that question
    /// out of the way of good events.
    fn unknown_level(&self, record: &RawRecord<'_>, field: KeyId, signal: &str) -> Rejected {
        let slot = usize::from(field.0);
        let name = &self.model.event_keys()[slot];
        let mut fields = Slots::default();
        let reread = self.wanted.read_carefully(record.value, &mut fields).is_ok();
        let property = if reread { &fields[self.wanted.property_slot(slot)] } else { &Field::Absent };
        let (path, found) = match fields.get(slot) {
            Some(Field::Absent) if *property != Field::Absent => (format!("$.properties.{name}"), property),
            Some(found) => (format!("$.{name}"), found),
            None => (format!("$.{name}"), &Field::Absent),
        };
        let found = if let Field::Number(number) = found { number.to_string() } else { kind_of(found).to_owned() };
        let message = format!("the level of signal `{signal}` must be a number from 0 to {MAX_LEVEL:e}, not {found}");
        Rejected::new(Fault::UnknownLevel, path, message)
    }
}

/// Which of the candidates hold that are about their main field alone, one bit each, if that is a text.
fn known(candidates: &Candidates<Rule>, fields: &[Field<'_>], recent: &mut Recent) -> Option<u64> {
    let Field::Text(text) = &fields[usize::from(candidates.main_field?.0)] else { return None };
    Some(recent.answer(candidates.number, text, || {
        let asked = candidates.rules.iter().enumerate().filter(|(at, _)| candidates.is_about_main_field(*at));
        asked.filter(|(_, (_, matcher))| matcher.matches(fields)).fold(0, |bits, (at, _)| bits | 1 << at)
    }))
}

fn level_of(field: &Field<'_>) -> Option<f64> {
    match field {
        // Zero is added because a negative zero would differ from zero in its bits only.
        Field::Number(level) if (0.0..=MAX_LEVEL).contains(level) => Some(*level + 0.0),
        _ => None,
    }
}

#[inline]
fn required<'f>(field: &'f Field<'_>, name: &str) -> Result<&'f str, Rejected> {
    match text_at(field, name)? {
        Some(text) if !text.is_empty() => Ok(text),
        found => Err(missing(found, name)),
    }
}

#[cold]
fn missing(found: Option<&str>, name: &str) -> Rejected {
    let what = if found.is_some() { "empty" } else { "missing" };
    Rejected::new(Fault::MissingField, format!("$.{name}"), format!("`{name}` is {what}"))
}

/// The producer's word comes before the record key, which may have been chosen for another reason.
fn account_of<'r>(field: &Field<'r>, key: Option<&'r [u8]>) -> Result<Cow<'r, str>, Rejected> {
    match (account_in(field)?, key) {
        (Some(account), _) => Ok(account),
        (None, Some(key)) => account_of_key(key).map(Cow::Borrowed),
        (None, None) => {
            let message = "`account` is missing, and the record has no key to take it from";
            Err(Rejected::new(Fault::MissingField, "$.account", message))
        }
    }
}

#[cfg(test)]
mod tests;
