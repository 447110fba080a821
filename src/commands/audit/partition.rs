//! Partition after partition: what is asked, and what came of it.

use std::sync::Arc;

use super::{
    alone::Alone,
    changes::Published,
    findings::Findings,
    ledger::Ledger,
    pass::{Foreign, Pass, Passed},
    plan::{CHANGES, Plan},
    recompute::Rules,
};
use crate::{
    log::{
        LogError, OutputTopic, Partition,
        kafka::{KafkaConfig, Outside, Scan, Topics},
    },
    model::{Model, Span, Timestamp},
    wire::time::format_rfc3339,
};

/// What is asked of an audit.
#[derive(Clone, Debug)]
pub struct Question {
    /// Differences that take effect earlier are not reported.
    pub from: Timestamp,
    /// What takes effect later is not looked at.
    pub until: Option<Timestamp>,
    /// How long a service that runs may take to publish a fall that is due.
    pub settle: Span,
    /// Accounts that are told of.
    pub accounts_told: usize,
}

/// What came of one partition.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub partition: i32,
    /// Why it could not be audited.
    pub refused: Option<String>,
    /// What limits what was looked at, and what may explain what was found.
    pub notes: Vec<String>,
    pub findings: Findings,
    pub counts: Counts,
    /// Falls up to here had to be there.
    pub due: Option<Timestamp>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records of the inputs.
    pub records: u64,
    /// Published changes that were compared with what the inputs imply.
    pub changes: u64,
    /// Accounts whose standings, or the lack of them, are as they must be.
    pub standings: u64,
    pub dead_letters: u64,
    /// Changes that are implied but need not be there yet.
    pub pending: u64,
    /// The most changes that were in memory at a time, until what they are compared with came.
    pub out_of_step_max: u64,
}

/// Audits partition after partition, with the same clients.
pub struct Auditor {
    topics: Topics,
    outside: Outside,
    model: Arc<Model>,
    rules: Rules,
    question: Question,
    readers: Readers,
}

/// One reader for every topic.
pub struct Readers {
    pub inputs: Vec<Scan>,
    pub changes: [Scan; 2],
    pub standings: Scan,
    pub letters: Scan,
}

impl Readers {
    fn open(config: &KafkaConfig) -> Result<Self, LogError> {
        let topics = &config.topics;
        let output = |topic: OutputTopic, role| Scan::open(config, topics.output(topic), role);
        let inputs = topics.inputs().ids();
        let inputs = inputs.map(|id| Scan::open(config, topics.inputs().name(id), &format!("input-{}", id.0)));
        Ok(Self {
            inputs: inputs.collect::<Result<_, _>>()?,
            changes: [output(CHANGES[0], "tiers")?, output(CHANGES[1], "segments")?],
            standings: output(OutputTopic::Standings, "standings")?,
            letters: output(OutputTopic::DeadLetters, "letters")?,
        })
    }
}

impl Auditor {
    /// Clients for all topics; nothing is read yet.
    pub fn new(
        config: Arc<KafkaConfig>,
        model: Arc<Model>,
        rules: Rules,
        question: Question,
    ) -> Result<Self, LogError> {
        let (topics, readers) = (config.topics.clone(), Readers::open(&config)?);
        Ok(Self { topics, outside: Outside::new(config)?, model, rules, question, readers })
    }

    /// Audits one partition, from the start of its topics.
    pub fn audit(&mut self, partition: Partition) -> Result<Outcome, LogError> {
        let Self { topics, outside, model, rules, question, readers } = self;
        let plan = Plan::new(outside, topics, partition)?;
        let findings = Findings::new(question.accounts_told, question.from);
        if let Some(reason) = plan.refusal(topics) {
            return alone(readers, &plan, question, reason);
        }
        let until = question.until.unwrap_or(Timestamp::LATEST);
        let ledger = Ledger::new(model.id().clone(), partition.0, until, findings);
        let pass = Pass::open(readers, &plan, topics, rules, model, question, ledger)?;
        let Passed { mut ledger, books, foreign, mut notes, late, records, due } = pass.run()?;
        if let Some(foreign) = foreign {
            return alone(readers, &plan, question, foreign.reason(&model.id().digest));
        }
        let dead_letters = books.compared;
        books.close(plan.letters.start.0 == 0, partition.0, topics.inputs(), &mut ledger.findings);
        read_standings(&mut readers.standings, &plan, &mut ledger)?;
        let (changes, pending, out_of_step_max) = (ledger.compared, ledger.pending, ledger.out_of_step_max as u64);
        let (findings, standings) = ledger.finish();
        if !findings.is_clean() {
            notes.extend(late.explanation(rules.grace));
        }
        let counts = Counts { records, changes, standings, dead_letters, pending, out_of_step_max };
        Ok(Outcome { partition: partition.0, refused: None, notes, findings, counts, due: Some(due) })
    }
}

/// Checks what can be checked without the inputs.
fn alone(readers: &mut Readers, plan: &Plan, question: &Question, reason: String) -> Result<Outcome, LogError> {
    let findings = Findings::new(question.accounts_told, question.from);
    let mut alone = Alone::new(plan.partition.0, question.until.unwrap_or(Timestamp::LATEST), findings);
    for (at, scan) in readers.changes.iter_mut().enumerate() {
        scan.start(plan.partition, plan.changes[at].clone())?;
        while let Some(record) = scan.read()? {
            let follows = record.offset < plan.standing_follows[at].0;
            // What cannot be read has no account to be followed.
            if let Ok(published) = Published::read(CHANGES[at], record.offset, follows, record.key, record.value) {
                alone.take(&published);
            }
        }
    }
    readers.standings.start(plan.partition, plan.standings.clone())?;
    while let Some(record) = readers.standings.read()? {
        let account = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        alone.state(&account, record.offset, record.value.as_deref());
    }
    let counts = Counts { changes: alone.changes, ..Counts::default() };
    let note = "of the changes only their order, doubles, the sequence of tiers, and the tiers of the standings were \
                checked";
    Ok(Outcome {
        partition: plan.partition.0,
        refused: Some(reason),
        notes: vec![note.to_owned()],
        findings: alone.finish(),
        counts,
        due: None,
    })
}

fn read_standings(scan: &mut Scan, plan: &Plan, ledger: &mut Ledger) -> Result<(), LogError> {
    scan.start(plan.partition, plan.standings.clone())?;
    while let Some(record) = scan.read()? {
        let account = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        ledger.state(&account, record.offset, record.value.as_deref());
    }
    Ok(())
}

impl Foreign {
    fn reason(&self, digest: &str) -> String {
        let Self { digest: other, topic, offset, effective_at } = self;
        let time = format_rfc3339(*effective_at);
        format!(
            "`{topic}` holds changes of another model: digest {other} at offset {offset}, in effect at {time}, where the \
             model has {digest}. A history under two models cannot be recomputed: audit what came before the model \
             changed, with `--model` that model and `--until` a time before"
        )
    }
}
