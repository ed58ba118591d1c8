//! Dead letters: a message as it was, with what is known of its failure in headers of its own; and the way back.

use sluice_api::{Subscription, SubscriptionId};
use sluice_message::{Message, Offset, Partition, Place, Topic};

use crate::{Failure, clock::now_ms};

const SUBSCRIPTION: &str = "sluice-dlq-subscription";
const TOPIC: &str = "sluice-dlq-topic";
const PARTITION: &str = "sluice-dlq-partition";
const OFFSET: &str = "sluice-dlq-offset";

/// All headers that a letter may have beside those of its message.
const OWN: [&str; 11] = [
    "sluice-dlq-api",
    SUBSCRIPTION,
    "sluice-dlq-application",
    "sluice-dlq-code",
    "sluice-dlq-cause",
    "sluice-dlq-status",
    "sluice-dlq-attempts",
    "sluice-dlq-timestamp",
    TOPIC,
    PARTITION,
    OFFSET,
];

/// The letter for a message that a subscriber did not take after so many attempts.
pub(crate) fn letter(
    subscription: &Subscription,
    message: &Message,
    failure: &Failure,
    attempts: u32,
) -> Message {
    let mut headers = message.headers().clone();
    // What an earlier failure has left there would be told as if it were of this one.
    OWN.iter().for_each(|name| headers.remove(name));
    headers.set("sluice-dlq-api", subscription.api.0.clone());
    headers.set(SUBSCRIPTION, subscription.id.0.clone());
    headers.set("sluice-dlq-application", subscription.application.0.clone());
    headers.set("sluice-dlq-code", failure.code);
    headers.set("sluice-dlq-cause", failure.message.clone());
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
    message.to_builder().headers(headers).build()
}

/// Whether a message is a letter of this subscription.
pub(crate) fn is_of(message: &Message, subscription: &SubscriptionId) -> bool {
    message.headers().get(SUBSCRIPTION).is_some_and(|of| **of == *subscription.0.as_bytes())
}

/// The message that a letter is about, as it was, at its own place where the letter says it.
pub(crate) fn original(letter: &Message) -> Message {
    let place = place(letter);
    let mut headers = letter.headers().clone();
    OWN.iter().for_each(|name| headers.remove(name));
    let builder = letter.to_builder().headers(headers);
    match place {
        Some(place) => builder.place(place).build(),
        None => builder.build(),
    }
}

fn place(letter: &Message) -> Option<Place> {
    let text = |name| std::str::from_utf8(letter.headers().get(name)?).ok();
    Some(Place {
        topic: Topic::from(text(TOPIC)?),
        partition: Partition(text(PARTITION)?.parse().ok()?),
        offset: Offset(text(OFFSET)?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use sluice_api::{ApiId, ApplicationId, Callback, PlanId};
    use sluice_message::Headers;

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
        let letter = letter(&subscription(), &message, &failure, 3);
        assert!(letter.headers().get("sluice-dlq-status").is_none());
        assert!(is_of(&letter, &subscription().id) && !is_of(&letter, &SubscriptionId("t".to_owned())));
        let stored = letter.to_builder().place(Place { offset: Offset(99), ..place.clone() }).build();
        let back = original(&stored);
        assert_eq!(
            (back.payload(), back.key().unwrap().as_ref(), back.place()),
            (&b"x"[..], &b"k"[..], Some(&place))
        );
        assert_eq!(back.headers().iter().map(|header| &*header.name).collect::<Vec<_>>(), ["x-a"]);
    }
}
