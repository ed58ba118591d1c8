//! What a client is told of the messages that it sends, where it wants to know.
//!
//! One message is published at a time, so that one is enough to remember, and what is told comes in the order of the
//! messages. It waits with everything else that is on its way to the client, and a client that does not take it is
//! not read any further.

use bytes::Bytes;

use super::control;
use crate::Refusal;

/// Numbers a client's messages.
#[derive(Default)]
pub(super) struct Receipts {
    /// How many messages have come; the number of the last one.
    sequence: u64,
    /// What the client calls that one.
    id: Option<String>,
}

impl Receipts {
    /// The next message has come.
    pub(super) fn begin(&mut self, id: Option<String>) {
        self.sequence += 1;
        self.id = id;
    }

    /// The broker has the message that came last.
    pub(super) fn acknowledged(&self) -> Bytes {
        control::ack(self.sequence, self.id.as_deref())
    }

    /// The broker does not have the message that came last, or nobody knows.
    pub(super) fn refused(&self, refusal: &Refusal) -> Bytes {
        control::error(self.sequence, self.id.as_deref(), refusal)
    }
}
