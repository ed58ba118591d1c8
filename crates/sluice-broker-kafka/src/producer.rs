//! A producer: idempotent, waiting for all replicas, shared by all requests.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Message as _},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use sluice_message::{Message, Offset, Partition, Topic};
use tokio::sync::oneshot;

use crate::{
    cluster::Listener,
    detached::Detached,
    outbox::{Sent, UnderWay},
    record::{partition_of, record_headers},
};

/// Where the broker put a message, or why it did not.
pub(crate) type Delivery = Result<(Partition, Offset), KafkaError>;

/// A producer of librdkafka with its own thread for acknowledgements.
pub(crate) struct Producer {
    inner: Detached<ThreadedProducer<Listener>>,
    opened: Instant,
}

/// A message that librdkafka has.
pub(crate) struct Pending {
    told: oneshot::Sender<Delivery>,
    _under_way: UnderWay,
}

impl ProducerContext for Listener {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Self::DeliveryOpaque) {
        let delivery = match result {
            Ok(record) => {
                self.cluster.answered();
                let offset = u64::try_from(record.offset()).unwrap_or_default();
                Ok((partition_of(record.partition()), Offset(offset)))
            }
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody waits any more when the request was dropped meanwhile.
        let _ = pending.told.send(delivery);
    }
}

impl Producer {
    pub(crate) fn open(settings: &ClientConfig, listener: Listener) -> Result<Self, KafkaError> {
        let ends = listener.cluster.ends.clone();
        let inner = ThreadedProducer::from_config_and_context(settings, listener)?;
        Ok(Self { inner: Detached::new(inner, ends), opened: Instant::now() })
    }

    /// Hands a message to librdkafka, which copies it. Never waits: a full queue is an error.
    pub(crate) fn send(&self, topic: &Topic, message: &Message, under_way: UnderWay) -> Sent {
        let (told, receiver) = oneshot::channel();
        let pending = Box::new(Pending { told, _under_way: under_way });
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic.as_str(), pending);
        record.payload = message.payload_bytes().map(|payload| &**payload);
        record.key = message.key().map(|key| &**key);
        record.timestamp = message.timestamp_ms().filter(|time| *time > 0);
        record.headers = record_headers(message.headers());
        match self.inner.send(record) {
            Ok(()) => Ok(receiver),
            Err((error, _)) => Err(error),
        }
    }

    /// Why this producer can never publish again, if so.
    pub(crate) fn fatal_error(&self) -> Option<KafkaError> {
        self.inner.client().fatal_error().map(|(code, _)| KafkaError::MessageProduction(code))
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Asks the broker about a topic that librdkafka takes for missing. Blocks.
    pub(crate) fn topic_is_there_now(&self, topic: &Topic, timeout: Duration) -> bool {
        let answer = self.inner.client().fetch_metadata(Some(topic.as_str()), timeout);
        answer.is_ok_and(|answer| answer.topics().iter().all(|topic| topic.error().is_none()))
    }

    /// Waits until everything sent is settled. Blocks.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.inner.flush(timeout)
    }
}

/// Whether librdkafka remembers this topic as missing, rather than having just asked.
pub(crate) fn is_remembered_as_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
    )
}
