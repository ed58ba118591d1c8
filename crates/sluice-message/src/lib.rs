//! What travels through the gateway: a [`Message`], its [`Headers`] and its [`Position`].
//!
//! Nothing here does I/O or knows a protocol. Receivers make messages from requests, broker drivers make
//! them from records; everything between the two passes them on by reference count.

mod attributes;
mod headers;
mod json;
mod message;
mod position;

pub use attributes::Attributes;
pub use headers::{Header, Headers};
pub use json::MAX_JSON_BYTES;
pub use message::{FrameKind, Message, MessageBuilder};
pub use position::{
    MAX_POSITION_BYTES, MAX_POSITION_PARTITIONS, Offset, Partition, Place, Position, PositionError, Topic,
};
