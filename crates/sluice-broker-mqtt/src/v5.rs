//! MQTT 5, by rumqttc.

use std::{io, time::Duration};

use bytes::Bytes;
use rumqttc_v5::{
    AckMode, AsyncClient, Broker, ConnectAuth, ConnectReturnCode, ConnectionError, DisconnectReasonCode,
    Error as Malformed, Event as Told, EventLoop, Incoming, ManualAck, MqttOptions, NetworkOptions,
    NoticeFailureReason, PersistedAckMode, PersistedSession, PubAck, PubAckReason, PubRec, PubRecReason,
    Publish, PublishOptions, PublishProperties, PublishResult, QoS, RetainForwardRule, SessionStore,
    SessionStoreError, SessionStoreKey, StateError, SubscribeFilter, SubscribeProperties,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use sluice_api::MqttRetained;
use sluice_broker::{DriverError, ErrorKind};
use tokio::time::timeout;

use crate::{
    error::{Failure, closed},
    message::{Arrived, Outgoing, Properties},
    protocol::{Ack, Event, Granted, Session, Subscription, Unsettled},
    settings::Target,
};

/// How many packets are taken from either side before the other gets its turn.
const BATCH: usize = 256;
/// What an answer to a ping may take beyond the keep-alive.
const SLACK: Duration = Duration::from_secs(5);
/// A reason in PUBACK that the standard does not have there, and Mosquitto gives.
const PACKET_TOO_LARGE: u8 = 0x95;

#[derive(Debug, Clone)]
pub(crate) struct Client(AsyncClient);

pub(crate) struct Link {
    events: EventLoop,
    connected: bool,
    connect_timeout: Duration,
}

pub(crate) fn open(target: &Target, session: &Session) -> Result<(Client, Link), DriverError> {
    let mut options = options(target, session)?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_keep_alive(target.keep_alive)
        .set_connect_timeout(target.answer_timeout)
        .set_max_request_batch(BATCH)
        .set_read_batch_size(BATCH)
        .set_max_packet_size(Some(target.maximum_packet))
        .set_receive_maximum(Some(session.receive_maximum))
        .set_ack_mode(AckMode::Manual)
        .set_clean_start(session.kept.is_none())
        .set_session_expiry_interval(session.kept);
    if let Some((user, password)) = &target.user {
        let password = Bytes::copy_from_slice(password.expose().as_bytes());
        options.set_auth(ConnectAuth::UsernamePassword { username: user.clone(), password });
    }
    if session.kept.is_some() {
        options.set_session_store(NothingUnderWay);
    }
    // What is sent is bounded where it comes from: by what is in flight, and by the window of what is acknowledged.
    let (client, events) = AsyncClient::builder(options).unbounded().build();
    Ok((Client(client), Link { events, connected: false, connect_timeout: target.answer_timeout }))
}

fn options(target: &Target, session: &Session) -> Result<MqttOptions, DriverError> {
    let id = session.client_id.clone();
    let invalid = |error: &dyn std::fmt::Display| {
        let text = format!("The path and address of the MQTT broker make no WebSocket URL: {error}.");
        DriverError::new(ErrorKind::Configuration, text)
    };
    let tls = target.tls.clone().map(TlsConfiguration::Rustls);
    match (target.url(), tls) {
        (None, None) => Ok(MqttOptions::new(id, (target.host.clone(), target.port))),
        (None, Some(tls)) => {
            let mut options = MqttOptions::new(id, (target.host.clone(), target.port));
            options.set_transport(Transport::tls_with_config(tls));
            Ok(options)
        }
        (Some(url), None) => {
            Ok(MqttOptions::new(id, Broker::websocket(url).map_err(|error| invalid(&error))?))
        }
        (Some(url), Some(tls)) => {
            MqttOptions::websocket_with_tls_config(id, url, tls).map_err(|error| invalid(&error))
        }
    }
}

/// What the library asks before it takes up a session that another process has left. A reader's session has nothing
/// of its own under way, so it starts with nothing; the rest is at the broker. It is asked once.
#[derive(Debug)]
struct NothingUnderWay;

impl SessionStore for NothingUnderWay {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async { Ok(Some(session)) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

type Stored<'a, T> = futures_util::future::BoxFuture<'a, Result<T, SessionStoreError>>;

impl Client {
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<(), Unsettled> {
        let qos = if message.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let properties = message.properties.unwrap_or_default();
        let options = PublishOptions::new(qos).retain(message.retained).properties(PublishProperties {
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
            message_expiry_interval: properties.expiry,
            user_properties: properties.user,
            ..PublishProperties::default()
        });
        let sent = self.0.try_publish_tracked(message.topic.as_str(), message.payload, options);
        let notice = sent.map_err(|_| Unsettled::Refused(closed()))?;
        match notice.wait_async().await {
            Ok(PublishResult::Qos1(ack)) => {
                judged(ack.reason, ack.properties.and_then(|told| told.reason_string))
            }
            Ok(PublishResult::Qos2PubRecRejected(rejected)) => {
                judged(of_pubrec(rejected.reason), rejected.properties.and_then(|told| told.reason_string))
            }
            Ok(PublishResult::Qos2Completed(_) | PublishResult::Qos0Flushed) => Ok(()),
            Err(_) => Err(Unsettled::Lost),
        }
    }

    pub(crate) fn subscribe(&self, subscription: Subscription) {
        let rule = match subscription.retained {
            MqttRetained::New => RetainForwardRule::OnNewSubscribe,
            MqttRetained::Never => RetainForwardRule::Never,
        };
        let qos = qos(subscription.qos);
        let filters = subscription.filters.into_iter().map(|filter| SubscribeFilter {
            // A shared subscription is never given any, and asking for it otherwise is an error at some brokers.
            retain_forward_rule: if filter.starts_with("$share/") {
                RetainForwardRule::default()
            } else {
                rule.clone()
            },
            ..SubscribeFilter::new(filter, qos)
        });
        let id = subscription.identifier.and_then(|id| usize::try_from(id).ok());
        let properties = SubscribeProperties { id, user_properties: Vec::new() };
        // Fails only once the link is gone, and with it whoever waits for the answer.
        let _ = self.0.try_subscribe_many_with_properties(filters, properties);
    }

    pub(crate) fn unsubscribe(&self, filters: Vec<String>) {
        let _ = self.0.try_unsubscribe_many(filters);
    }

    pub(crate) fn acknowledge(&self, ack: Ack) {
        let ack = match ack.exactly_once {
            false => ManualAck::PubAck(PubAck::new(ack.packet, None)),
            true => ManualAck::PubRec(PubRec::new(ack.packet, None)),
        };
        let _ = self.0.try_manual_ack(ack);
    }

    /// Behind whatever was handed over before.
    pub(crate) fn disconnect(&self) {
        let _ = self.0.try_disconnect();
    }
}

impl Link {
    pub(crate) async fn poll(&mut self) -> Result<Event, Failure> {
        let bound = match self.connected {
            // The broker may have asked for another keep-alive than the settings.
            true => self.events.options.keep_alive() * 2 + SLACK,
            false => self.connect_timeout + SLACK,
        };
        match timeout(bound, self.events.poll()).await {
            Ok(Ok(told)) => Ok(self.event(told)),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) if self.connected => Err(Failure::lasting_silence()),
            Err(_) => Err(Failure::mute()),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.connected = false;
        self.events.clean();
        self.events.drain_pending_as_failed(NoticeFailureReason::SessionReset);
    }

    fn event(&mut self, told: Told) -> Event {
        match told {
            Told::Incoming(Incoming::Publish(publish)) => Event::Arrived(arrived(publish)),
            Told::Incoming(Incoming::ConnAck(ack)) => {
                self.connected = true;
                self.events.options.clear_session_store();
                let mut granted = Granted::all(ack.session_present);
                if let Some(told) = ack.properties {
                    let is_on = |told: Option<u8>| told != Some(0);
                    granted.maximum_packet = told.max_packet_size;
                    granted.maximum_qos = told.max_qos.unwrap_or(2);
                    granted.retains = is_on(told.retain_available);
                    granted.wildcards = is_on(told.wildcard_subscription_available);
                    granted.shares = is_on(told.shared_subscription_available);
                    granted.identifiers = is_on(told.subscription_identifiers_available);
                }
                Event::Connected(granted)
            }
            Told::Incoming(Incoming::SubAck(ack)) => {
                let refused = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(_) => None,
                    other => Some(format!("{other:?}")),
                };
                Event::Subscribed(ack.return_codes.iter().map(refused).collect())
            }
            Told::Incoming(Incoming::UnsubAck(_)) => Event::Unsubscribed,
            _ => Event::Nothing,
        }
    }

    fn failure(&self, error: &ConnectionError) -> Failure {
        let failure = match error {
            ConnectionError::ConnectionRefused(code) => refused(*code),
            ConnectionError::Timeout(_) => Failure::mute(),
            ConnectionError::Io(error) => Failure::io(error),
            ConnectionError::Tls(rumqttc_v5::TlsError::Io(error)) => Failure::io(error),
            ConnectionError::MqttState(error) => broken(error),
            ConnectionError::Websocket(_) | ConnectionError::ResponseValidation(_) => Failure::unreachable(
                format!("did not take the WebSocket ({error}); check 'path' and serverPort"),
            ),
            ConnectionError::NotConnAck(_) => Failure::foreign(error),
            other => Failure::unreachable(format!("cannot be used: {other}")),
        };
        if self.connected { failure } else { failure.while_connecting() }
    }
}

fn qos(level: u8) -> QoS {
    match level {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn arrived(publish: Publish) -> Arrived {
    let ack = (publish.qos != QoS::AtMostOnce)
        .then_some(Ack { packet: publish.pkid, exactly_once: publish.qos == QoS::ExactlyOnce });
    Arrived {
        topic: publish.topic,
        payload: publish.payload,
        qos: publish.qos as u8,
        retained: publish.retain,
        properties: publish.properties.map(|told| Properties {
            content_type: told.content_type,
            response_topic: told.response_topic,
            correlation_data: told.correlation_data,
            expiry: told.message_expiry_interval,
            user: told.user_properties,
            identifiers: told.subscription_identifiers,
        }),
        ack,
    }
}

fn refused(code: ConnectReturnCode) -> Failure {
    use ConnectReturnCode as Code;
    match code {
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            Failure::other_version("5", "3.1.1")
        }
        Code::ServerUnavailable
        | Code::ServiceUnavailable
        | Code::ServerBusy
        | Code::ConnectionRateExceeded
        | Code::UseAnotherServer
        | Code::ServerMoved => Failure::unreachable(format!("takes no connections now: {code:?}")),
        other => Failure::refused(&other),
    }
}

fn broken(error: &StateError) -> Failure {
    use DisconnectReasonCode as Code;
    match error {
        StateError::Io(error) if error.kind() == io::ErrorKind::InvalidData => Failure::foreign(error),
        StateError::Io(error) => Failure::io(error),
        StateError::AwaitPingResp => Failure::silent("a ping"),
        StateError::ConnectionAborted => Failure::hung_up(""),
        StateError::IncomingPacketTooLarge { pkt_size, max } => Failure::unreachable(format!(
            "sent a packet of {pkt_size} bytes, more than maximumPacketSize allows ({max})"
        )),
        StateError::ServerDisconnect { reason_code: Code::SessionTakenOver, .. } => Failure::new(
            ErrorKind::Refused,
            "ended the connection since another client has connected with the same id; give each gateway its own clientId",
        ),
        StateError::ServerDisconnect { reason_code: Code::PacketTooLarge, .. } => Failure::oversized(),
        StateError::ServerDisconnect { reason_code: Code::NotAuthorized, .. } => {
            Failure::refused(&Code::NotAuthorized)
        }
        StateError::ServerDisconnect { reason_code, reason_string } => {
            let why = reason_string.as_deref().unwrap_or_default();
            Failure::unreachable(format!("ended the connection: {reason_code:?} {why}").trim_end().to_owned())
        }
        StateError::Deserialization(Malformed::Io(error)) => Failure::io(error),
        StateError::Deserialization(Malformed::InvalidConnectReturnCode(PACKET_TOO_LARGE)) => {
            Failure::oversized()
        }
        StateError::Deserialization(error) => Failure::foreign(error),
        other => Failure::unreachable(format!("broke the protocol: {other}")),
    }
}

/// The reasons are the same; only the types differ.
fn of_pubrec(reason: PubRecReason) -> PubAckReason {
    match reason {
        PubRecReason::Success => PubAckReason::Success,
        PubRecReason::NoMatchingSubscribers => PubAckReason::NoMatchingSubscribers,
        PubRecReason::UnspecifiedError => PubAckReason::UnspecifiedError,
        PubRecReason::ImplementationSpecificError => PubAckReason::ImplementationSpecificError,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::PacketIdentifierInUse => PubAckReason::PacketIdentifierInUse,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
    }
}

fn judged(reason: PubAckReason, told: Option<String>) -> Result<(), Unsettled> {
    let kind = match reason {
        // Nobody listens yet; the broker has the message all the same.
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
        PubAckReason::NotAuthorized => ErrorKind::Refused,
        PubAckReason::TopicNameInvalid => ErrorKind::NoTopic,
        PubAckReason::PayloadFormatInvalid => ErrorKind::Invalid,
        PubAckReason::QuotaExceeded => ErrorKind::Overloaded,
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => ErrorKind::Other,
    };
    let why = told.map(|told| format!(" ({told})")).unwrap_or_default();
    Err(Unsettled::Refused(DriverError::new(
        kind,
        format!("The MQTT broker refused the message: {reason:?}{why}."),
    )))
}
