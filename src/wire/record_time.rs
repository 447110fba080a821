//! Which record times are taken.

use super::{
    dead_letter::{Fault, Rejected},
    time::format_rfc3339,
};
use crate::model::{Span, Timestamp};

/// How far ahead of the wall clock a record time may lie: what brokers since 4.0 allow.
const AHEAD_MAX: Span = Span::seconds(3600);

/// A record time sets the moment at which its account is judged; one from the future would freeze
/// the account until then. An error is for the dead letters.
pub fn check(time: Option<Timestamp>, wall: Timestamp) -> Result<(), Rejected> {
    let Some(time) = time else { return Ok(()) };
    if !time.is_representable() {
        let message = format!("the record time {} ms is before 1970 or after 2527", time.millis());
        return Err(Rejected::new(Fault::BadTime, "timestamp", message));
    }
    if time > wall + AHEAD_MAX {
        let message = format!(
            "the record time {} is more than an hour ahead of the clock: the producer's clock is wrong",
            format_rfc3339(time)
        );
        return Err(Rejected::new(Fault::FarFuture, "timestamp", message));
    }
    Ok(())
}
