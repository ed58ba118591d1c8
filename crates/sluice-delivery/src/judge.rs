//! What the deliver policies say about a message.

use std::time::Duration;

use sluice_message::Message;
use sluice_policy::{Caller, Chain, Outcome};

use crate::{DeliveryMetrics, Failure};

/// The deliver policies of one subscription.
pub(crate) struct Judge<'j> {
    pub(crate) chain: Chain,
    pub(crate) caller: &'j Caller,
    pub(crate) metrics: &'j DeliveryMetrics,
}

/// What is to be done with a message.
pub(crate) enum Judged {
    /// Bring this, after so long.
    Bring(Message, Duration),
    /// Put it with the dead letters.
    SetAside(Failure),
    /// Nothing.
    Drop {
        /// Whether the subscription moves past it.
        moves: bool,
    },
}

impl Judge<'_> {
    pub(crate) fn judge(&self, message: Message) -> Judged {
        if self.chain.is_empty() {
            return Judged::Bring(message, Duration::ZERO);
        }
        match self.chain.run(&self.caller.context(), message) {
            Outcome::Pass(message) => Judged::Bring(message, Duration::ZERO),
            Outcome::Delayed(message, delay) => Judged::Bring(message, delay),
            Outcome::Dropped { acknowledge, .. } => {
                self.metrics.dropped_by_policy.inc();
                Judged::Drop { moves: acknowledge }
            }
            Outcome::Rejected(rejection) => Judged::SetAside(Failure::new(rejection.code, rejection.message)),
        }
    }
}
