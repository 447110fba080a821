//! Whether what was published is what the log implies: `tidemark audit` says so. A scenario without a log compares
//! otherwise.

use serde::Serialize;

use crate::{options::Options, stage::Stage};

/// What became of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Whether the output was compared with what it should be.
    checked: bool,
    /// Why the figures must not be quoted.
    void: Vec<String>,
    /// What a reader of the figures should know.
    remarks: Vec<String>,
}

impl Verdict {
    /// On output that is compared: nothing was found so far.
    pub fn of_comparison() -> Self {
        Self { checked: true, ..Self::default() }
    }

    /// In a word.
    pub fn name(&self) -> &'static str {
        match (self.is_void(), self.checked) {
            (true, _) => "VOID",
            (false, false) => "UNCHECKED",
            (false, true) => "clean",
        }
    }

    /// Whether the figures must not be quoted.
    pub fn is_void(&self) -> bool {
        !self.void.is_empty()
    }

    /// The output is wrong.
    pub fn wrong(&mut self, why: String) {
        self.void.push(why);
    }

    /// The conditions were not those that were asked for. Quick runs are only to show that everything
    /// works: they do not fail because the machine is slow.
    pub fn unsteady(&mut self, options: &Options, why: String) {
        if options.quick { self.remarks.push(why) } else { self.void.push(why) }
    }

    /// What a reader of the figures should know.
    pub fn remark(&mut self, what: String) {
        self.remarks.push(what);
    }

    /// Every reason and remark.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.void.iter().chain(&self.remarks)
    }
}

/// Compares all that the service has published; it must have stopped. `arguments` are for the audit.
pub fn judge(stage: &Stage, options: &Options, arguments: &[&str]) -> Verdict {
    if options.no_oracle {
        return Verdict::default();
    }
    let audited = stage.deployment.audit(&[&["--limit", "3"], arguments].concat());
    let mut verdict = Verdict::of_comparison();
    if audited.code != Some(0) {
        verdict.wrong(format!("{}{}", audited.report, audited.errors));
    }
    verdict
}
