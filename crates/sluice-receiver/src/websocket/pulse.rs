//! Whether the client is still there: asked when it is silent, given up when it stays so.

use std::time::Duration;

use sluice_api::WebsocketConfig;
use sluice_websocket::{CloseCode, encode};
use tokio::time::Instant;

use super::{end::End, wire::Wire};

/// When the client was heard last, and what follows from it.
pub(super) struct Pulse {
    interval: Duration,
    patience: Duration,
    heard: Instant,
    asked: Instant,
}

impl Pulse {
    pub(super) fn new(settings: &WebsocketConfig) -> Self {
        let now = Instant::now();
        Self {
            interval: Duration::from_millis(settings.ping_interval_ms),
            patience: Duration::from_millis(settings.idle_timeout_ms),
            heard: now,
            asked: now,
        }
    }

    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// When [`beat`](Self::beat) is due.
    pub(super) fn deadline(&self) -> Instant {
        (self.heard + self.patience).min(self.heard.max(self.asked) + self.interval)
    }

    /// Asks a silent client whether it is there, or gives it up.
    pub(super) fn beat<S>(&mut self, wire: &mut Wire<'_, S>) -> Option<End> {
        self.asked = Instant::now();
        if self.asked >= self.heard + self.patience {
            return Some(End::closed(CloseCode::GOING_AWAY, "No sign of life"));
        }
        // A client that does not even take what it was sent needs no further question.
        if wire.queued() == 0 {
            wire.send(encode::ping());
        }
        None
    }
}
