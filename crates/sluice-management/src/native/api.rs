//! An event API as the contract answers it: what it is, and how it is doing.

use schemars::JsonSchema;
use serde::Serialize;
use sluice_api::{ApiId, EventApi, HttpPath, Problem, Qos};
use sluice_broker::{DriverError, SpoolStatus};
use sluice_gateway::{BrokerState, BrokerStatus};
use sluice_receiver::{PublishFailure, StreamSummary};
use sluice_store::Timestamp;

use crate::{ManagedApi, Origin, Registry, time::Moment};

/// An event API as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Api")]
pub(super) struct ApiEntity {
    id: ApiId,
    /// For people.
    name: String,
    /// The version of the API, free text.
    version: String,
    /// For people.
    description: String,
    origin: OriginEntity,
    /// Whether the gateway serves it.
    deployed: bool,
    /// Whether it was edited since it was deployed last; what follows is then of the deployed definition.
    edited: bool,
    /// Where it is reached.
    paths: Vec<HttpPath>,
    /// How web clients connect.
    receivers: Vec<ReceiverEntity>,
    /// Its named parts; one whole when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<ChannelEntity>,
    /// The kind of broker behind it.
    broker: Option<&'static str>,
    /// How its brokers are doing, the one that serves first; empty where it is not served.
    brokers: Vec<BrokerEntity>,
    /// Why the last publish failed by the fault of the broker or the gateway; absent where it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_failure: Option<BrokerErrorEntity>,
    streams: SummaryEntity,
    /// How many subscriptions it has, closed ones among them.
    subscriptions: usize,
    /// How many open ones were made at its hub; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    hub_subscriptions: Option<usize>,
    /// How its spool stands; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<SpoolEntity>,
    /// Why it is not served, or not in its newest form, although it should; empty when all is well.
    faults: Vec<FaultEntity>,
    created_at: Moment,
    updated_at: Moment,
    /// When the definition that is served was deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed_at: Option<Moment>,
}

/// Where the API is changed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
#[schemars(rename = "Origin")]
enum OriginEntity {
    /// Through a management API.
    Management,
    /// In a file.
    File {
        /// Its path, as the gateway was given it.
        file: String,
    },
}

/// One way in or out for web clients.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Receiver")]
struct ReceiverEntity {
    /// Its kind, as `sse`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// How much is promised about delivery.
    qos: Qos,
    /// How much could be promised with this broker.
    offered_qos: &'static [Qos],
}

/// A named part of an API.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Channel")]
struct ChannelEntity {
    name: String,
    /// The topic that its messages are published to.
    publish_topic: String,
    /// The topic that its messages are delivered from.
    deliver_topic: String,
    /// How many open subscriptions were made for it at the hub.
    hub_subscriptions: usize,
}

/// How a broker is doing.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BrokerStatus")]
struct BrokerEntity {
    /// Its name in the API.
    name: String,
    /// Its kind, as `kafka`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where it is.
    address: String,
    state: BrokerWord,
    /// Since when it is so.
    since: Moment,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<BrokerErrorEntity>,
}

/// What a broker answered last.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BrokerState")]
enum BrokerWord {
    /// It has not answered yet.
    Unknown,
    /// It answers, and has the topics of the API.
    Up,
    /// It cannot be used.
    Down,
    /// Each client connects with credentials of its own, so that it is asked by nobody else.
    OfClients,
}

/// The open streams in numbers.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StreamSummary")]
pub(super) struct SummaryEntity {
    /// Streams open now.
    open: usize,
    /// Messages that the slowest of them is behind.
    farthest_behind: u64,
}

/// The messages that are on their way to the broker, and those that are set aside.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Spool")]
struct SpoolEntity {
    /// Messages that wait for the broker.
    waiting_messages: u64,
    /// Bytes on the disk that they hold.
    waiting_bytes: u64,
    /// When the one that is next was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_waiting_since: Option<Moment>,
    /// Messages that the broker refuses for good, or that were taken for another one.
    set_aside_messages: u64,
    /// Bytes on the disk that they hold.
    set_aside_bytes: u64,
    /// Why messages do not go on just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<BrokerErrorEntity>,
}

/// What was set aside and goes to the broker once more.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RetriedSpool")]
pub(super) struct RetriedEntity {
    /// How many messages.
    pub(super) messages: u64,
}

/// What was set aside and is gone now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiscardedMessages")]
pub(super) struct DiscardedEntity {
    /// How many messages.
    pub(super) messages: u64,
}

/// What a broker said.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrokerError")]
struct BrokerErrorEntity {
    /// The stable code of the error.
    code: &'static str,
    /// The broker's own words among them.
    message: String,
}

/// Something that keeps an API from being served.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Fault")]
struct FaultEntity {
    /// The stable code of the rule.
    code: &'static str,
    /// What is wrong, and what would be right.
    message: String,
    /// The field of the definition; empty for the whole.
    path: String,
}

impl ApiEntity {
    pub(super) fn of(registry: &Registry, api: &ManagedApi) -> Self {
        let record = &api.record;
        let definition = record.deployed.as_ref().unwrap_or(&record.draft);
        let EventApi { id, name, version, description, paths, .. } = definition.clone();
        Self {
            name,
            version,
            description,
            origin: OriginEntity::of(&api.origin),
            deployed: record.started && api.settled,
            edited: record.deployed.as_ref().is_some_and(|deployed| *deployed != record.draft),
            paths,
            channels: channels(registry, definition),
            hub_subscriptions: definition.websub().map(|_| registry.count_at_hub(&id)),
            receivers: receivers(definition),
            broker: definition.brokers.first().map(|broker| broker.configuration.kind()),
            brokers: registry.broker_status(&id).into_iter().map(BrokerEntity::from).collect(),
            publish_failure: registry.publish_failure(&id).map(BrokerErrorEntity::from),
            streams: registry.streams().summary(&id).into(),
            subscriptions: registry.count_subscriptions(&id),
            spool: registry.spool_status(&id).map(SpoolEntity::from),
            faults: api.faults.iter().map(FaultEntity::of).collect(),
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            deployed_at: record.deployed_at.map(Moment),
            id,
        }
    }
}

fn channels(registry: &Registry, definition: &EventApi) -> Vec<ChannelEntity> {
    let channels = definition.channels.iter().map(|(name, channel)| ChannelEntity {
        name: name.clone(),
        publish_topic: channel.publish_topic(name).to_owned(),
        deliver_topic: channel.deliver_topic(name).to_owned(),
        hub_subscriptions: registry.count_of_channel(&definition.id, name),
    });
    channels.collect()
}

impl OriginEntity {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Management => Self::Management,
            Origin::File(file) => Self::File { file: file.display().to_string() },
        }
    }
}

fn receivers(definition: &EventApi) -> Vec<ReceiverEntity> {
    let Some(broker) = definition.brokers.first() else { return Vec::new() };
    let receivers = definition.receivers.iter().map(|receiver| ReceiverEntity {
        kind: receiver.configuration.kind(),
        qos: receiver.qos,
        offered_qos: receiver.configuration.offered_qos(&broker.configuration),
    });
    receivers.collect()
}

impl From<StreamSummary> for SummaryEntity {
    fn from(summary: StreamSummary) -> Self {
        Self { open: summary.open, farthest_behind: summary.farthest_behind }
    }
}

impl From<SpoolStatus> for SpoolEntity {
    fn from(status: SpoolStatus) -> Self {
        let error = status.last_error;
        Self {
            waiting_messages: status.waiting_messages,
            waiting_bytes: status.waiting_bytes,
            oldest_waiting_since: status.oldest_waiting_since_ms.map(|ms| Moment(Timestamp(ms))),
            set_aside_messages: status.set_aside_messages,
            set_aside_bytes: status.set_aside_bytes,
            last_error: error.map(BrokerErrorEntity::from),
        }
    }
}

impl From<DriverError> for BrokerErrorEntity {
    fn from(error: DriverError) -> Self {
        Self { code: error.code(), message: error.message }
    }
}

impl From<PublishFailure> for BrokerErrorEntity {
    fn from(failure: PublishFailure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<BrokerStatus> for BrokerEntity {
    fn from(status: BrokerStatus) -> Self {
        let (state, error) = match status.state {
            BrokerState::Unknown => (BrokerWord::Unknown, None),
            BrokerState::Up => (BrokerWord::Up, None),
            BrokerState::Down(error) => (BrokerWord::Down, Some(error.into())),
            BrokerState::OfClients => (BrokerWord::OfClients, None),
        };
        Self {
            name: status.name,
            kind: status.kind,
            address: status.address,
            state,
            since: Moment(Timestamp(status.since_ms)),
            error,
        }
    }
}

impl FaultEntity {
    fn of(problem: &Problem) -> Self {
        Self { code: problem.code, message: problem.message.clone(), path: problem.path.clone() }
    }
}
