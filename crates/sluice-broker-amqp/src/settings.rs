//! The settings of both kinds of broker, brought into one form: what to connect to, as whom, and how addresses are
//! written there.

use std::sync::Arc;

use sluice_api::{
    AmqpAddresses, AmqpConfig, BrokerEndpoint, BrokerSecurity, BrokerTls, SolaceConfig, StoreType,
};
use sluice_broker::{DriverError, ErrorKind, tls};
use tokio_rustls::TlsConnector;

use crate::{address::Flavour, sasl::Login, semp::Semp};

/// What the driver needs to know.
pub(crate) struct Settings {
    pub(crate) endpoint: BrokerEndpoint,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) login: Login,
    /// The host that the broker is told it is spoken to as.
    pub(crate) virtual_host: Option<String>,
    pub(crate) flavour: Flavour,
    pub(crate) limits: Limits,
    pub(crate) semp: Option<Semp>,
    /// Which broker this is, the same for each connection to it.
    pub(crate) identity: String,
}

/// What both kinds of settings bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages that a reader may hold unacknowledged.
    pub(crate) credit: u32,
    /// Bytes of a message that is published, encoded.
    pub(crate) message: Option<u32>,
}

impl Settings {
    /// # Errors
    /// `Configuration`, for a url or certificates that cannot work.
    pub(crate) fn of_amqp(config: &AmqpConfig) -> Result<Self, DriverError> {
        let endpoint = config.endpoint().map_err(|text| invalid(&text))?;
        let flavour = match config.addresses {
            AmqpAddresses::Artemis => Flavour::Artemis,
            AmqpAddresses::Rabbitmq => Flavour::Rabbitmq,
        };
        let security = config.security.as_ref();
        let limits = Limits { credit: config.link_credit, message: config.maximum_message_size };
        Self::new(endpoint, security, flavour, config.virtual_host.as_ref(), limits, None)
    }

    /// # Errors
    /// `Configuration`, for a url or certificates that cannot work.
    pub(crate) fn of_solace(config: &SolaceConfig) -> Result<Self, DriverError> {
        let endpoint = config.endpoint().map_err(|text| invalid(&text))?;
        let vpn = config.vpn_name.as_ref();
        let semp = config
            .semp
            .as_ref()
            .map(|semp| Semp::open(semp, vpn.map_or("default", String::as_str)))
            .transpose()?;
        let flavour = Flavour::Solace { provisions: semp.is_some() };
        let limits = Limits { credit: config.link_credit, message: config.maximum_message_size };
        Self::new(endpoint, config.security.as_ref(), flavour, vpn, limits, semp)
    }

    fn new(
        endpoint: BrokerEndpoint,
        security: Option<&BrokerSecurity>,
        flavour: Flavour,
        virtual_host: Option<&String>,
        limits: Limits,
        semp: Option<Semp>,
    ) -> Result<Self, DriverError> {
        let ssl = security.and_then(|security| security.ssl.as_ref());
        if ssl.is_some() && !endpoint.encrypted {
            return Err(invalid("security.ssl needs a url of encrypted connections."));
        }
        let tls = match endpoint.encrypted {
            true => {
                Some(TlsConnector::from(Arc::new(tls::client_config(ssl.unwrap_or(&BrokerTls::default()))?)))
            }
            false => None,
        };
        let virtual_host = virtual_host.cloned();
        let identity = format!(
            "amqp {}:{} {}",
            endpoint.host,
            endpoint.port,
            virtual_host.as_deref().unwrap_or_default()
        );
        Ok(Self {
            tls,
            login: login(security, ssl),
            identity: identity.trim_end().to_owned(),
            endpoint,
            virtual_host,
            flavour,
            limits,
            semp,
        })
    }
}

/// A user name goes by PLAIN; without one a certificate of the gateway's own says who it is.
fn login(security: Option<&BrokerSecurity>, ssl: Option<&BrokerTls>) -> Login {
    let has_certificate =
        ssl.and_then(|ssl| ssl.key_store.as_ref()).is_some_and(|store| store.kind == StoreType::Pem);
    match security.and_then(|security| security.auth.as_ref()) {
        Some(auth) => Login::Plain { username: auth.username.clone(), password: auth.password.clone() },
        None if has_certificate => Login::External,
        None => Login::Anonymous,
    }
}

fn invalid(text: &str) -> DriverError {
    DriverError::new(ErrorKind::Configuration, text)
}
