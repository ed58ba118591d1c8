//! The settings of an event API, read once into what the connections and messages of a driver need.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use sluice_api::{MqttConfig, MqttRetained, MqttTransport, MqttVersion, Secret};
use sluice_broker::{DriverError, tls};

use crate::MqttOptions;

/// The window of a reader that sets none.
const RECEIVE_MAXIMUM: u16 = 1000;
/// How long a session is kept where nothing is set, in seconds: a day.
const SESSION_EXPIRY: u32 = 86_400;

/// Where and how to connect.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) version: MqttVersion,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What stands in front of host and port in a WebSocket's URL, and behind; `None` for TCP.
    pub(crate) path: Option<String>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) user: Option<(String, Secret)>,
    /// In seconds.
    pub(crate) keep_alive: u16,
    pub(crate) maximum_packet: u32,
    pub(crate) answer_timeout: Duration,
}

/// How to publish.
#[derive(Debug, Clone)]
pub(crate) struct Producing {
    pub(crate) exactly_once: bool,
    pub(crate) retained: bool,
    pub(crate) response_topic: Option<String>,
    pub(crate) expiry: Option<u32>,
    pub(crate) attempts: u8,
}

/// How to read.
#[derive(Debug, Clone)]
pub(crate) struct Consuming {
    pub(crate) qos: u8,
    pub(crate) share: Option<String>,
    pub(crate) receive_maximum: u16,
    pub(crate) session_expiry: u32,
    pub(crate) retained: MqttRetained,
}

impl Target {
    /// Reads certificates from disk.
    ///
    /// # Errors
    /// `Configuration`, where they cannot be used.
    pub(crate) fn new(config: &MqttConfig, options: &MqttOptions) -> Result<Self, DriverError> {
        let security = config.security.as_ref();
        let tls = security.and_then(|security| security.ssl.as_ref());
        let auth = security.and_then(|security| security.auth.as_ref());
        let host = config.server_host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            version: config.version,
            host,
            port: config.server_port,
            path: (config.transport == MqttTransport::Websocket)
                .then(|| config.path.clone().unwrap_or_else(|| "/mqtt".to_owned())),
            tls: tls.map(tls::client_config).transpose()?.map(Arc::new),
            user: auth.map(|auth| {
                let none = || Secret::new("");
                (auth.username.clone(), auth.password.clone().unwrap_or_else(none))
            }),
            keep_alive: config.keep_alive,
            maximum_packet: config.maximum_packet_size,
            answer_timeout: options.answer_timeout,
        })
    }

    /// Host and port, as messages name the broker.
    pub(crate) fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The URL of its WebSocket, where that is the transport.
    pub(crate) fn url(&self) -> Option<String> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        self.path.as_ref().map(|path| format!("{scheme}://{}{path}", self.address()))
    }
}

impl Producing {
    pub(crate) fn new(config: &MqttConfig) -> Self {
        let producer = &config.producer;
        Self {
            exactly_once: producer.qos == 2,
            retained: producer.retained,
            response_topic: producer.response_topic.clone(),
            expiry: u32::try_from(producer.message_expiry_interval).ok(),
            attempts: config.reconnect_attempts,
        }
    }
}

impl Consuming {
    pub(crate) fn new(config: &MqttConfig) -> Self {
        let consumer = &config.consumer;
        let expiry = config.session_expiry_interval;
        Self {
            qos: consumer.qos,
            share: consumer.share.clone(),
            receive_maximum: consumer.receive_maximum.unwrap_or(RECEIVE_MAXIMUM),
            // The largest number is how MQTT says "for ever".
            session_expiry: expiry
                .map_or(SESSION_EXPIRY, |seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            retained: consumer.retained,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_is_in_no_text_for_people() {
        let settings = json!({
            "serverHost": "h", "serverPort": 1, "security": {"auth": {"username": "me", "password": "hush"}}
        });
        let config = serde_json::from_value(settings).expect("it has what it needs");
        let target = Target::new(&config, &MqttOptions::default()).expect("it needs no broker");
        let text = format!("{target:?}");
        assert!(
            text.contains("me") && !text.contains("hush") && !text.contains("104, 117, 115, 104"),
            "{text}"
        );
    }
}
