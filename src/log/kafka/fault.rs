//! What errors of the client library mean for a worker.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};

use super::native::Fault;
use crate::log::LogError;

/// Between two attempts at a question that met a passing error.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What to make of an error that a consumer reports on its own; nothing if the library deals with
/// it and delivery goes on without a gap.
pub(super) fn of_consumer(fault: &Fault) -> Option<LogError> {
    let Fault { code, fatal, place, text } = fault;
    let subject = match place {
        Some(place) => format!("reading `{}` partition {}", place.topic, place.partition),
        None => "reading".into(),
    };
    if *fatal {
        return Some(LogError::Refused(format!(
            "{subject}: the Kafka client cannot go on ({text}); restart the process"
        )));
    }
    match code {
        Code::AutoOffsetReset | Code::LogTruncation => Some(out_of_range(fault)),
        code if is_denial(*code) => Some(denied(&format!("{subject}: {text}"))),
        Code::InconsistentGroupProtocol | Code::InvalidSessionTimeout | Code::InvalidGroupId => {
            Some(LogError::Refused(format!(
                "joining the group: {text}; every member must be a Tidemark of the same settings, and the broker must \
                 allow the session timeout"
            )))
        }
        // The library skips the batch, so going on would lose records.
        Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::MessageSizeTooLarge => {
            Some(LogError::Refused(format!(
                "{subject}: records at offset {} cannot be read ({text}); nothing was skipped: restart \
                 with a build and settings that can read them, or have them removed from the topic",
                place.as_ref().map_or(-1, |place| place.offset)
            )))
        }
        // The library reconnects, rejoins and asks again by itself.
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::PollExceeded
        | Code::Authentication
        | Code::SSL => None,
        _ if place.is_some() => {
            Some(LogError::Passing(format!("{subject}: {text}; the partitions are restored and read again")))
        }
        _ => None,
    }
}

fn out_of_range(Fault { place, text, .. }: &Fault) -> LogError {
    let Some(place) = place else {
        return LogError::Refused(format!("an offset to read from is not in the log ({text})"));
    };
    LogError::Refused(format!(
        "`{}` partition {} has no offset {} any more, or not yet ({text}): records were deleted before they were \
         read, or the topic was recreated. Going on would lose them in silence. Restore the topic, or reset the \
         group's offsets and delete the state topic to start afresh",
        place.topic, place.partition, place.offset
    ))
}

/// Whether the cluster denies a right. Asking again does not help: the same would be denied after every restore.
pub(super) fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// What was denied, for a person.
pub(super) fn denied(text: &str) -> LogError {
    LogError::Refused(format!("{text}; grant the rights and restart"))
}

/// Whether asking again may help.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::RequestTimedOut
                | Code::Resolve
                | Code::WaitingForCoordinator
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::OffsetNotAvailable
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::ReplicaNotAvailable
                | Code::KafkaStorageError
                | Code::UnstableOffsetCommit
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::NetworkException
        )
    )
}

/// Asks until there is an answer, a lasting error, or no time left; `ask` gets the time left.
pub(super) fn insist<T>(
    what: impl Fn() -> String,
    within: Duration,
    mut ask: impl FnMut(Duration) -> KafkaResult<T>,
) -> Result<T, LogError> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match ask(left) {
            Ok(answer) => return Ok(answer),
            Err(error) if is_passing(&error) && left > RETRY_AFTER => thread::sleep(RETRY_AFTER),
            Err(error) => return Err(LogError::Passing(format!("{}: {error}", what()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::native::Place;
    use super::*;

    fn fault(code: Code, fatal: bool, placed: bool) -> Fault {
        let place = placed.then(|| Place { topic: "events".into(), partition: 3, offset: 41 });
        Fault { code, fatal, place, text: "because".into() }
    }

    #[test]
    fn an_offset_that_is_gone_names_its_place() {
        match of_consumer(&fault(Code::AutoOffsetReset, false, true)) {
            Some(LogError::Refused(text)) => {
                assert!(text.contains("`events` partition 3") && text.contains("offset 41"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_outage_is_left_to_the_library() {
        for code in [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::PollExceeded] {
            assert!(of_consumer(&fault(code, false, false)).is_none(), "{code:?}");
        }
    }

    #[test]
    fn no_record_is_skipped_in_silence() {
        for code in [Code::BadMessage, Code::BadCompression] {
            assert!(matches!(of_consumer(&fault(code, false, true)), Some(LogError::Refused(_))), "{code:?}");
        }
        assert!(matches!(of_consumer(&fault(Code::Unknown, false, true)), Some(LogError::Passing(_))));
        assert!(matches!(of_consumer(&fault(Code::Unknown, true, false)), Some(LogError::Refused(_))));
    }

    #[test]
    fn a_question_is_repeated_until_it_is_answered() {
        let mut asked = 0;
        let answer = insist(
            || "asking".into(),
            Duration::from_secs(5),
            |_| {
                asked += 1;
                if asked < 3 { Err(KafkaError::MetadataFetch(Code::NotCoordinator)) } else { Ok(asked) }
            },
        );
        assert_eq!(answer.unwrap(), 3);
        let lasting: Result<(), _> = insist(
            || "asking".into(),
            Duration::from_secs(5),
            |_| Err(KafkaError::MetadataFetch(Code::TopicAuthorizationFailed)),
        );
        assert!(matches!(lasting, Err(LogError::Passing(text)) if text.starts_with("asking: ")));
    }
}
