//! Cases about what of a message survives on its way through a broker.

use std::collections::BTreeMap;

use bytes::Bytes;
use sluice_message::{Headers, Message, Topic};

use super::{Subject, message, open, open_driver, publish_message, step, topic};
use crate::{BrokerDriver, HeaderSupport, StartAt};

pub async fn every_part_of_a_message_survives_the_round_trip(subject: &dyn Subject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let sent = [
        Message::builder().payload(every_byte.clone()).build(),
        Message::builder().payload("").build(),
        Message::builder().payload("made earlier").timestamp_ms(1_700_000_000_123).build(),
        Message::builder().payload("keyed").key(every_byte).build(),
        Message::builder().payload("key of no bytes").key("").build(),
        Message::builder().key("deleted").build(),
    ];
    let driver = open_driver(subject).await;
    let capabilities = driver.capabilities();
    let topic = topic(subject, "round-trip").await;
    for (sent, found) in sent.iter().zip(round_trip(&*driver, &topic, &sent).await) {
        assert_eq!(found.payload(), sent.payload());
        if capabilities.keys {
            assert_eq!(found.key(), sent.key());
        }
        if capabilities.tombstones {
            assert_eq!(found.payload_bytes(), sent.payload_bytes(), "a tombstone is not an empty payload");
        }
    }
}

pub async fn headers_survive_as_claimed(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let (topic, claimed) = (topic(subject, "headers").await, driver.capabilities().headers);
    let text = [("trace", "one"), ("Accept", "größer ✓"), ("empty", ""), ("trace", "two, and three")];
    let headers: Headers = text.map(|(name, value)| (name, value.to_owned())).into_iter().collect();
    let found = headers_of_one(&*driver, &topic, headers.clone()).await;
    match claimed {
        HeaderSupport::None => assert!(found.is_empty(), "{found:?}"),
        HeaderSupport::Repeated => assert_eq!(found, headers),
        HeaderSupport::Joined => {
            let mut expected: BTreeMap<&str, &str> = text.into_iter().collect();
            expected.insert("trace", "one, two, and three");
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (name, value) in expected {
                assert_eq!(found.get(name).map(Bytes::as_ref), Some(value.as_bytes()), "{name}");
            }
        }
    }
    let bytes: Headers = [("bytes", (0..=255).collect::<Vec<u8>>())].into_iter().collect();
    if claimed == HeaderSupport::Repeated && !subject.has_text_headers() {
        return assert_eq!(headers_of_one(&*driver, &topic, bytes.clone()).await, bytes);
    }
    // Where they are text, such a message is taken or refused for good, and harms no other.
    let strange = Message::builder().payload("strange").headers(bytes).build();
    let published = step("publish a header that is no text", driver.publish(&topic, strange)).await;
    assert!(published.as_ref().err().is_none_or(|error| !error.retryable()), "{published:?}");
    publish_message(&*driver, &topic, message("another")).await;
}

pub async fn the_content_type_survives(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "content-type").await;
    let headers: Headers = [("content-type", "application/cloudevents+json; charset=utf-8")]
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .collect();
    let found = headers_of_one(&*driver, &topic, headers.clone()).await;
    if driver.capabilities().headers != HeaderSupport::None {
        assert_eq!(found, headers);
    }
}

async fn headers_of_one(driver: &dyn BrokerDriver, topic: &Topic, headers: Headers) -> Headers {
    let sent = Message::builder().payload("with headers").headers(headers).build();
    round_trip(driver, topic, &[sent]).await[0].headers().clone()
}

/// The same messages as a reader gets them.
async fn round_trip(driver: &dyn BrokerDriver, topic: &Topic, sent: &[Message]) -> Vec<Message> {
    let mut reader = open(driver, &[topic], StartAt::Latest).await;
    for message in sent {
        publish_message(driver, topic, message.clone()).await;
    }
    reader.messages(sent.len()).await
}
