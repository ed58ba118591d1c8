//! What an API promises beyond the level of each receiver: to clients that are slow, to clients that come back,
//! and to publishers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problem, Qos};

/// What an API promises beyond the level of each receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guarantees {
    /// What becomes of a client that is too slow for what is kept in memory. By default `hold` for receivers
    /// with qos `at-least-once`, else `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_clients: Option<SlowClients>,
    /// What becomes of a client that resumes from a position which is none of this API. Default `refuse`.
    #[serde(default)]
    pub unknown_position: UnknownPosition,
    /// Milliseconds within which a POST with the same `Idempotency-Key` is not published again. From 1000 to
    /// 86,400,000, default 600,000 (10 minutes).
    #[serde(default = "Guarantees::default_window")]
    #[schemars(range(min = 1000, max = 86_400_000))]
    pub idempotency_window_ms: u64,
    /// Where messages are kept on their way to the broker, so that they are taken while it is away. They are
    /// handed to the broker at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<Spool>,
}

/// What becomes of a client that is too slow for what is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlowClients {
    /// It goes on with the oldest message in memory, and is told how many it missed.
    Skip,
    /// It is disconnected, with the reason and the position to resume from.
    Disconnect,
    /// It reads what it missed through a reader of its own, of which there is a bounded number.
    Hold,
}

/// What becomes of a client that resumes from a position which is none of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownPosition {
    /// It is answered 400.
    #[default]
    Refuse,
    /// It begins with what is published from now on, and is told of the gap.
    Latest,
}

/// Where messages are kept on their way to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spool {
    /// Bytes of messages that may wait for the broker; further ones are answered 503. From 1 MiB to 1 TiB,
    /// default 1 GiB.
    #[serde(default = "Spool::default_max_bytes")]
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub max_bytes: u64,
}

impl Spool {
    const fn default_max_bytes() -> u64 {
        1 << 30
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_bytes: Self::default_max_bytes() }
    }
}

impl Guarantees {
    const fn default_window() -> u64 {
        600_000
    }

    /// What becomes of the slow clients of a receiver with this promise.
    pub fn slow_clients_of(&self, qos: Qos) -> SlowClients {
        let default = if qos == Qos::AtLeastOnce { SlowClients::Hold } else { SlowClients::Skip };
        self.slow_clients.unwrap_or(default)
    }

    /// Every rule that these settings break, with paths relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut bounded = |field: &str, value: u64, allowed: std::ops::RangeInclusive<u64>| {
            if !allowed.contains(&value) {
                let message = format!("Must be from {} to {}.", allowed.start(), allowed.end());
                problems.push(Problem::new(field, "guarantees.range", message));
            }
        };
        bounded("idempotencyWindowMs", self.idempotency_window_ms, 1000..=86_400_000);
        if let Some(spool) = &self.spool {
            bounded("spool.maxBytes", spool.max_bytes, 1 << 20..=1 << 40);
        }
        problems
    }
}

impl Default for Guarantees {
    fn default() -> Self {
        Self {
            slow_clients: None,
            unknown_position: UnknownPosition::default(),
            idempotency_window_ms: Self::default_window(),
            spool: None,
        }
    }
}
