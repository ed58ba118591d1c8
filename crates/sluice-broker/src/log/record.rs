//! One message as bytes: its length, what there is of it, then its parts.
//!
//! The store below checks checksums; here only lengths are checked, so that bytes that do not fit are an
//! error and never a panic or an allocation beyond their own size. All numbers are little-endian.
//!
//! ```text
//! length of what follows u32 | flags u8 | [timestamp_ms i64] | [key: length u32, bytes]
//! headers: count u32, each (length u32, name, length u32, value) | [payload: the rest]
//! ```

use bytes::Bytes;
use sluice_message::{Headers, Message, Place};

const HAS_TIMESTAMP: u8 = 1;
const HAS_KEY: u8 = 1 << 1;
const HAS_PAYLOAD: u8 = 1 << 2;

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Corrupt {
    #[error("it is of version {0}, which this gateway does not know")]
    Version(u8),
    #[error("it ends too early")]
    Short,
    #[error("it has unknown flags {0:#04x}")]
    Flags(u8),
    #[error("a header name is not UTF-8")]
    HeaderName,
    #[error("{0} bytes follow its end")]
    Surplus(usize),
}

/// Appends a message to `bytes`.
pub(super) fn encode(message: &Message, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let mut flags = 0;
    bytes.extend([0; 5]);
    if let Some(timestamp_ms) = message.timestamp_ms() {
        flags |= HAS_TIMESTAMP;
        bytes.extend(timestamp_ms.to_le_bytes());
    }
    if let Some(key) = message.key() {
        flags |= HAS_KEY;
        put(bytes, key);
    }
    bytes.extend(length(message.headers().len()));
    for header in message.headers() {
        put(bytes, header.name.as_bytes());
        put(bytes, &header.value);
    }
    if let Some(payload) = message.payload_bytes() {
        flags |= HAS_PAYLOAD;
        bytes.extend_from_slice(payload);
    }
    let written = length(bytes.len() - start - 4);
    bytes[start..start + 4].copy_from_slice(&written);
    bytes[start + 4] = flags;
}

/// Takes the bytes of the next message off `bytes`, without its length.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Corrupt> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Corrupt::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Corrupt::Short)?;
    let (record, rest) = rest.split_at_checked(length).ok_or(Corrupt::Short)?;
    *bytes = rest;
    Ok(record)
}

/// The message in these bytes, which the log found at `place`. A message without a time of its own has the
/// time at which the log took it. The bytes are copied: a message must not keep its neighbours in memory.
pub(super) fn decode(record: &[u8], place: Place, appended_ms: i64) -> Result<Message, Corrupt> {
    let (flags, record) = record.split_first().ok_or(Corrupt::Short)?;
    if flags & !(HAS_TIMESTAMP | HAS_KEY | HAS_PAYLOAD) != 0 {
        return Err(Corrupt::Flags(*flags));
    }
    let mut bytes = Bytes::copy_from_slice(record);
    let timestamp_ms = if flags & HAS_TIMESTAMP == 0 {
        appended_ms
    } else {
        i64::from_le_bytes(array(&take(&mut bytes, 8)?)?)
    };
    let mut message = Message::builder().place(place).timestamp_ms(timestamp_ms);
    if flags & HAS_KEY != 0 {
        message = message.key(take_counted(&mut bytes)?);
    }
    let mut headers = Headers::new();
    for _ in 0..take_length(&mut bytes)? {
        let name = take_counted(&mut bytes)?;
        let name = str::from_utf8(&name).map_err(|_| Corrupt::HeaderName)?;
        let value = take_counted(&mut bytes)?;
        headers.append(name, value);
    }
    message = message.headers(headers);
    if flags & HAS_PAYLOAD != 0 {
        return Ok(message.payload(bytes).build());
    }
    if bytes.is_empty() { Ok(message.build()) } else { Err(Corrupt::Surplus(bytes.len())) }
}

/// No part is ever as long as 4 GiB: the log's limit on a message is far below.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(length(part.len()));
    bytes.extend_from_slice(part);
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Corrupt> {
    bytes.try_into().map_err(|_| Corrupt::Short)
}

fn take(bytes: &mut Bytes, count: usize) -> Result<Bytes, Corrupt> {
    if count > bytes.len() { Err(Corrupt::Short) } else { Ok(bytes.split_to(count)) }
}

fn take_length(bytes: &mut Bytes) -> Result<usize, Corrupt> {
    let length = u32::from_le_bytes(array(&take(bytes, 4)?)?);
    usize::try_from(length).map_err(|_| Corrupt::Short)
}

fn take_counted(bytes: &mut Bytes) -> Result<Bytes, Corrupt> {
    let length = take_length(bytes)?;
    take(bytes, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_message::{MessageBuilder, Offset, Partition, Topic};

    use super::*;

    fn place() -> Place {
        Place { topic: Topic::from("t"), partition: Partition(0), offset: Offset(7) }
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..50);
        let headers = proptest::collection::vec((".{0,10}", bytes()), 0..5);
        let optional = || proptest::option::of(bytes());
        (optional(), optional(), headers, proptest::option::of(any::<i64>())).prop_map(
            |(payload, key, headers, time)| {
                let mut message = Message::builder().headers(headers.into_iter().collect());
                message = payload.into_iter().fold(message, MessageBuilder::payload);
                message = key.into_iter().fold(message, MessageBuilder::key);
                time.into_iter().fold(message, MessageBuilder::timestamp_ms).build()
            },
        )
    }

    proptest! {
        #[test]
        fn messages_come_back_as_they_were(messages in proptest::collection::vec(any_message(), 0..4)) {
            let mut bytes = Vec::new();
            for message in &messages {
                encode(message, &mut bytes);
            }
            let mut bytes = &bytes[..];
            for message in &messages {
                let found = decode(next(&mut bytes).unwrap(), place(), 5).unwrap();
                prop_assert_eq!(found.payload_bytes(), message.payload_bytes());
                prop_assert_eq!(found.key(), message.key());
                prop_assert_eq!(found.headers(), message.headers());
                prop_assert_eq!(found.timestamp_ms(), message.timestamp_ms().or(Some(5)));
                prop_assert_eq!(found.place(), Some(&place()));
            }
            prop_assert_eq!(bytes, b"");
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_a_message_but_no_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), known_flags: bool,
        ) {
            let _ = next(&mut &bytes[..]);
            if let (true, [flags, ..]) = (known_flags, &mut bytes[..]) {
                *flags &= 7;
            }
            let _ = decode(&bytes, place(), 5);
        }

        #[test]
        fn a_record_cut_short_is_corrupt(message in any_message(), cut in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&message, &mut bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(next(&mut &bytes[..]), Err(Corrupt::Short));
        }
    }
}
