//! Dead letters: a message as it was, with what is known of its failure in headers of its own; and the way back.
//!
//! The headers come on top, so a letter may be larger than its broker takes. Then it has less in it: see [`Extent`].

use bytes::Bytes;
use sluice_api::Subscription;
use sluice_message::{Headers, Message, Offset, Partition, Place, Topic};

use crate::{Failure, clock::now_ms};

const API: &str = "sluice-dlq-api";
const SUBSCRIPTION: &str = "sluice-dlq-subscription";
const CAUSE: &str = "sluice-dlq-cause";
const PAYLOAD: &str = "sluice-dlq-payload";
const TOPIC: &str = "sluice-dlq-topic";
const PARTITION: &str = "sluice-dlq-partition";
const OFFSET: &str = "sluice-dlq-offset";

/// What [`PAYLOAD`] says where the message is not in its letter.
const LEFT_OUT: &str = "left-out";

/// Bytes of a cause that a letter tells. A policy may make up a cause of any length.
const CAUSE_BYTES: usize = 1024;

/// All headers that a letter may have beside those of its message.
const OWN: [&str; 12] = [
    API,
    SUBSCRIPTION,
    "sluice-dlq-application",
    "sluice-dlq-code",
    CAUSE,
    PAYLOAD,
    "sluice-dlq-status",
    "sluice-dlq-attempts",
    "sluice-dlq-timestamp",
    TOPIC,
    PARTITION,
    OFFSET,
];

/// How much a letter has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Whole,
    /// The message, and all that is known but the words of the cause.
    WithoutCause,
    /// All that is known, and of the message only its key.
    WithoutMessage,
}

impl Extent {
    /// From the most to the least.
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::WithoutCause, Self::WithoutMessage];
}

/// What a letter is to tell: a subscriber did not take a message.
#[derive(Debug)]
pub(crate) struct Report<'r> {
    pub(crate) subscription: &'r Subscription,
    pub(crate) message: &'r Message,
    pub(crate) failure: &'r Failure,
    /// Calls that counted.
    pub(crate) attempts: u32,
}

impl Report<'_> {
    /// The letter.
    pub(crate) fn letter(&self, extent: Extent) -> Message {
        let Self { subscription, message, failure, attempts } = self;
        let mut headers = match extent {
            Extent::Whole | Extent::WithoutCause => message.headers().clone(),
            Extent::WithoutMessage => Headers::default(),
        };
        // What an earlier failure has left there would be told as if it were of this one.
        OWN.iter().for_each(|name| headers.remove(name));
        headers.set(API, subscription.api.0.clone());
        headers.set(SUBSCRIPTION, subscription.id.0.clone());
        headers.set("sluice-dlq-application", subscription.application.0.clone());
        headers.set("sluice-dlq-code", failure.code);
        headers.set("sluice-dlq-attempts", attempts.to_string());
        headers.set("sluice-dlq-timestamp", now_ms().to_string());
        if let Some(status) = failure.status {
            headers.set("sluice-dlq-status", status.to_string());
        }
        if let Some(place) = message.place() {
            headers.set(TOPIC, place.topic.as_str().to_owned());
            headers.set(PARTITION, place.partition.0.to_string());
            headers.set(OFFSET, place.offset.0.to_string());
        }
        if extent != Extent::WithoutCause {
            headers.set(CAUSE, cut(&failure.message).to_owned());
        }
        if extent != Extent::WithoutMessage {
            return message.to_builder().headers(headers).build();
        }
        headers.set(PAYLOAD, LEFT_OUT);
        // Empty, and no tombstone: that would delete the letters of the same key where the topic is compacted.
        message.to_builder().headers(headers).payload(Bytes::new()).build()
    }
}

/// As much of a cause as a letter tells.
fn cut(cause: &str) -> &str {
    &cause[..cause.floor_char_boundary(CAUSE_BYTES)]
}

/// Whether a message is a letter of this subscription.
pub(crate) fn is_of(message: &Message, subscription: &Subscription) -> bool {
    let says = |name, id: &str| message.headers().get(name).is_some_and(|of| **of == *id.as_bytes());
    says(API, &subscription.api.0) && says(SUBSCRIPTION, &subscription.id.0)
}

/// Whether a letter has nothing of its message, so that it cannot be brought again.
pub(crate) fn is_without_message(letter: &Message) -> bool {
    letter.headers().get(PAYLOAD).is_some_and(|payload| payload == LEFT_OUT)
}

/// The message that a letter is about, as it was, at its own place where the letter says it.
pub(crate) fn original(letter: &Message) -> Message {
    let place = origin(letter);
    let mut headers = letter.headers().clone();
    OWN.iter().for_each(|name| headers.remove(name));
    let builder = letter.to_builder().headers(headers);
    match place {
        Some(place) => builder.place(place).build(),
        None => builder.build(),
    }
}

/// Where the message stands that a letter is about, where the letter says it.
pub(crate) fn origin(letter: &Message) -> Option<Place> {
    let text = |name| std::str::from_utf8(letter.headers().get(name)?).ok();
    Some(Place {
        topic: Topic::from(text(TOPIC)?),
        partition: Partition(text(PARTITION)?.parse().ok()?),
        offset: Offset(text(OFFSET)?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use sluice_api::{ApiId, ApplicationId, Callback, PlanId, SubscriptionId};

    use super::*;

    fn subscription() -> Subscription {
        Subscription {
            id: SubscriptionId("s".to_owned()),
            api: ApiId("a".to_owned()),
            plan: PlanId("p".to_owned()),
            application: ApplicationId("app".to_owned()),
            application_name: "App".to_owned(),
            client_id: None,
            metadata: std::collections::BTreeMap::new(),
            channel: None,
            callback: Callback::to("http://a"),
            hub: None,
            starting_at: None,
            ending_at: None,
        }
    }

    #[test]
    fn a_letter_leads_back_to_its_message() {
        let place = Place { topic: Topic::from("t"), partition: Partition(2), offset: Offset(7) };
        let headers = Headers::from_iter([("x-a", "1"), ("sluice-dlq-status", "from before")]);
        let message = Message::builder().payload("x").key("k").headers(headers).place(place.clone()).build();
        let failure = Failure::new("delivery.timeout", "No answer.");
        let (subscription, attempts) = (&subscription(), 3);
        let letter =
            Report { subscription, message: &message, failure: &failure, attempts }.letter(Extent::Whole);
        assert!(letter.headers().get("sluice-dlq-status").is_none());
        let stored = letter.to_builder().place(Place { offset: Offset(99), ..place.clone() }).build();
        let back = original(&stored);
        assert_eq!(
            (back.payload(), back.key().unwrap().as_ref(), back.place()),
            (&b"x"[..], &b"k"[..], Some(&place))
        );
        assert_eq!(back.headers().iter().map(|header| &*header.name).collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn a_letter_is_of_one_subscription_of_one_api() {
        let (mine, failure) = (subscription(), Failure::new("delivery.timeout", "No answer."));
        let other = Subscription { id: SubscriptionId("t".to_owned()), ..subscription() };
        let elsewhere = Subscription { api: ApiId("b".to_owned()), ..subscription() };
        let message = &Message::builder().payload("x").build();
        let report = Report { subscription: &mine, message, failure: &failure, attempts: 1 };
        for extent in Extent::ALL {
            let letter = report.letter(extent);
            assert_eq!([&mine, &other, &elsewhere].map(|of| is_of(&letter, of)), [true, false, false]);
        }
    }

    #[test]
    fn a_letter_of_less_still_says_where_its_message_is() {
        let place = Place { topic: Topic::from("t"), partition: Partition(2), offset: Offset(7) };
        let headers = Headers::from_iter([("x-a", "1")]);
        let message = &Message::builder().payload("x").key("k").headers(headers).place(place.clone()).build();
        let failure = Failure::new("policy.refused", "ü".repeat(CAUSE_BYTES));
        let report = Report { subscription: &subscription(), message, failure: &failure, attempts: 0 };
        let [whole, without_cause, without_message] = Extent::ALL.map(|extent| report.letter(extent));
        assert_eq!(whole.headers().get(CAUSE).map(Bytes::len), Some(CAUSE_BYTES));
        assert!(without_cause.headers().get(CAUSE).is_none() && without_cause.payload() == b"x");
        assert!(!is_without_message(&whole) && !is_without_message(&without_cause));
        assert!(is_without_message(&without_message) && without_message.headers().get("x-a").is_none());
        assert_eq!(
            (without_message.payload_bytes(), without_message.key(), origin(&without_message)),
            (Some(&Bytes::new()), message.key(), Some(place))
        );
    }
}
