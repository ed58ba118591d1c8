//! A message in the spool: as it was published, with where it goes and when it was taken in front of its headers.
//!
//! What is in front is a header whose name is the topic, and whose value is the time and the broker that the message was
//! taken for; then one for each piece of metadata, as a policy leaves it for the driver. Behind the time stands how many
//! of these there are, `5+2`, unless there are none. All of them are taken off again before the message leaves, whatever
//! other headers it has.

use sluice_message::{Headers, Message, MessageBuilder, Topic};

use super::destination::MeantFor;

/// A message as it leaves the spool.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Where to.
    pub(super) topic: Topic,
    pub(super) message: Message,
    /// When the spool took it, milliseconds since 1970-01-01 UTC.
    pub(super) taken_ms: i64,
    /// For which broker.
    pub(super) meant: MeantFor,
}

/// The message as it stands in the spool. One without a time of its own was made when the spool took it, not
/// when it leaves.
pub(super) fn seal(topic: &Topic, message: &Message, taken_ms: i64, meant: &MeantFor) -> Message {
    let mut headers = Headers::new();
    let meant = match meant {
        MeantFor::Identity(identity) => format!("is {identity}"),
        MeantFor::Address(address) => format!("at {address}"),
    };
    match message.added_metadata().count() {
        0 => headers.append(topic.as_str(), format!("{taken_ms} {meant}")),
        count => headers.append(topic.as_str(), format!("{taken_ms}+{count} {meant}")),
    };
    for (name, value) in message.added_metadata() {
        headers.append(name, value.to_owned());
    }
    for header in message.headers() {
        headers.append(header.name.clone(), header.value.clone());
    }
    let made_ms = message.timestamp_ms().unwrap_or(taken_ms);
    message.to_builder().headers(headers).timestamp_ms(made_ms).build()
}

/// The message that stands in the spool like this; `None` if the spool never put it there. It leaves with no time
/// behind `now_ms`: brokers refuse one that was taken while the clock was ahead.
pub(super) fn open(sealed: &Message, now_ms: i64) -> Option<Outgoing> {
    let mut headers = sealed.headers().iter();
    let first = headers.next()?;
    let (taken, meant) = str::from_utf8(&first.value).ok()?.split_once(' ')?;
    let (taken_ms, count) = taken.split_once('+').unwrap_or((taken, "0"));
    let taken_ms = taken_ms.parse().ok()?;
    let meant = match meant.split_once(' ')? {
        ("is", identity) => MeantFor::Identity(identity.to_owned()),
        ("at", address) => MeantFor::Address(address.to_owned()),
        _ => return None,
    };
    // Not from the sealed one: its place is one of the spool.
    let mut message = Message::builder();
    for _ in 0..count.parse::<usize>().ok()? {
        let told = headers.next()?;
        message = message.metadata(told.name.to_string(), str::from_utf8(&told.value).ok()?.to_owned());
    }
    let rest = headers.map(|header| (header.name.clone(), header.value.clone())).collect();
    let message = message.headers(rest);
    let message = sealed.payload_bytes().cloned().into_iter().fold(message, MessageBuilder::payload);
    let message = sealed.key().cloned().into_iter().fold(message, MessageBuilder::key);
    let made_ms = sealed.timestamp_ms().map(|made_ms| made_ms.min(now_ms));
    let message = made_ms.into_iter().fold(message, MessageBuilder::timestamp_ms);
    Some(Outgoing { topic: Topic::from(&*first.name), message: message.build(), taken_ms, meant })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> MeantFor {
        MeantFor::Address(address.to_owned())
    }

    fn round_trip(message: &Message) -> Outgoing {
        open(&seal(&Topic::from("orders"), message, 5, &at("kafka a:9092, b:9092")), 9).unwrap()
    }

    #[test]
    fn what_leaves_is_what_came() {
        let headers: Headers = [("orders", "1"), ("a", "2"), ("A", "3"), ("a", "2")].into_iter().collect();
        let full = Message::builder().key("k").payload("p").headers(headers).timestamp_ms(3).build();
        let chosen = full.to_builder().metadata("responseTopic", "a/b").metadata("empty", "").build();
        let deleted = Message::builder().key("deleted").build();
        for message in [full, chosen, deleted, Message::builder().payload("").build()] {
            let found = round_trip(&message);
            assert_eq!((found.topic, found.taken_ms), (Topic::from("orders"), 5));
            assert_eq!(found.meant, at("kafka a:9092, b:9092"));
            assert_eq!(found.message.headers(), message.headers());
            assert_eq!(found.message.key(), message.key());
            assert_eq!(found.message.payload_bytes(), message.payload_bytes());
            assert!(found.message.added_metadata().eq(message.added_metadata()));
            assert_eq!(found.message.timestamp_ms(), message.timestamp_ms().or(Some(5)));
        }
    }

    #[test]
    fn a_message_that_was_taken_while_the_clock_was_ahead_leaves_with_the_time_that_it_is() {
        let sealed = seal(&Topic::from("orders"), &Message::builder().payload("p").build(), 5000, &at("log"));
        assert_eq!(open(&sealed, 9).unwrap().message.timestamp_ms(), Some(9));
    }

    #[test]
    fn an_identity_is_no_address() {
        let meant = MeantFor::Identity("log".to_owned());
        let sealed = seal(&Topic::from("orders"), &Message::builder().build(), 5, &meant);
        assert_eq!(open(&sealed, 9).unwrap().meant, meant);
    }

    #[test]
    fn what_the_spool_never_wrote_is_told_apart() {
        for value in ["soon", "5", "5 is", "5 in log", "soon is log", "5+1 is log", "5+x is log"] {
            let foreign = Message::builder().headers([("orders", value)].into_iter().collect()).build();
            assert!(open(&foreign, 9).is_none(), "{value}");
        }
        assert!(open(&Message::builder().build(), 9).is_none());
    }
}
