//! MQTT 3.1.1, by rumqttc: no properties, no reasons, no limits told.

use std::{io, time::Duration};

use bytes::Bytes;
use rumqttc_v4::{
    AckMode, AsyncClient, Broker, ConnectAuth, ConnectReturnCode, ConnectionError, Event as Told, EventLoop,
    Incoming, ManualAck, MqttOptions, NetworkOptions, NoticeFailureReason, PersistedAckMode,
    PersistedSession, PubAck, PubRec, Publish, PublishOptions, QoS, SessionStore, SessionStoreError,
    SessionStoreKey, StateError, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use sluice_broker::{DriverError, ErrorKind};
use tokio::time::timeout;

use crate::{
    error::{Failure, closed},
    message::{Arrived, Outgoing},
    protocol::{Ack, Event, Granted, Session, Subscription, Unsettled},
    settings::Target,
};

/// How many packets are taken from either side before the other gets its turn.
const BATCH: usize = 256;
/// What an answer to a ping may take beyond the keep-alive.
const SLACK: Duration = Duration::from_secs(5);
/// How many messages are sent without an acknowledgement; a broker of 3.1.1 does not say how many it takes.
const IN_FLIGHT: u16 = 1000;

#[derive(Debug, Clone)]
pub(crate) struct Client(AsyncClient);

pub(crate) struct Link {
    events: EventLoop,
    connected: bool,
    connect_timeout: Duration,
}

pub(crate) fn open(target: &Target, session: &Session) -> Result<(Client, Link), DriverError> {
    let mut options = options(target, session)?;
    let largest = usize::try_from(target.maximum_packet).unwrap_or(usize::MAX);
    options
        .set_keep_alive(target.keep_alive)
        .set_max_request_batch(BATCH)
        .set_read_batch_size(BATCH)
        .set_max_packet_size(largest, largest)
        .set_inflight(IN_FLIGHT)
        .set_ack_mode(AckMode::Manual)
        .set_clean_session(session.kept.is_none());
    if let Some((user, password)) = &target.user {
        let password = Bytes::copy_from_slice(password.expose().as_bytes());
        options.set_auth(ConnectAuth::UsernamePassword { username: user.clone(), password });
    }
    if session.kept.is_some() {
        options.set_session_store(NothingUnderWay);
    }
    // What is sent is bounded where it comes from: by what is in flight, and by the window of what is acknowledged.
    let (client, mut events) = AsyncClient::builder(options).unbounded().build();
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(target.answer_timeout.as_secs().max(1));
    events.set_network_options(network);
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
            clean_session: false,
            max_inflight: IN_FLIGHT,
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
        let options = PublishOptions::new(qos).retain(message.retained);
        let sent = self.0.try_publish_tracked(message.topic.as_str(), message.payload, options);
        let notice = sent.map_err(|_| Unsettled::Refused(closed()))?;
        notice.wait_async().await.map(drop).map_err(|_| Unsettled::Lost)
    }

    pub(crate) fn subscribe(&self, subscription: Subscription) {
        let qos = match subscription.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let filters = subscription.filters.into_iter().map(|filter| SubscribeFilter::new(filter, qos));
        // Fails only once the link is gone, and with it whoever waits for the answer.
        let _ = self.0.try_subscribe_many(filters);
    }

    pub(crate) fn unsubscribe(&self, filters: Vec<String>) {
        let _ = self.0.try_unsubscribe_many(filters);
    }

    pub(crate) fn acknowledge(&self, ack: Ack) {
        let ack = match ack.exactly_once {
            false => ManualAck::PubAck(PubAck::new(ack.packet)),
            true => ManualAck::PubRec(PubRec::new(ack.packet)),
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
            true => self.events.mqtt_options.keep_alive() * 2 + SLACK,
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
                self.events.mqtt_options.clear_session_store();
                Event::Connected(Granted { identifiers: false, ..Granted::all(ack.session_present) })
            }
            Told::Incoming(Incoming::SubAck(ack)) => {
                let refused = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(_) => None,
                    SubscribeReasonCode::Failure => Some("Failure".to_owned()),
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
            ConnectionError::NetworkTimeout => Failure::mute(),
            ConnectionError::FlushTimeout => Failure::silent("what was sent"),
            ConnectionError::Io(error) => Failure::io(error),
            ConnectionError::Tls(rumqttc_v4::TlsError::Io(error)) => Failure::io(error),
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

fn arrived(publish: Publish) -> Arrived {
    let ack = (publish.qos != QoS::AtMostOnce)
        .then_some(Ack { packet: publish.pkid, exactly_once: publish.qos == QoS::ExactlyOnce });
    Arrived {
        topic: publish.topic,
        payload: publish.payload,
        qos: publish.qos as u8,
        retained: publish.retain,
        properties: None,
        ack,
    }
}

fn refused(code: ConnectReturnCode) -> Failure {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => Failure::other_version("3.1.1", "5"),
        ConnectReturnCode::ServiceUnavailable => {
            Failure::unreachable(format!("takes no connections now: {code:?}"))
        }
        other => Failure::refused(&other),
    }
}

fn broken(error: &StateError) -> Failure {
    match error {
        StateError::Io(error) if error.kind() == io::ErrorKind::InvalidData => Failure::foreign(error),
        StateError::Io(error) => Failure::io(error),
        StateError::AwaitPingResp => Failure::silent("a ping"),
        StateError::ConnectionAborted => Failure::hung_up(""),
        StateError::Deserialization(error @ rumqttc_v4::Error::PayloadSizeLimitExceeded { .. }) => {
            Failure::unreachable(format!("sent more than maximumPacketSize allows: {error}"))
        }
        StateError::Deserialization(rumqttc_v4::Error::Io(error)) => Failure::io(error),
        StateError::Deserialization(error) => Failure::foreign(error),
        other => Failure::unreachable(format!("broke the protocol: {other}")),
    }
}
