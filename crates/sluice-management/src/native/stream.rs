//! Who is connected, and who was too slow, as the contract answers it.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;
use sluice_receiver::{SlowClient, Stream};

use super::api::SummaryEntity;
use crate::time::Moment;

/// The open streams of an API.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StreamList")]
pub(super) struct StreamList {
    /// The farthest behind first, as many as were asked for.
    pub(super) data: Vec<StreamEntity>,
    /// All of them in numbers.
    pub(super) summary: SummaryEntity,
}

/// One open stream.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
pub(super) struct StreamEntity {
    #[serde(flatten)]
    client: ClientEntity,
    /// The group whose messages it shares with others, where it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// When it began.
    since: Moment,
    /// Messages that it was not handed yet, about; 0 for a member of a group.
    behind: u64,
    /// Messages that were skipped for it, because it was too slow.
    skipped: u64,
}

/// A client that was too slow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SlowClient")]
pub(super) struct SlowClientEntity {
    #[serde(flatten)]
    client: ClientEntity,
    /// When its stream began.
    since: Moment,
    /// Messages that it was behind, or that were skipped for it.
    behind: u64,
    /// What became of it: `skipped`, and it went on; `disconnected`, as the API wants it; or `stalled`, when it took
    /// nothing for so long that its connection was cut.
    end: &'static str,
    /// When.
    at: Moment,
}

/// Who is at the other end of a stream.
#[derive(Serialize, JsonSchema)]
struct ClientEntity {
    /// The number of the stream, unique since the gateway started.
    id: u64,
    /// The kind of receiver, as `sse`.
    receiver: &'static str,
    /// The other end of its connection: address and port.
    client: SocketAddr,
    /// The plan by which it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// Its application, where it came by a subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
}

impl StreamEntity {
    pub(super) fn of(stream: &Stream) -> Self {
        Self {
            client: ClientEntity::of(stream),
            group: stream.group().map(str::to_owned),
            since: Moment::from_ms(stream.since_ms),
            behind: stream.behind(),
            skipped: stream.skipped(),
        }
    }
}

impl SlowClientEntity {
    pub(super) fn of(slow: &SlowClient) -> Self {
        Self {
            client: ClientEntity::of(&slow.stream),
            since: Moment::from_ms(slow.stream.since_ms),
            behind: slow.behind,
            end: slow.end.as_str(),
            at: Moment::from_ms(slow.at_ms),
        }
    }
}

impl ClientEntity {
    fn of(stream: &Stream) -> Self {
        Self {
            id: stream.id,
            receiver: stream.receiver,
            client: stream.client,
            plan: stream.plan.clone(),
            application: stream.application.clone(),
        }
    }
}
