//! The way in: what a message of the client needs to be published.

use std::sync::Arc;

use sluice_message::Message;
use sluice_policy::{Caller, Chain, Hook};

use crate::{
    Binding,
    open_stream::OpenStream,
    publishing::{self, Attempt, Failure},
};

/// The way in under one deployment of the API.
pub(super) struct Publisher {
    binding: Arc<Binding>,
    chain: Chain,
    caller: Arc<Caller>,
}

impl Publisher {
    /// The way in under the deployment that the stream belongs to now. A message that is under way keeps the
    /// one that it began with, which is why they are shared.
    pub(super) fn new(open: &OpenStream) -> Arc<Self> {
        Arc::new(Self {
            binding: Arc::clone(&open.binding),
            chain: open.binding.chains.select(Hook::Publish, &open.caller),
            caller: Arc::clone(&open.caller),
        })
    }

    /// Counts a message that could not be read as one that failed.
    pub(super) fn count_unread(&self) {
        drop(Attempt::new(&self.binding));
    }

    /// Resolves once the broker has the message.
    pub(super) async fn publish(self: Arc<Self>, message: Message) -> Result<(), Failure> {
        let attempt = Attempt::new(&self.binding);
        let result = match publishing::admit(&self.binding, &self.chain, &self.caller, message) {
            Ok(admitted) => admitted.publish().await,
            Err(failure) => Err(failure),
        };
        if matches!(result, Ok(()) | Err(Failure::Dropped { .. })) {
            attempt.succeeded();
        }
        result
    }
}
