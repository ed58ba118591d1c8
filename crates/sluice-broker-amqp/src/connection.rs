//! One connection with one session: made within a time, closed in order.
//!
//! Readers have a connection each. Closing a connection is the one way of leaving that every broker understands alike:
//! what was not acknowledged comes again, and a durable subscription stays.

use std::{fmt, mem, time::Duration};

use fe2o3_amqp::{
    Connection as Amqp, Receiver, Sender, Session,
    connection::ConnectionHandle,
    link::receiver::CreditMode,
    session::SessionHandle,
    types::{definitions::SenderSettleMode, messaging::Source},
};
use sluice_broker::{DriverError, ErrorKind};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::debug;

use crate::{
    address::Address,
    broker::{Broker, unique},
    error::{Cause, of_io},
    guard::{Guarded, LARGEST_FRAME},
    settings::Settings,
    stranger,
};

/// How long a broker may take to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Frames that may come before they are taken, at least as many as messages with the largest credit.
const WINDOW: u32 = 20_000;

/// A connection with its session.
pub(crate) struct Connection {
    handle: ConnectionHandle<()>,
    session: SessionHandle<()>,
    /// The most bytes of a message that is read, encoded.
    largest_message: u64,
}

impl Connection {
    /// Connects as this container.
    ///
    /// # Errors
    /// `Unreachable` or `Refused`, with the address and the cause.
    pub(crate) async fn open(broker: &Broker, container: &str) -> Result<Self, DriverError> {
        let time = broker.options.answer_timeout;
        let opened = match timeout(time, Box::pin(try_open(broker, container))).await {
            Ok(opened) => opened.map_err(|cause| broker.error("Connecting", &cause)),
            Err(_) => {
                let wish = if broker.settings.tls.is_some() { "not speak TLS" } else { "want TLS" };
                let text = format!(
                    "no answer within {} ms; what listens there may speak another protocol, or {wish}",
                    time.as_millis()
                );
                Err(broker.error("Connecting", &Cause::new(ErrorKind::Unreachable, text)))
            }
        };
        match &opened {
            Ok(_) => broker.reached(),
            Err(error) => broker.missed(error),
        }
        opened
    }

    /// Attaches a link to publish by. Messages go unsettled: the broker answers each.
    pub(crate) async fn attach_sender(
        &mut self,
        settings: &Settings,
        address: Address<'_>,
    ) -> Result<Sender, Cause> {
        if let Some(source) = settings.flavour.probe(address) {
            // Without credit it gets nothing, and dropping it closes it.
            self.attach_receiver(unique(), source).await?;
        }
        let attached = Sender::builder()
            .name(unique())
            .target(settings.flavour.target(address))
            .sender_settle_mode(SenderSettleMode::Unsettled)
            // The smaller of this and of what the broker says counts; 0 is no limit.
            .max_message_size(settings.limits.message.map_or(0, u64::from))
            .attach(&mut self.session)
            .await;
        attached.map_err(|error| Cause::from(&error))
    }

    /// Attaches a link to read by, without credit.
    pub(crate) async fn attach_receiver(&mut self, name: String, source: Source) -> Result<Receiver, Cause> {
        let attached = Receiver::builder()
            .name(name)
            .source(source)
            .credit_mode(CreditMode::Manual)
            .max_message_size(self.largest_message)
            .attach(&mut self.session)
            .await;
        attached.map_err(|error| Cause::from(&error))
    }

    /// Returns with the end of its session, which ends with the connection at the latest.
    pub(crate) async fn ended(&mut self) {
        // The links tell why.
        let _ = self.session.on_end().await;
    }

    /// Ends it in order. Brokers answer oddly at times (RabbitMQ before version 4 does), and nothing depends on it.
    /// Returns whether it has ended, rather than being left to its idle timeout.
    pub(crate) async fn close(&mut self) -> bool {
        let ended = timeout(FAREWELL, self.session.end()).await;
        let closed = timeout(FAREWELL, self.handle.close()).await;
        if let Ok(Err(error)) = &ended {
            debug!(%error, "A session did not end as it should.");
        }
        if let Ok(Err(error)) = &closed {
            debug!(%error, "A connection did not close as it should.");
        }
        closed.is_ok()
    }

    /// Ends it in order after its readers. A link is detached, never closed: closing it would end a durable
    /// subscription. Acknowledgements go the same way as the detaching, so that none is overtaken by the end.
    pub(crate) async fn close_after(&mut self, receivers: Vec<Receiver>) {
        for receiver in receivers {
            match timeout(FAREWELL, receiver.detach()).await {
                Ok(Ok(_)) => {}
                Ok(Err((_, error))) => debug!(%error, "A link did not detach as it should."),
                Err(_) => debug!("The broker did not answer the detaching of a link."),
            }
        }
        self.close().await;
    }
}

/// Gives up receivers whose connection cannot be ended in order. Dropping one closes its link, which may reach the
/// broker yet and would end a durable subscription; leaving it lets the connection's end take it along.
pub(crate) fn abandon(receivers: Vec<Receiver>) {
    receivers.into_iter().for_each(mem::forget);
}

async fn try_open(broker: &Broker, container: &str) -> Result<Connection, Cause> {
    let endpoint = &broker.settings.endpoint;
    let connected = TcpStream::connect((&*endpoint.host, endpoint.port)).await;
    let stream = connected.map_err(|error| of_io(&error))?;
    stream.set_nodelay(true).map_err(|error| of_io(&error))?;
    match &broker.settings.tls {
        None => establish(broker, container, stream).await,
        Some(tls) => {
            let name = ServerName::try_from(endpoint.host.clone());
            let name = name.map_err(|error| Cause::new(ErrorKind::Unreachable, error.to_string()))?;
            let secured = tls.connect(name, stream).await.map_err(|error| stranger::untrusted(&error))?;
            establish(broker, container, secured).await
        }
    }
}

/// Logs in and opens connection and session on a stream.
async fn establish<S>(broker: &Broker, container: &str, mut stream: S) -> Result<Connection, Cause>
where
    S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static,
{
    let settings = &broker.settings;
    let virtual_host = settings.virtual_host.as_deref().unwrap_or(&settings.endpoint.host);
    settings.login.log_in(&mut stream, virtual_host).await?;
    let largest_message = u64::from(broker.options.message_kib) * 1024;
    let idle = u32::try_from(broker.options.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    // The library's part begins behind TLS and SASL, so that the scheme is always the plain one.
    let opened = Amqp::builder()
        .container_id(container)
        .hostname(virtual_host)
        .scheme("amqp")
        .idle_time_out(idle)
        .max_frame_size(LARGEST_FRAME)
        // A byte is left for what takes the place of a message that is cut off.
        .open_with_stream(Guarded::new(stream, largest_message.saturating_sub(1)))
        .await;
    let mut handle = opened.map_err(|error| Cause::from(&error))?;
    let session = Session::builder().incoming_window(WINDOW).begin(&mut handle).await;
    let session = session.map_err(|error| Cause::from(&error))?;
    Ok(Connection { handle, session, largest_message })
}
