//! From the configuration as written to the one that is trusted.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    path::Path,
    str::FromStr,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    CommitSettings, HttpSettings, LogSettings, PUBLIC_PERSON_KEY, Secret, Settings, StartFrom, Surroundings,
    raw::{RawCommit, RawHttp, RawKafka, RawLog, RawPrivacy, RawSettings, RawState, RawTime, RawTopics, Text},
};
use crate::{
    log::kafka::{KafkaConfig, NamesError, Properties, PropertyError, TopicNames, Topics},
    model::Span,
    telemetry::{LogFilterError, LogFormat},
    wire::{
        time::parse_span,
        yaml::{Place, Problem, suggest},
    },
};

/// More threads than this in one process is a slip of the finger.
const WORKERS_MAX: usize = 1024;
/// Of secrets that others could guess at: 64 bits as `openssl rand -hex` writes them, the least.
const SECRET_BYTES_MIN: usize = 16;
/// What makes a good one.
const MAKE_A_SECRET: &str = "make one with `openssl rand -hex 16`";

pub(super) fn settings(raw: RawSettings, base: &Path, surroundings: &Surroundings) -> Result<Settings, Problem> {
    let RawSettings { kafka, topics, model, workers, start_from, time, state, commit, http, privacy, log } = raw;
    let check = Check { surroundings };
    let RawTime { grace, max_future_skew } = time;
    let RawState { checkpoint_interval } = state;
    Ok(Settings {
        kafka: check.kafka(kafka, topics)?,
        workers: check.workers(workers.as_ref())?,
        model: base.join(check.text(model.as_ref(), "models/default.yaml")?),
        start_from: check
            .choice(start_from.as_ref(), &[("earliest", StartFrom::Earliest), ("latest", StartFrom::Latest)])?
            .unwrap_or(StartFrom::Earliest),
        grace: check.span(grace.as_ref(), Span::seconds(5))?,
        max_future_skew: check.span(max_future_skew.as_ref(), Span::seconds(300))?,
        checkpoint_interval: check.duration(checkpoint_interval.as_ref(), Duration::from_secs(60))?,
        commit: check.commit(commit)?,
        http: check.http(http)?,
        person_key: check.person_key(privacy)?,
        log: check.log(log)?,
    })
}

struct Check<'s> {
    surroundings: &'s Surroundings,
}

impl Check<'_> {
    fn kafka(&self, raw: RawKafka, topics: RawTopics) -> Result<KafkaConfig, Problem> {
        let RawKafka { brokers, group_id, instance, properties } = raw;
        Ok(KafkaConfig {
            brokers: self.filled(brokers.as_ref(), "localhost:9092")?,
            group: self.name(group_id.as_ref(), "tidemark")?,
            instance: self.name(instance.as_ref(), &instance_of_this_process())?,
            topics: self.topics(topics)?,
            properties: self.properties(properties)?,
        })
    }

    fn topics(&self, raw: RawTopics) -> Result<Topics, Problem> {
        let RawTopics { events, accounts, tier_changes, segment_changes, standings, dead_letters, state } = raw;
        // Where to point when the names are fine one by one but not together.
        let place = events.iter().flatten().chain([&accounts, &tier_changes, &state].into_iter().flatten()).next();
        let place = place.map_or(Place::START, Place::of);
        let defaults = TopicNames::default();
        let events = match &events {
            Some(events) => events.iter().map(|name| self.surroundings.fill_in(name)).collect::<Result<_, _>>()?,
            None => defaults.events,
        };
        let names = TopicNames {
            events,
            accounts: self.text(accounts.as_ref(), &defaults.accounts)?,
            tier_changes: self.text(tier_changes.as_ref(), &defaults.tier_changes)?,
            segment_changes: self.text(segment_changes.as_ref(), &defaults.segment_changes)?,
            standings: self.text(standings.as_ref(), &defaults.standings)?,
            dead_letters: self.text(dead_letters.as_ref(), &defaults.dead_letters)?,
            state: self.text(state.as_ref(), &defaults.state)?,
        };
        Topics::try_from(names).map_err(|error: NamesError| Problem::new(place, error.to_string()))
    }

    fn properties(&self, raw: BTreeMap<String, Text>) -> Result<Properties, Problem> {
        let mut filled = BTreeMap::new();
        for (key, value) in &raw {
            filled.insert(key.clone(), self.surroundings.fill_in(value).map_err(Problem::hide_line)?);
        }
        Properties::new(filled).map_err(|error| {
            let (PropertyError::Denied { key, .. } | PropertyError::Refused { key, .. }) = &error;
            Problem::new(raw.get(key).map_or(Place::START, Place::of), error.to_string()).hide_line()
        })
    }

    fn workers(&self, raw: Option<&Text>) -> Result<usize, Problem> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let Some(workers) = self.number(raw)? else { return Ok(cores()) };
        let in_range = usize::try_from(workers).ok().filter(|workers| (1..=WORKERS_MAX).contains(workers));
        in_range.ok_or_else(|| problem(raw, format!("{workers} workers: write 1 to {WORKERS_MAX}")))
    }

    fn commit(&self, RawCommit { interval, min_interval, max_records }: RawCommit) -> Result<CommitSettings, Problem> {
        let checked = CommitSettings {
            interval: self.duration(interval.as_ref(), Duration::from_secs(1))?,
            min_interval: self.duration(min_interval.as_ref(), Duration::from_millis(25))?,
            max_records: self.number(max_records.as_ref())?.unwrap_or(100_000),
        };
        if checked.max_records == 0 {
            return Err(problem(max_records.as_ref(), "a commit takes at least 1 record"));
        }
        if checked.min_interval > checked.interval {
            return Err(problem(
                min_interval.as_ref().or(interval.as_ref()),
                "`min_interval` is longer than `interval`",
            ));
        }
        Ok(checked)
    }

    fn person_key(&self, RawPrivacy { person_key }: RawPrivacy) -> Result<Secret, Problem> {
        let key = person_key.as_ref().map(|raw| self.secret(raw, "key")).transpose()?;
        Ok(key.unwrap_or_else(|| Secret(PUBLIC_PERSON_KEY.to_owned())))
    }

    fn http(&self, RawHttp { listen, token }: RawHttp) -> Result<HttpSettings, Problem> {
        let token = token.as_ref().map(|raw| self.token(raw)).transpose()?;
        let checked = HttpSettings { listen: self.address(listen.as_ref())?, token };
        if checked.token.is_none() && !checked.listen.ip().is_loopback() {
            let message = format!("HTTP on {} is open to the network, so it needs `http.token`", checked.listen);
            return Err(problem(listen.as_ref(), message).help(format!(
                "{MAKE_A_SECRET} and write `token: ${{NAME}}` or `token: ${{file:/path}}`, or listen on 127.0.0.1"
            )));
        }
        Ok(checked)
    }

    /// A secret that travels in a header.
    fn token(&self, raw: &Text) -> Result<Secret, Problem> {
        let token = self.secret(raw, "token")?;
        if token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(token);
        }
        let message = "the token has characters beyond printable ASCII, or spaces: no header can carry it";
        Err(problem(Some(raw), message).help(MAKE_A_SECRET).hide_line())
    }

    fn secret(&self, raw: &Text, what: &str) -> Result<Secret, Problem> {
        let secret = self.surroundings.fill_in(raw).map_err(Problem::hide_line)?;
        if secret.len() >= SECRET_BYTES_MIN {
            return Ok(Secret(secret));
        }
        let message = format!("the {what} is shorter than {SECRET_BYTES_MIN} characters");
        Err(problem(Some(raw), message).help(MAKE_A_SECRET).hide_line())
    }

    fn log(&self, RawLog { format, level }: RawLog) -> Result<LogSettings, Problem> {
        Ok(LogSettings {
            format: self.choice(format.as_ref(), &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            level: (self.filled(level.as_ref(), "info")?.parse())
                .map_err(|error: LogFilterError| problem(level.as_ref(), error))?,
        })
    }

    fn address(&self, raw: Option<&Text>) -> Result<SocketAddr, Problem> {
        let text = self.text(raw, "127.0.0.1:8080")?;
        text.parse().map_err(|_| {
            problem(raw, format!("`{text}` is no address to listen on"))
                .help("write an IP address and a port, like 127.0.0.1:8080 or [::1]:8080")
        })
    }

    fn text(&self, raw: Option<&Text>, default: &str) -> Result<String, Problem> {
        raw.map_or(Ok(default.to_owned()), |raw| self.surroundings.fill_in(raw))
    }

    fn filled(&self, raw: Option<&Text>, default: &str) -> Result<String, Problem> {
        let text = self.text(raw, default)?;
        if text.trim().is_empty() { Err(problem(raw, "the value is empty")) } else { Ok(text) }
    }

    /// A text that becomes part of names on the broker.
    fn name(&self, raw: Option<&Text>, default: &str) -> Result<String, Problem> {
        let name = self.filled(raw, default)?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        if name.chars().all(known) {
            return Ok(name);
        }
        Err(problem(raw, format!("`{name}` has characters beyond letters, digits, `.`, `_`, `-` and `:`")))
    }

    fn number(&self, raw: Option<&Text>) -> Result<Option<u64>, Problem> {
        let Some(text) = raw.map(|raw| self.surroundings.fill_in(raw)).transpose()? else { return Ok(None) };
        u64::from_str(&text).map(Some).map_err(|_| problem(raw, format!("`{text}` is not a whole number, 0 or more")))
    }

    fn span(&self, raw: Option<&Text>, default: Span) -> Result<Span, Problem> {
        let Some(text) = raw.map(|raw| self.surroundings.fill_in(raw)).transpose()? else { return Ok(default) };
        parse_span(&text).map_err(|error| problem(raw, error.to_string()))
    }

    /// A length of time that is not zero.
    fn duration(&self, raw: Option<&Text>, default: Duration) -> Result<Duration, Problem> {
        let Some(raw) = raw else { return Ok(default) };
        let span = self.span(Some(raw), Span::ZERO)?;
        let millis = u64::try_from(span.millis()).ok().filter(|millis| *millis > 0);
        millis.map(Duration::from_millis).ok_or_else(|| problem(Some(raw), "it must be longer than 0"))
    }

    fn choice<T: Copy>(&self, raw: Option<&Text>, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = raw.map(|raw| self.surroundings.fill_in(raw)).transpose()? else { return Ok(None) };
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        chosen.map(Some).ok_or_else(|| {
            let known = choices.iter().map(|(name, _)| *name);
            problem(raw, format!("unknown value `{text}`")).help(suggest(&text, known, "choices"))
        })
    }
}

fn problem(raw: Option<&Text>, message: impl Display) -> Problem {
    Problem::new(raw.map_or(Place::START, Place::of), message.to_string())
}

/// A name that no other process has: two that share one would end each other's transactions.
fn instance_of_this_process() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{:016x}", xxh3_64(format!("{now} {} {host}", std::process::id()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use std::path::PathBuf;

    use super::*;
    use crate::settings::SettingsError;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        let variable = |name: &str| (name == "BROKERS").then(|| "a:1,b:2".to_owned());
        let surroundings = Surroundings::new(variable, |_| Err(io::ErrorKind::NotFound.into()));
        Settings::parse(text, Path::new("conf/tidemark.yaml"), &surroundings)
    }

    fn told(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn every_key_has_a_default() {
        let settings = parse("{}").unwrap();
        assert_eq!(settings.kafka.brokers, "localhost:9092");
        assert_eq!(settings.model, PathBuf::from("conf/models/default.yaml"));
        assert_eq!(settings.grace, Span::seconds(5));
        assert_eq!(settings.commit.min_interval, Duration::from_millis(25));
        assert!(settings.http.listen.ip().is_loopback());
        assert_eq!(settings.warnings().len(), 1, "the public key");
        assert_ne!(settings.kafka.instance, parse("{}").unwrap().kafka.instance);
    }

    #[test]
    fn the_reference_file_says_what_the_defaults_are() {
        let text = include_str!("../../config/tidemark.yaml");
        let (mut written, mut default) = (parse(text).unwrap(), parse("{}").unwrap());
        // One differs between any two processes, the other between machines.
        for settings in [&mut written, &mut default] {
            settings.kafka.instance.clear();
            settings.workers = 1;
        }
        assert_eq!(format!("{written:?}"), format!("{default:?}"));
    }

    #[test]
    fn values_come_from_file_and_environment() {
        let settings = parse(
            "kafka: { brokers: \"${BROKERS}\", instance: a-1, properties: { session.timeout.ms: 6000 } }\n\
             topics: { events: [web, crm] }\n\
             workers: ${WORKERS:-3}\n\
             model: /etc/m.yaml\n\
             commit: { interval: 2s, max_records: 10 }\n\
             http: { token: tokens-do-not-show }\n\
             privacy: { person_key: 0123456789abcdef }\n",
        )
        .unwrap();
        assert_eq!(settings.kafka.brokers, "a:1,b:2");
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.kafka.topics.inputs().0.len(), 3);
        assert_eq!(settings.model, PathBuf::from("/etc/m.yaml"));
        assert_eq!(settings.commit.interval, Duration::from_secs(2));
        assert!(settings.warnings().is_empty());
        for secret in ["0123456789abcdef", "tokens-do-not-show"] {
            assert!(!format!("{settings:?}").contains(secret), "{settings:?}");
        }
    }

    #[test]
    fn http_beyond_this_machine_demands_a_token() {
        for open in ["0.0.0.0:80", "[::]:80", "10.1.2.3:80"] {
            let told = told(&format!("http:\n  listen: \"{open}\""));
            assert!(told.contains(":2:11") && told.contains("needs `http.token`"), "{told}");
            assert!(told.contains("openssl rand -hex 16") && told.contains("${file:/path}"), "{told}");
            let with_token = parse(&format!("http: {{ listen: \"{open}\", token: 0123456789abcdef }}")).unwrap();
            assert_eq!(with_token.http.token, Some(Secret("0123456789abcdef".into())));
        }
        assert_eq!(parse("http: { listen: \"[::1]:80\" }").unwrap().http.token, None);
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        for text in [
            "kafka:\n  properties: { sasl.password: s3cret, sesion.timeout.ms: 1 }",
            "kafka:\n  properties: { ssl.key.password: s3cret, plugin.library.paths: s3cret }",
            "privacy: { person_key: s3cret }",
            "http: { token: s3cret }",
            "http: { token: s3cret with a space in it }",
            "http: { token: \"${s3cret!}\" }",
            "http: { Token: s3cret }",
            "http: { tokn: s3cret }",
            "privacy:\n  personkye: s3cret",
            "http:\n  token:\n    s3cret: x",
            "kafka: { sasl.password: s3cret }",
            "kafka:\n  properties:\n    sasl.password: pa${s3cret",
            "kafka:\n  properties:\n    sasl.username: s3cret${",
            "kafka:\n  properties:\n    sasl.password: *s3cret",
            "kafka:\n  properties:\n    sasl.password: @s3cret",
            "kafka:\n  properties:\n    sasl.password: s3cret\n    sasl.password: s3cret",
        ] {
            assert!(!told(text).contains("s3cret"), "{}", told(text));
        }
    }

    #[test]
    fn problems_show_line_and_remedy() {
        for (text, place, message) in [
            ("kafka:\n  borkers: x", ":2:3", "did you mean `brokers`?"),
            ("kafka:\n  brokers: ${NOWHERE}", ":2:12", "no variable `NOWHERE`"),
            ("kafka:\n  properties:\n    acks: 1", ":3:11", "exactly once"),
            ("kafka:\n  properties:\n    sesion.timeout.ms: 1", ":3:24", "sesion.timeout.ms"),
            ("kafka: { group_id: a b }", ":1:20", "characters beyond"),
            ("topics:\n  events: [a, a]", ":2:12", "`a` is named twice"),
            ("topics: { events: [] }", ":1:1", "no input topic"),
            ("workers: 0", ":1:10", "1 to 1024"),
            ("workers: many", ":1:10", "not a whole number"),
            ("start_from: erliest", ":1:13", "did you mean `earliest`?"),
            ("time: { grace: 5 }", ":1:16", "is not a duration"),
            ("state: { checkpoint_interval: 0s }", ":1:31", "longer than 0"),
            ("commit: { interval: 1ms }", ":1:21", "longer than `interval`"),
            ("http: { listen: 8080 }", ":1:17", "like 127.0.0.1:8080"),
            ("http: { token: short }", ":1:16", "shorter than 16"),
            ("http: { token: 0123456789abcdé }", ":1:16", "printable ASCII"),
            ("http: { token: \"${NOWHERE}\" }", ":1:16", "no variable `NOWHERE`"),
            ("privacy: { person_key: short }", ":1:24", "openssl rand"),
            ("log: { level: warning }", ":1:15", "error, warn, info"),
            ("log: { level: \"\" }", ":1:15", "the value is empty"),
        ] {
            let told = told(text);
            assert!(told.contains(message) && told.contains(place), "{text:?} gave\n{told}");
        }
    }
}
