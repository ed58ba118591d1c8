//! Between our messages and Kafka's records.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use sluice_message::{Headers, Message, Offset, Partition, Place, Topic};
use tracing::warn;

/// The names of topics that a reader has met, so that its messages share them. There are no more of them than it reads.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Vec<Topic>>);

impl Names {
    fn of(&self, name: &str) -> Topic {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match met.binary_search_by(|topic| topic.as_str().cmp(name)) {
            Ok(at) => met[at].clone(),
            Err(at) => {
                met.insert(at, name.into());
                met[at].clone()
            }
        }
    }
}

/// The message of a record; payload, key and header values are copied once.
pub(crate) fn message(record: &BorrowedMessage<'_>, names: &Names) -> Message {
    let topic = names.of(record.topic());
    let partition = partition_of(record.partition());
    // Never negative for a record that was fetched.
    let offset = Offset(u64::try_from(record.offset()).unwrap_or_default());
    let mut message = Message::builder().place(Place { topic, partition, offset });
    if let Some(payload) = record.payload() {
        message = message.payload(Bytes::copy_from_slice(payload));
    }
    if let Some(key) = record.key() {
        message = message.key(Bytes::copy_from_slice(key));
    }
    if let Some(time) = record.timestamp().to_millis() {
        message = message.timestamp_ms(time);
    }
    message.headers(headers(record)).build()
}

/// The headers of a record; a header without a value gets an empty one.
fn headers(record: &BorrowedMessage<'_>) -> Headers {
    let mut headers = Headers::new();
    let Some(written) = record.headers() else { return headers };
    for index in 0..written.count() {
        // rdkafka panics on a name that is not UTF-8, and any publisher can write one. So no profile may
        // abort on panic.
        match catch_unwind(AssertUnwindSafe(|| written.try_get(index))) {
            Ok(Some(Header { key, value })) => {
                headers.append(key, value.map(Bytes::copy_from_slice).unwrap_or_default());
            }
            Ok(None) => {}
            Err(_) => warn!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                header = index,
                "A header was left out, because its name is not UTF-8."
            ),
        }
    }
    headers
}

/// Headers as librdkafka takes them; `None` where there are none.
pub(crate) fn record_headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let mut record = OwnedHeaders::new_with_capacity(headers.len());
    for header in headers {
        record = record.insert(Header { key: &header.name, value: Some(&*header.value) });
    }
    Some(record)
}

/// Kafka numbers partitions from 0; negative numbers are librdkafka's own and never on a record.
pub(crate) fn partition_of(number: i32) -> Partition {
    Partition(u32::try_from(number).unwrap_or_default())
}
