//! What an audit tells: as text for a person, as JSON for a program.

use std::fmt;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::{
    findings::{Difference, Findings, Kind, subject},
    partition::{Counts, Outcome},
};
use crate::wire::time::format_rfc3339;

/// What came of all partitions.
pub struct Report {
    pub outcomes: Vec<Outcome>,
    /// Those of all partitions.
    pub findings: Findings,
}

impl Report {
    /// Joins what came of the partitions.
    pub fn new(mut findings: Findings, outcomes: Vec<Outcome>) -> Self {
        outcomes.iter().for_each(|outcome| findings.merge(outcome.findings.clone()));
        Self { outcomes, findings }
    }

    /// Whether some partition could not be audited.
    pub fn is_refused(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.refused.is_some())
    }

    /// Whether everything was audited and nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_clean() && !self.is_refused()
    }

    /// All of it for programs. Fields may be added, never changed.
    pub fn json(&self) -> Value {
        let accounts: Vec<Value> = self.findings.accounts.iter().map(account_json).collect();
        let counts = Kind::ALL.iter().map(|kind| (kind.name().to_owned(), self.findings.counts[*kind as usize].into()));
        json!({
            "clean": self.is_clean(),
            "partitions": self.outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
            "differences": counts.collect::<serde_json::Map<_, _>>(),
            "not_told": self.findings.untold,
            "accounts": accounts,
        })
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let Counts { records, changes, standings, dead_letters, pending, out_of_step_max } = outcome.counts;
    json!({
        "partition": outcome.partition,
        "clean": outcome.refused.is_none() && outcome.findings.is_clean(),
        "refused": outcome.refused,
        "notes": outcome.notes,
        "records": records,
        "changes": changes,
        "standings": standings,
        "dead_letters": dead_letters,
        "pending": pending,
        "out_of_step_max": out_of_step_max,
        "falls_due_until": outcome.due.filter(|due| due.is_representable()).map(format_rfc3339),
    })
}

fn account_json((account, differences): (&String, &Vec<Difference>)) -> Value {
    let told = differences.iter().map(|difference| {
        json!({
            "kind": difference.kind.name(),
            "what": subject(difference.topic),
            "partition": difference.partition,
            "offset": difference.offset,
            "sequence": difference.sequence,
            "effective_at": difference.effective_at.map(format_rfc3339),
            "detail": difference.detail,
        })
    });
    json!({ "account": account, "differences": told.collect::<Vec<_>>() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PARTITION    RECORDS    CHANGES  STANDINGS  DEAD LETTERS  PENDING  VERDICT")?;
        for outcome in &self.outcomes {
            let Counts { records, changes, standings, dead_letters, pending, .. } = outcome.counts;
            let [records, changes, standings] = [records, changes, standings].map(|n| HumanCount(n).to_string());
            let [letters, pending] = [dead_letters, pending].map(|n| HumanCount(n).to_string());
            let (partition, verdict) = (outcome.partition, verdict(outcome));
            writeln!(
                f,
                "{partition:<9} {records:>10} {changes:>10} {standings:>10} {letters:>13} {pending:>8}  {verdict}"
            )?;
        }
        for outcome in &self.outcomes {
            let refused = outcome.refused.iter().map(|reason| ("not audited", reason));
            for (kind, text) in refused.chain(outcome.notes.iter().map(|note| ("note", note))) {
                writeln!(f, "\npartition {}, {kind}: {text}", outcome.partition)?;
            }
        }
        for (account, differences) in &self.findings.accounts {
            writeln!(f, "\n{account}")?;
            for difference in differences {
                writeln!(f, "  {difference}")?;
            }
        }
        self.write_sum(f)
    }
}

impl Report {
    fn write_sum(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Kind::ALL.iter().map(|kind| (kind.name(), self.findings.counts[*kind as usize]));
        let found: Vec<String> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{} {name}", HumanCount(count)))
            .collect();
        if self.findings.untold > 0 {
            writeln!(f, "\n{} more differences are not told: raise --limit", HumanCount(self.findings.untold))?;
        }
        match (found.is_empty(), self.is_refused()) {
            (true, false) => write!(f, "\nclean: what is published is what the inputs imply"),
            (true, true) => write!(f, "\nno differences in what could be audited"),
            (false, _) => write!(f, "\ndifferences: {}", found.join(", ")),
        }
    }
}

fn verdict(outcome: &Outcome) -> String {
    match (&outcome.refused, outcome.findings.counts.iter().sum::<u64>()) {
        (Some(_), _) => "not audited".to_owned(),
        (None, 0) => "clean".to_owned(),
        (None, 1) => "1 difference".to_owned(),
        (None, count) => format!("{} differences", HumanCount(count)),
    }
}
