//! Finding the cluster again after all of its brokers were lost.

use std::{
    ffi::CString,
    time::{Duration, Instant},
};

use rdkafka::{ClientContext, client::Client, error::RDKafkaErrorCode};

use super::{
    config::KafkaConfig,
    native::{self, Fault},
};

/// How soon after the loss of all brokers a client knows some again, or says that those which it tries are lost
/// too: it tries them twenty times a second.
const FOUND_WITHIN: Duration = Duration::from_secs(1);

/// Sends a client back to the brokers of the configuration when it knows none any more.
///
/// The library does so by itself. But a broker that is shutting down may answer that there are no brokers; the
/// client forgets those that it knew, and the end of that same answer may call off its return to the configured
/// ones. Then it waits for good: <https://github.com/confluentinc/librdkafka/issues/5301>.
pub(super) struct Bootstrap {
    brokers: CString,
    lost_at: Option<Instant>,
}

impl Bootstrap {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        // The library refuses a zero byte, and with it the client.
        Self { brokers: CString::new(config.brokers.as_str()).unwrap_or_default(), lost_at: None }
    }

    /// Takes in an error that the client reports on its own, and says it in the log.
    pub(super) fn hear(&mut self, fault: &Fault) {
        self.note(fault.code);
        fault.tell();
    }

    /// Takes in the code of such an error.
    pub(super) fn note(&mut self, code: RDKafkaErrorCode) {
        if code == RDKafkaErrorCode::AllBrokersDown {
            self.lost_at = Some(Instant::now());
        }
    }

    /// Looks into a loss once there was time to get over it; to be called again and again.
    pub(super) fn serve<C: ClientContext>(&mut self, client: &Client<C>) {
        if self.lost_at.is_none_or(|at| at.elapsed() < FOUND_WITHIN) {
            return;
        }
        self.lost_at = None;
        if native::knows_no_broker(client) {
            tracing::info!(target: "kafka", "a client knows no broker any more: it asks those of the configuration");
            native::add_brokers(client, &self.brokers);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::{
        consumer::{BaseConsumer, Consumer},
        mocking::MockCluster,
    };

    use super::{
        super::{Properties, TopicNames, Topics, native::Callbacks},
        *,
    };

    const LIMIT: Duration = Duration::from_secs(30);
    const SLICE: Duration = Duration::from_millis(50);

    fn config(brokers: &str) -> KafkaConfig {
        KafkaConfig {
            brokers: brokers.into(),
            group: "tidemark".into(),
            instance: "a".into(),
            topics: Topics::try_from(TopicNames::default()).unwrap(),
            properties: Properties::new(BTreeMap::new()).unwrap(),
        }
    }

    /// Polls, as a member of the group does its observer, until the client knows a broker.
    fn finds_brokers(client: &BaseConsumer<Callbacks>, bootstrap: &mut Bootstrap) -> bool {
        let deadline = Instant::now() + LIMIT;
        while native::knows_no_broker(client.client()) && Instant::now() < deadline {
            if let Some(Err(error)) = client.poll(SLICE) {
                error.rdkafka_error_code().into_iter().for_each(|code| bootstrap.note(code));
            }
            bootstrap.serve(client.client());
        }
        !native::knows_no_broker(client.client())
    }

    #[test]
    fn a_client_that_knows_no_broker_is_sent_to_the_configured_ones() {
        let cluster = MockCluster::new(1).unwrap();
        // Nobody listens at the address that this client has, and it does not go back to any by itself.
        let mut elsewhere = config("127.0.0.1:1").observer(0);
        elsewhere.set("metadata.recovery.strategy", "none");
        let client: BaseConsumer<Callbacks> = elsewhere.create_with_context(Callbacks).unwrap();
        let mut bootstrap = Bootstrap::new(&config(&cluster.bootstrap_servers()));
        assert!(finds_brokers(&client, &mut bootstrap));
        assert!(client.fetch_metadata(None, LIMIT).is_ok());
    }
}
