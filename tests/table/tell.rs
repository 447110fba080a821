//! Changes and accounts in the words of the scenario tables.

use tidemark::{
    engine::{Engine, Step},
    model::{Cause, Change, FitScore, Op, Span, Timestamp, Transition},
    wire::time::format_span,
};

use super::start;

/// What a line has brought. The account is left out where it is the line's, the time where it is the
/// line's, the cause where it is an event.
pub fn tell_changes(step: &Step, account: Option<&str>, at: Timestamp) -> String {
    let mut told: Vec<String> = step.changes.iter().map(|change| tell_change(change, account, at)).collect();
    if step.stats.duplicates > 0 {
        told.push("duplicate".to_owned());
    }
    if step.stats.late > 0 {
        told.push("late".to_owned());
    }
    if step.stats.evicted > 0 {
        told.push(format!("{} forgotten", step.stats.evicted));
    }
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}

fn tell_change(change: &Change, account: Option<&str>, at: Timestamp) -> String {
    let mut words: Vec<String> = Vec::new();
    if account != Some(&*change.account) {
        words.push(change.account.to_string());
    }
    let tier = |tier: &Option<std::sync::Arc<str>>| tier.as_deref().unwrap_or("none").to_owned();
    let mut below = "below";
    match &change.transition {
        Transition::Tier { from, to, up } => {
            words.push(format!("{} -> {}", tier(from), tier(to)));
            if *up {
                below = "above";
            }
        }
        Transition::Segment { name, op: Op::Enter } => words.push(format!("enters {name}")),
        Transition::Segment { name, op: Op::Exit } => words.push(format!("leaves {name}")),
    }
    words.extend(change.mark.map(|mark| format!("{below} {mark}")));
    if change.effective_at != at {
        words.push(format!("@{}", offset(change.effective_at)));
    }
    if change.cause != Cause::Signal {
        words.push(format!("by {}", change.cause.name()));
    }
    words.join(" ")
}

/// What is known of an account. Points are rounded to a thousandth.
pub fn tell_account(engine: &Engine, account: &str, at: Timestamp) -> String {
    let Some(account) = engine.explain(account, at) else { return "unknown".to_owned() };
    let mut told = vec![account.tier.as_deref().unwrap_or("none").to_owned()];
    told.push(format!("intent {}", points(account.intent)));
    let signals = account.contributions.iter();
    told.extend(signals.map(|reason| format!("{} {} of {}", reason.signal, points(reason.points), reason.count)));
    told.extend(account.fit.map(tell_fit));
    told.extend(account.segments.iter().map(|segment| format!("in {}", segment.name)));
    told.extend(account.suppressed_by.map(|name| format!("suppressed by {name}")));
    told.extend(account.next_change_at.map(|at| format!("next @{}", offset(at))));
    told.join(", ")
}

fn tell_fit(fit: FitScore) -> String {
    let grade = fit.grade.map(|grade| format!(" {grade}")).unwrap_or_default();
    format!("fit {} of {}{grade}", points(fit.points), points(fit.coverage))
}

fn points(points: f64) -> String {
    let text = format!("{points:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn offset(at: Timestamp) -> String {
    let span = Span::from_millis(at - start()).expect("nothing happens before the start");
    format_span(span)
}
