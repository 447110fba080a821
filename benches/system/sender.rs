//! Events on their way into Kafka: compressed batches, of all partitions in one request.
//!
//! A sender shares its cores with what is measured, and should cost little. The client library's producer sends a request
//! for each partition, and took two thirds of the time that the whole service takes for an event.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ptr,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
    records::{self, Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use rdkafka::bindings::rd_kafka_msg_partitioner_murmur2;

use crate::{support::kafka::Broker, traffic::Written};

/// The newest form of a request that names its topics.
const VERSION: i16 = 12;
/// The broker answers when the records are in its log, on all replicas.
const ALL_REPLICAS: i16 = -1;
/// For the broker to take a request, and to answer it.
const LIMIT: Duration = Duration::from_secs(120);
/// A batch of so many bytes, before they are compressed, is sent.
const BATCH_BYTES: usize = 1_000_000;
/// Memory for text is had in pieces of this size. Next to each other, records are written a quarter faster.
const TEXT_BYTES: usize = 128 << 10;
/// Requests that wait for those before them to be answered; who sends more than that waits as well. More than two
/// seconds of those that are sent every five milliseconds.
const WAITING_MAX: usize = 500;

/// A producer for one topic. Requests are sent in order, and nothing is sent twice.
pub struct Sender {
    topic: TopicName,
    /// One for each partition.
    batches: Vec<Batch>,
    requests: SyncSender<Bytes>,
    connection: JoinHandle<()>,
}

/// What is to be sent to a partition.
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    /// Room for keys and values.
    text: BytesMut,
}

impl Sender {
    /// A sender to a topic of so many partitions.
    pub fn new(broker: &Broker, topic: &str, partitions: i32) -> Self {
        let stream = TcpStream::connect(broker.bootstrap()).expect("the broker accepts a connection");
        stream.set_nodelay(true).expect("an option of every connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a time above zero");
        stream.set_write_timeout(Some(LIMIT)).expect("a time above zero");
        let (requests, waiting) = mpsc::sync_channel(WAITING_MAX);
        Self {
            topic: TopicName(StrBytes::from_string(topic.to_owned())),
            batches: (0..partitions).map(|_| Batch::new()).collect(),
            requests,
            connection: thread::spawn(move || exchange(stream, &waiting)),
        }
    }

    /// Takes an event, which is sent with those that come soon after it.
    pub fn send(&mut self, event: &Written<'_>) {
        let partition = partition(event.key, self.batches.len());
        let batch = &mut self.batches[partition];
        batch.push(event);
        if batch.bytes >= BATCH_BYTES {
            self.dispatch();
        }
    }

    /// Sends all that was taken.
    pub fn dispatch(&mut self) {
        let batches = self.batches.iter_mut().enumerate().filter(|(_, batch)| !batch.records.is_empty());
        let data: Vec<_> = batches
            .map(|(partition, batch)| {
                PartitionProduceData::default().with_index(partition as i32).with_records(Some(batch.take()))
            })
            .collect();
        if !data.is_empty() {
            let data = TopicProduceData::default().with_name(self.topic.clone()).with_partition_data(data);
            self.requests.send(request(data)).expect("the connection lives as long as there may be something to send");
        }
    }

    /// Returns when the broker has everything.
    pub fn finish(mut self) {
        self.dispatch();
        drop(self.requests);
        self.connection.join().expect("the broker takes the events");
    }
}

impl Batch {
    fn new() -> Self {
        Self { records: Vec::new(), bytes: 0, text: BytesMut::with_capacity(TEXT_BYTES) }
    }

    fn push(&mut self, event: &Written<'_>) {
        self.bytes += event.key.len() + event.value.len();
        let [key, value] = [event.key, event.value].map(|text| {
            self.text.extend_from_slice(text);
            self.text.split().freeze()
        });
        let offset = self.records.len() as i64;
        self.records.push(Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: records::NO_PARTITION_LEADER_EPOCH,
            producer_id: records::NO_PRODUCER_ID,
            producer_epoch: records::NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset,
            // The library makes a batch of what is numbered throughout, although nobody looks at these numbers.
            sequence: records::NO_SEQUENCE + offset as i32,
            timestamp: event.time.millis(),
            key: Some(key),
            value: Some(value),
            headers: Default::default(),
        });
    }

    /// All that is in it, as it goes to the log.
    fn take(&mut self) -> Bytes {
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::Lz4 };
        RecordBatchEncoder::encode_with_custom_compression(&mut encoded, &self.records, &options, Some(compress))
            .expect("records can be written");
        self.records.clear();
        self.bytes = 0;
        encoded.freeze()
    }
}

/// Blocks of 64 KiB that do not refer to each other, as every client of Kafka writes them, and soon: the library would
/// look for what is a little shorter.
fn compress(records: &mut BytesMut, into: &mut BytesMut, _: Compression) -> anyhow::Result<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, into.writer());
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

/// Where the events of a key go, for every client of Kafka.
#[expect(unsafe_code, reason = "the function of the client library is only to be had from C")]
fn partition(key: &[u8], partitions: usize) -> usize {
    // SAFETY: it reads the key, which it gets with its length, and nothing of what is not given.
    let partition = unsafe {
        rd_kafka_msg_partitioner_murmur2(
            ptr::null(),
            key.as_ptr().cast(),
            key.len(),
            partitions as i32,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    partition as usize
}

/// The bytes of a request, their number in front of them.
fn request(data: TopicProduceData) -> Bytes {
    let header =
        RequestHeader::default().with_request_api_key(ApiKey::Produce as i16).with_request_api_version(VERSION);
    let request = ProduceRequest::default()
        .with_acks(ALL_REPLICAS)
        .with_timeout_ms(LIMIT.as_millis() as i32)
        .with_topic_data(vec![data]);
    let mut bytes = BytesMut::from([0; size_of::<u32>()].as_slice());
    header.encode(&mut bytes, ProduceRequest::header_version(VERSION)).expect("a header can be written");
    request.encode(&mut bytes, VERSION).expect("a request can be written");
    let length = (bytes.len() - size_of::<u32>()) as u32;
    bytes[..size_of::<u32>()].copy_from_slice(&length.to_be_bytes());
    bytes.freeze()
}

/// Sends one request after the other, and looks at what the broker says to it.
fn exchange(mut stream: TcpStream, requests: &Receiver<Bytes>) {
    for request in requests {
        stream.write_all(&request).expect("the broker reads requests");
        let response = response(&mut stream).expect("the broker answers");
        for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            assert_eq!(partition.error_code, 0, "not taken into partition {}: {partition:?}", partition.index);
        }
    }
}

fn response(stream: &mut TcpStream) -> io::Result<ProduceResponse> {
    let mut length = [0; size_of::<u32>()];
    stream.read_exact(&mut length)?;
    let mut bytes = BytesMut::zeroed(u32::from_be_bytes(length) as usize);
    stream.read_exact(&mut bytes)?;
    let mut bytes = bytes.freeze();
    ResponseHeader::decode(&mut bytes, ProduceResponse::header_version(VERSION)).map_err(io::Error::other)?;
    ProduceResponse::decode(&mut bytes, VERSION).map_err(io::Error::other)
}
