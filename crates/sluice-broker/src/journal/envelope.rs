//! A message in the journal: as it was read, with what the log has no place for in front of its headers.
//!
//! What is in front: a header named by the version of this form, whose value tells how many follow and, behind a space,
//! the id of the message if it has one; then one header for each piece of metadata that the driver added. All of them
//! are taken off again before the message is handed out, whatever other headers it has.

use sluice_message::{Headers, Message, MessageBuilder, Place};

const VERSION: &str = "1";

/// The message as it stands in the journal.
pub(super) fn seal(message: &Message) -> Message {
    let mut headers = Headers::new();
    let count = message.added_metadata().count();
    headers.append(VERSION, message.id().map_or_else(|| count.to_string(), |id| format!("{count} {id}")));
    for (name, value) in message.added_metadata() {
        headers.append(name, value.to_owned());
    }
    for header in message.headers() {
        headers.append(header.name.clone(), header.value.clone());
    }
    with_body(message, headers).build()
}

/// The message that stands in the journal like this, with its place there as its API names it; `None` if no journal
/// of this version put it there.
pub(super) fn open(sealed: &Message, place: Place) -> Option<Message> {
    let mut headers = sealed.headers().iter();
    let first = headers.next().filter(|first| *first.name == *VERSION)?;
    let first = str::from_utf8(&first.value).ok()?;
    let (count, id) = first.split_once(' ').map_or((first, None), |(count, id)| (count, Some(id)));
    let mut metadata = Vec::new();
    for _ in 0..count.parse::<usize>().ok()? {
        let header = headers.next()?;
        metadata.push((header.name.to_string(), str::from_utf8(&header.value).ok()?.to_owned()));
    }
    let rest = headers.map(|header| (header.name.clone(), header.value.clone())).collect();
    let message = with_body(sealed, rest).place(place);
    let message = metadata.into_iter().fold(message, |message, (name, value)| message.metadata(name, value));
    Some(id.into_iter().fold(message, MessageBuilder::id).build())
}

/// Payload, key and time of a message, with these headers.
fn with_body(message: &Message, headers: Headers) -> MessageBuilder {
    let builder = Message::builder().headers(headers);
    let builder = message.payload_bytes().cloned().into_iter().fold(builder, MessageBuilder::payload);
    let builder = message.key().cloned().into_iter().fold(builder, MessageBuilder::key);
    message.timestamp_ms().into_iter().fold(builder, MessageBuilder::timestamp_ms)
}

#[cfg(test)]
mod tests {
    use sluice_message::{Offset, Partition, Topic};

    use super::*;

    fn place(offset: u64) -> Place {
        Place { topic: Topic::from("plants/#"), partition: Partition(0), offset: Offset(offset) }
    }

    #[test]
    fn what_comes_out_is_what_went_in_at_another_place() {
        let headers: Headers =
            [("1", "1"), ("content-type", "a/b"), ("A", "3"), ("a", "2")].into_iter().collect();
        let full = Message::builder().key("k").payload("p").headers(headers).timestamp_ms(3).id("an id");
        let full =
            full.metadata("topic", "plants/1").metadata("qos", "1").metadata("empty", "").place(place(900));
        for message in
            [full.build(), Message::builder().key("deleted").build(), Message::builder().payload("").build()]
        {
            let found = open(&seal(&message), place(4)).unwrap();
            assert_eq!(found.headers(), message.headers());
            assert_eq!(found.key(), message.key());
            assert_eq!(found.payload_bytes(), message.payload_bytes());
            assert_eq!((found.timestamp_ms(), found.id()), (message.timestamp_ms(), message.id()));
            assert!(found.added_metadata().eq(message.added_metadata()));
            assert_eq!(found.place(), Some(&place(4)));
        }
    }

    #[test]
    fn what_no_journal_wrote_is_told_apart() {
        let foreign =
            [vec![], vec![("2", "0")], vec![("1", "x")], vec![("1", "2"), ("a", "b")], vec![("1", "-1")]];
        for headers in foreign {
            let message = Message::builder().headers(headers.into_iter().collect()).build();
            assert!(open(&message, place(0)).is_none());
        }
    }
}
