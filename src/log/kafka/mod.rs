//! Apache Kafka through librdkafka.
//!
//! One worker has one [`KafkaLog`]: a member of the consumer group (`member`), a transactional
//! producer (`writer`), and readers of tables while it restores (`tables`). `config` is the one
//! place that sets client properties, `native` the one that is unsafe, `fault` says what the
//! library's errors mean, `complaint` why connections fail, `bootstrap` finds the cluster again, `scan`
//! reads topics from outside of the group, and `survey` compares the topics with what is needed, which
//! `rules` tell.

use std::{ops::Range, sync::Arc, time::Duration};

use rdkafka::error::KafkaError;

use self::{close::close_within, member::Member, writer::Writer};
use crate::log::{Committed, Fetched, InputId, Log, LogError, Offset, Partition, Table, Transaction, protocol};

mod bootstrap;
mod close;
mod complaint;
mod config;
mod fault;
mod member;
mod names;
#[expect(unsafe_code, reason = "calls the client library past its safe wrapper")]
mod native;
mod properties;
mod rules;
mod scan;
mod survey;
mod tables;
mod writer;

pub use self::{
    config::KafkaConfig,
    names::{NamesError, Role, TopicNames, Topics},
    properties::{Properties, PropertyError},
    scan::{Outside, Scan, Scanned},
    survey::{Creation, Finding, SurveyError, check_topics, create_topics},
    tables::KafkaTables,
};

/// What leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// One worker's share of Kafka.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    worker: usize,
    member: Member,
    writer: Writer,
}

impl KafkaLog {
    /// Connects worker number `worker` of this process and joins the group. Ends the transactions
    /// that an earlier run of the same instance left open.
    pub fn connect(config: Arc<KafkaConfig>, worker: usize) -> Result<Self, LogError> {
        let mut writer = Writer::new(config.clone(), worker);
        writer.prepare()?;
        let member = Member::join(&config, worker).map_err(|error| refused(&error))?;
        Ok(Self { config, worker, member, writer })
    }
}

fn refused(error: &KafkaError) -> LogError {
    LogError::Refused(format!("creating a Kafka client: {error}"))
}

impl Log for KafkaLog {
    type Reader = KafkaTables;

    fn poll(&mut self, wait: Duration, max: usize, handle: &mut dyn FnMut(Fetched<'_>)) -> Result<(), LogError> {
        self.writer.serve();
        self.member.poll(wait, max, handle)
    }

    fn committed(&mut self, partitions: &[Partition]) -> Result<Vec<Vec<Option<Committed>>>, LogError> {
        self.member.committed(partitions)
    }

    fn bounds(&mut self, input: InputId, partition: Partition) -> Result<Range<Offset>, LogError> {
        self.member.extent(self.config.topics.inputs().name(input), partition)
    }

    fn hold_more(&mut self, inputs: &[(InputId, Partition)]) -> Vec<Option<bool>> {
        self.member.hold_more(inputs)
    }

    fn start(&mut self, at: &[(InputId, Partition, Offset)]) -> Result<(), LogError> {
        self.member.start(at)
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.member.release()
    }

    fn pause(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        self.member.pause(inputs)
    }

    fn resume(&mut self, inputs: &[(InputId, Partition)]) -> Result<(), LogError> {
        self.member.resume(inputs)
    }

    fn tables(&mut self, partition: Partition, state_from: Offset) -> Result<KafkaTables, LogError> {
        let extent = |table| self.member.extent(self.config.topics.table(table), partition);
        let (state, standings) = (extent(Table::State)?, extent(Table::Standings)?);
        self.writer.note_state_end(partition, state.end);
        let state = state_from.clamp(state.start, state.end)..state.end;
        let extents = [(Table::State, state), (Table::Standings, standings)];
        KafkaTables::open(&self.config, self.worker, partition, extents).map_err(|error| refused(&error))
    }

    fn state_end(&self, partition: Partition) -> Offset {
        self.writer.state_end(partition)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), LogError> {
        protocol::check_fenced(&transaction)?;
        self.writer.commit(&transaction, &self.member)
    }

    fn lag(&self, input: InputId, partition: Partition) -> Option<u64> {
        self.member.lag(input, partition)
    }

    fn close(self) {
        close_within("consumer", self.member.into_clients(), CLOSE_WITHIN);
        if let Some(producer) = self.writer.into_client() {
            close_within("producer", producer, CLOSE_WITHIN);
        }
    }
}
