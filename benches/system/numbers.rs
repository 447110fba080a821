//! Numbers for a person.

use indicatif::HumanCount;

/// One value as it is; of several their median, least and most.
pub fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => String::new(),
        [value] => format!("{:>14}", number(*value)),
        [least, .., most] => {
            format!("{:>14}  ({} to {})", number(median(&values)), number(*least), number(*most))
        }
    }
}

/// The middle one of some values.
///
/// # Panics
/// If there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Large numbers whole, small ones with some decimals.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => HumanCount(value.round() as u64).to_string(),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
