//! How to get a connection: name, TCP, TLS, AMQP, each with an error of its own.
//!
//! lapin is handed a connected stream and never reconnects: it would replay what it knows behind the back of readers
//! that number their messages. Its thread would wait for ever on a peer that never answers, so a second handle of the
//! socket is kept to cut the connection by.

use std::{
    fmt, io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_rs::{Runtime, Tokio};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::RustlsConnector,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism},
};
use rustls::ClientConfig;
use sluice_api::{RabbitmqConfig, Secret, StoreType};
use sluice_broker::{DriverError, ErrorKind, tls};
use tokio::{net::lookup_host, time::timeout};

use crate::{
    RabbitmqOptions, error,
    guard::{Guarded, Kit},
};

/// Who RabbitMQ makes for itself, who may log in from its own machine alone.
const GUEST: &str = "guest";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Consumer,
    Producer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        })
    }
}

/// Where and how to connect.
pub(crate) struct Target {
    /// Host, port and virtual host, for errors and logs.
    pub(crate) address: String,
    uri: AMQPUri,
    tls: Option<RustlsConnector>,
    /// Sets this driver apart from others in the broker's lists.
    mark: String,
    time: Duration,
}

impl Target {
    pub(crate) fn new(
        config: &RabbitmqConfig,
        options: &RabbitmqOptions,
        mark: String,
    ) -> Result<Self, DriverError> {
        let security = config.security.as_ref();
        let ssl = security.and_then(|security| security.ssl.as_ref());
        let auth = security.and_then(|security| security.auth.as_ref());
        let has_certificate =
            ssl.and_then(|ssl| ssl.key_store.as_ref()).is_some_and(|store| store.kind == StoreType::Pem);
        let mechanism = match auth {
            None if has_certificate => SASLMechanism::External,
            _ => SASLMechanism::Plain,
        };
        let (username, password) = match auth {
            Some(auth) => (&*auth.username, auth.password.as_ref().map_or("", Secret::expose)),
            None => (GUEST, GUEST),
        };
        let vhost = config.virtual_host.clone().unwrap_or_else(|| "/".to_owned());
        let connector = |tls: ClientConfig| RustlsConnector::from(Arc::new(tls));
        Ok(Self {
            address: format!("{}:{} (virtual host '{vhost}')", config.server_host, config.server_port),
            uri: AMQPUri {
                scheme: if ssl.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
                authority: AMQPAuthority {
                    userinfo: AMQPUserInfo { username: username.to_owned(), password: password.to_owned() },
                    host: config.server_host.clone(),
                    port: config.server_port,
                },
                vhost,
                query: AMQPQueryString {
                    heartbeat: Some(config.heartbeat),
                    auth_mechanism: Some(mechanism),
                    ..AMQPQueryString::default()
                },
            },
            tls: ssl.map(tls::client_config).transpose()?.map(connector),
            mark,
            time: options.answer_timeout,
        })
    }

    /// Connects, logs in and opens the virtual host, within the answer timeout.
    pub(crate) async fn connect(&self, role: Role) -> Result<Live, DriverError> {
        match timeout(self.time, self.try_connect(role)).await {
            Ok(connected) => connected,
            Err(_) => {
                let seconds = self.time.as_secs();
                let wish = if self.tls.is_some() { "not speak TLS" } else { "want TLS" };
                Err(self.unreachable(format_args!(
                    "no answer within {seconds} s; what listens there may speak another protocol, or {wish}"
                )))
            }
        }
    }

    async fn try_connect(&self, role: Role) -> Result<Live, DriverError> {
        let authority = &self.uri.authority;
        let (host, port) = (authority.host.as_str(), authority.port);
        let found = lookup_host((host, port)).await;
        let addresses: Vec<_> = found.map_err(|error| self.unreachable(&error))?.collect();
        let runtime = lapin::runtime::default_runtime().map_err(|error| self.unreachable(&error))?;
        let stream =
            AsyncTcpStream::connect(&runtime, addresses).await.map_err(|error| self.unreachable(&error))?;
        let AsyncTcpStream::Plain(plain) = &stream else {
            return Err(self.unreachable("the stream is encrypted before TLS began"));
        };
        let socket = Socket::of(plain.get_ref()).map_err(|error| self.unreachable(&error))?;
        let stream = match &self.tls {
            None => stream,
            Some(tls) => stream.into_rustls(tls, host).await.map_err(|error| self.no_tls(&error))?,
        };
        let name = format!("sluice-{role}-{}", self.mark);
        let properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .with_client_property(short("product"), "Sluice".into());
        let stream = Mutex::new(Some(AsyncTcpStream::Plain(Guarded::new(stream))));
        let connect = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let guarding = Runtime::new(Kit(Tokio::current()));
        let connected = Connection::connector(self.uri.clone(), guarding, connect, properties).await;
        let connection = connected.map_err(|error| error::failed("Logging in", &self.address, &error))?;
        Ok(Live { connection, socket, blocked: Mutex::default(), largest: AtomicUsize::new(usize::MAX) })
    }

    fn unreachable(&self, cause: impl fmt::Display) -> DriverError {
        let text = format!("RabbitMQ {} cannot be reached: {cause}.", self.address);
        DriverError::new(ErrorKind::Unreachable, text)
    }

    fn no_tls(&self, error: &io::Error) -> DriverError {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidMessage(_)) => self.unreachable(
                "what answers there does not speak TLS: leave out security.ssl, or use the port with TLS",
            ),
            Some(cause) => self.unreachable(format_args!("TLS failed, {cause}")),
            None if sluice_broker::has_left(error) => self.unreachable(
                "what listens there hung up when TLS began: it may not speak TLS, or want a certificate",
            ),
            None => self.unreachable(format_args!("TLS failed, {error}")),
        }
    }
}

/// A connection that works, or did.
pub(crate) struct Live {
    pub(crate) connection: Connection,
    socket: Socket,
    /// Why the broker takes no messages at the moment.
    blocked: Mutex<Option<String>>,
    /// The largest payload that the broker takes, in bytes, once it has said so.
    pub(crate) largest: AtomicUsize,
}

impl Live {
    /// Whether nothing is known to be wrong with it.
    pub(crate) fn works(&self) -> bool {
        self.connection.status().connected()
    }

    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_blocked(&self, why: Option<String>) {
        *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Notes the broker's limit, in bytes.
    pub(crate) fn learn_limit(&self, limit: usize) {
        self.largest.fetch_min(limit, Ordering::Relaxed);
    }

    /// Says good-bye for as long as that may take, then cuts the connection.
    pub(crate) async fn end(&self, time: Duration) {
        if self.works() {
            // Whoever does not answer is left without an answer, too.
            let _ = timeout(time, self.connection.close(200, short("OK"))).await;
        }
        self.socket.cut();
    }
}

/// A second handle of the socket under a connection. Cuts it when dropped.
struct Socket(TcpStream);

impl Socket {
    fn of(stream: &tokio::net::TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream.as_fd().try_clone_to_owned()?.into()))
    }

    fn cut(&self) {
        // It may be cut already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.cut();
    }
}

/// A short string from text that is known to be short: longer text would panic in lapin, and is cut here.
pub(crate) fn short(text: &str) -> lapin::types::ShortString {
    lapin::types::ShortString::try_new(&text[..text.floor_char_boundary(255)]).unwrap_or_default()
}
