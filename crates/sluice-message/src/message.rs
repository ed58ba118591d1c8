//! The message itself: immutable, shared by reference count, made once at the edge.
//!
//! What depends on nothing but the message (its parsed JSON, the bytes of an SSE frame) is computed by the
//! first client that needs it and kept beside it for all others. A policy that changes a message makes a
//! new one through [`Message::to_builder`]; the payload bytes are shared all the same.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    Attributes, Headers, Place,
    json::{self, Parsed},
};

/// A message on its way between a web client and a broker. Cloning costs a reference count.
#[derive(Debug, Clone)]
pub struct Message(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: MessageBuilder,
    json: OnceLock<Parsed>,
    frames: OnceLock<Box<Frame>>,
}

/// Which rendering of a message a frame holds. Each receiver numbers its own renderings; two renderings
/// that differ in a byte must differ in kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameKind(pub u16);

/// Frames of one message, a list that only grows. A lock-free list rather than a map: a message is rendered
/// in one or two kinds, thousands of clients read them at once, and most messages never need any.
#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    bytes: Bytes,
    next: OnceLock<Box<Frame>>,
}

/// The parts of a message, for whoever makes one.
#[derive(Debug, Clone, Default)]
pub struct MessageBuilder {
    payload: Option<Bytes>,
    key: Option<Bytes>,
    headers: Headers,
    metadata: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    attributes: Attributes,
    id: Option<Arc<str>>,
    place: Option<Place>,
    timestamp_ms: Option<i64>,
    position: Option<Arc<str>>,
}

impl MessageBuilder {
    /// The bytes that follow the record key. Without a call the message is a tombstone, which is not the
    /// same as an empty payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// The record key, by which brokers choose the partition and compact.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// All headers, in place of those given before.
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// A fact that the driver tells about the message beside key, place and time, which are known already.
    #[must_use]
    pub fn metadata(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// All attributes, in place of those given before.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// An id that the broker gave the message, shown to clients as it is.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Where the message stands at its broker.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// When the broker or the publisher says it was made: milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// The finished message.
    pub fn build(self) -> Message {
        Message(Arc::new(Inner { parts: self, json: OnceLock::new(), frames: OnceLock::new() }))
    }
}

impl Message {
    /// A message without any part; see [`MessageBuilder`].
    pub fn builder() -> MessageBuilder {
        MessageBuilder::default()
    }

    /// The parts of this message, to make a changed one from. Bytes are shared, not copied.
    pub fn to_builder(&self) -> MessageBuilder {
        self.0.parts.clone()
    }

    /// The payload; empty for a tombstone.
    pub fn payload(&self) -> &[u8] {
        self.0.parts.payload.as_deref().unwrap_or_default()
    }

    /// The payload as shared bytes; `None` for a tombstone (a record without a value, by which compacted
    /// topics delete a key).
    pub fn payload_bytes(&self) -> Option<&Bytes> {
        self.0.parts.payload.as_ref()
    }

    /// The record key.
    pub fn key(&self) -> Option<&Bytes> {
        self.0.parts.key.as_ref()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.0.parts.headers
    }

    /// What policies have left on it for later ones.
    pub fn attributes(&self) -> &Attributes {
        &self.0.parts.attributes
    }

    /// The id that the broker gave it, if clients are to see one.
    pub fn id(&self) -> Option<&str> {
        self.0.parts.id.as_deref()
    }

    /// Where it stands at its broker; `None` until it has been there.
    pub fn place(&self) -> Option<&Place> {
        self.0.parts.place.as_ref()
    }

    /// The position of a reader that has got this message and everything before it, as
    /// [`Position::encode`](crate::Position::encode) writes it, if its reader wants to tell clients.
    pub fn position(&self) -> Option<&Arc<str>> {
        self.0.parts.position.as_ref()
    }

    /// The same message with the text of a [`position`](Self::position). Costs nothing where nobody else holds
    /// the message.
    #[must_use]
    pub fn with_position(mut self, position: Arc<str>) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(own) => {
                own.parts.position = Some(position);
                self
            }
            None => MessageBuilder { position: Some(position), ..self.to_builder() }.build(),
        }
    }

    /// When it was made: milliseconds since 1970-01-01 UTC.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.parts.timestamp_ms
    }

    /// What the broker tells about the message, by name: `key`, `topic`, `partition`, `offset` and
    /// `sourceTimestamp` where they are known, then whatever else the driver added. What the driver says under one
    /// of these names goes before what is known: the topic of a message may be one of many that its place stands for.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let parts = &self.0.parts;
        let place = parts.place.as_ref();
        let known = [
            parts.key.as_ref().map(|key| ("key", String::from_utf8_lossy(key))),
            place.map(|place| ("topic", Cow::Borrowed(place.topic.as_str()))),
            place.map(|place| ("partition", Cow::Owned(place.partition.0.to_string()))),
            place.map(|place| ("offset", Cow::Owned(place.offset.0.to_string()))),
            parts.timestamp_ms.map(|time| ("sourceTimestamp", Cow::Owned(time.to_string()))),
        ];
        let added = parts.metadata.iter().map(|(name, value)| (&**name, Cow::Borrowed(&**value)));
        let is_added = |name: &str| parts.metadata.iter().any(|(added, _)| **added == *name);
        known.into_iter().flatten().filter(move |(name, _)| !is_added(name)).chain(added)
    }

    /// That part of the [metadata](Self::metadata) which the driver added by name, in its order.
    pub fn added_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.parts.metadata.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What it takes in memory, about: payload, key, headers, what the driver added and the text of its position, in
    /// bytes. What byte bounds count.
    pub fn size(&self) -> usize {
        let parts = &self.0.parts;
        let position = parts.position.as_ref().map_or(0, |text| text.len());
        self.payload().len()
            + parts.key.as_ref().map_or(0, Bytes::len)
            + parts.headers.size()
            + parts.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + position
            + OVERHEAD
    }

    /// The payload as JSON; `None` when it is not JSON or larger than [`MAX_JSON_BYTES`]. Parsed once for
    /// all clients and borrowed, unless parsed messages take too much memory already: then it is parsed
    /// for this call alone.
    pub fn json(&self) -> Option<Cow<'_, serde_json::Value>> {
        let kept = match self.0.json.get() {
            Some(kept) => kept,
            None => match json::parse(self.payload()) {
                Ok(parsed) => self.0.json.get_or_init(|| parsed),
                Err(value) => return value.map(Cow::Owned),
            },
        };
        kept.value.as_ref().map(Cow::Borrowed)
    }

    /// The rendering of this message of one kind, made by `render` if no client needed it before.
    pub fn frame(&self, kind: FrameKind, render: impl FnOnce() -> Bytes) -> &Bytes {
        let mut render = Some(render);
        let mut slot = &self.0.frames;
        loop {
            // Whoever finds the slot empty renders; a client that loses the race waits for that one
            // rendering instead of repeating it.
            let frame = slot.get_or_init(|| {
                let bytes = render.take().map(|render| render()).unwrap_or_default();
                Box::new(Frame { kind, bytes, next: OnceLock::new() })
            });
            if frame.kind == kind {
                return &frame.bytes;
            }
            slot = &frame.next;
        }
    }
}

/// Bytes that a message takes beside its content: the shared allocation and the bookkeeping of its parts.
const OVERHEAD: usize = size_of::<Inner>() + 2 * size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_a_kind_is_rendered_once() {
        let message = Message::builder().payload("x").build();
        let clone = message.clone();
        assert_eq!(message.frame(FrameKind(1), || Bytes::from("one")), "one");
        assert_eq!(message.frame(FrameKind(2), || Bytes::from("two")), "two");
        assert_eq!(clone.frame(FrameKind(1), || unreachable!()), "one");
        assert_eq!(clone.frame(FrameKind(2), || unreachable!()), "two");
    }

    #[test]
    fn a_changed_message_shares_the_payload_but_no_frame() {
        let message = Message::builder().payload("x").build();
        message.frame(FrameKind(1), || Bytes::from("old"));
        let changed = message.to_builder().key("k").build();
        assert_eq!(message.payload().as_ptr(), changed.payload().as_ptr());
        assert_eq!(changed.frame(FrameKind(1), || Bytes::from("new")), "new");
    }

    #[test]
    fn a_position_stays_with_a_changed_message_and_is_told_of_no_other() {
        let message = Message::builder().payload("x").build();
        let placed = message.clone().with_position("p".into());
        assert_eq!((message.position(), placed.position().map(|text| &**text)), (None, Some("p")));
        let changed = placed.to_builder().payload("y").build();
        assert_eq!(changed.position(), placed.position());
        let placed_again = placed.with_position("q".into());
        assert_eq!(placed_again.position().map(|text| &**text), Some("q"));
    }

    #[test]
    fn what_a_driver_adds_counts_as_much_as_headers_do() {
        let size = |message: MessageBuilder| message.build().size();
        let bare = size(Message::builder());
        assert_eq!(size(Message::builder().metadata("name", "value")), bare + 9);
    }

    #[test]
    fn a_tombstone_is_not_an_empty_payload() {
        assert!(Message::builder().build().payload_bytes().is_none());
        assert!(Message::builder().payload("").build().payload_bytes().is_some());
    }

    #[test]
    fn json_nested_beyond_the_parsers_bound_is_no_json() {
        let deep = "[".repeat(10_000);
        assert!(Message::builder().payload(deep).build().json().is_none());
    }
}
