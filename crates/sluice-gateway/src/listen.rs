//! Accepting connections: HTTP/1.1 on TCP, with bounds on their number, their headers and their patience.
//!
//! Serves the gateway's ports and the management ports alike; what is answered is the caller's.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_receiver::{Client, websocket::Upgrade};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{Ends, write_timeout::WriteTimeout};

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Connections at once; further ones are answered 503 and closed.
    pub max_connections: usize,
    /// How long a request head may take, and how long a kept-alive connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may take nothing of what is written to it before its connection is closed.
    pub write_timeout: Duration,
    /// Bytes of a request head that are always taken, at least 8192; at twice as many it is answered 431 or
    /// 414. As much is buffered for a client that reads slowly.
    pub max_header_bytes: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            max_header_bytes: 64 << 10,
        }
    }
}

/// What a client gets that comes when all connections are taken.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The listening sockets of one service, and the connections that came through them.
pub struct Listeners {
    options: ListenOptions,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl Listeners {
    /// No socket yet.
    pub fn new(options: ListenOptions) -> Self {
        let places = Arc::new(Semaphore::new(options.max_connections));
        Self { options, places, stop: CancellationToken::new(), connections: TaskTracker::new() }
    }

    /// Binds an address; port 0 takes a free one. Returns the socket, which is to be given to
    /// [`serve`](Self::serve), and the address really bound.
    pub async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    }

    /// Accepts connections in the background until [`shut_down`](Self::shut_down), answering with `answer`.
    pub fn serve<A, F, B>(&self, listener: TcpListener, answer: A)
    where
        A: Fn(Request<Incoming>, Ends) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (options, places) = (self.options.clone(), Arc::clone(&self.places));
        let (stop, connections) = (self.stop.clone(), self.connections.clone());
        self.connections.spawn(async move {
            loop {
                let (stream, client) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            // Out of file descriptors, as a rule: other connections must end first.
                            warn!(%error, "A connection could not be accepted.");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    },
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    warn!(%client, limit = options.max_connections, "All connections are taken; one was refused.");
                    // Best effort: a client that cannot take these bytes at once gets none.
                    let _sent = stream.try_write(FULL);
                    continue;
                };
                let connection = connection(stream, client, place, options.clone(), stop.clone(), answer.clone());
                connections.spawn(connection);
            }
        });
    }

    /// Stops accepting, lets requests in flight finish and closes their connections. Returns when all are
    /// closed or `timeout` has passed; false in the second case.
    pub async fn shut_down(&self, timeout: Duration) -> bool {
        self.stop.cancel();
        self.connections.close();
        tokio::time::timeout(timeout, self.connections.wait()).await.is_ok()
    }
}

/// The life of one connection: requests and answers and, after an answer that says so, a WebSocket.
async fn connection<A, F, B>(
    stream: TcpStream,
    client: SocketAddr,
    _place: OwnedSemaphorePermit,
    options: ListenOptions,
    stop: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>, Ends) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Events are small and wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%client, %error, "TCP_NODELAY could not be set.");
    }
    // A connection that is gone already has no end here; its requests will not be read either.
    let Ok(local) = stream.local_addr() else { return };
    let agreed = Mutex::new(None);
    let other = Client::new(client);
    let service = service_fn(|request| {
        let (answered, agreed) = (answer(request, Ends { client: other.clone(), local }), &agreed);
        async move {
            let answered = answered.await;
            if let Some(upgrade) =
                answered.as_ref().ok().and_then(|answer| answer.extensions().get::<Upgrade>())
            {
                *agreed.lock().unwrap_or_else(PoisonError::into_inner) = upgrade.take();
            }
            answered
        }
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.max_header_bytes.max(8192))
        .serve_connection(
            TokioIo::new(WriteTimeout::new(stream, options.write_timeout, &other.has_stalled)),
            service,
        );
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    let http1::Parts { io, read_buf, .. } = serving.into_parts();
    let mut stream = io.into_inner();
    // In this very task, with the connection's place and its bounds.
    let session = agreed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = session.filter(|_| ended.is_ok()) {
        Box::pin(session.run(&mut stream, read_buf)).await;
        // A client that has gone cannot be told.
        let _told = stream.shutdown().await;
    }
    linger(stream).await;
    if let Err(error) = ended {
        debug!(%client, %error, "A connection ended with an error.");
    }
}

/// How long and how much is read of a client after the last answer.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 << 20);

/// Reads what a client still sends until it closes. A socket that is closed with unread bytes resets the
/// connection, and a client that is still sending its too large body never sees why it was refused
/// (RFC 9112 section 9.6).
async fn linger(stream: WriteTimeout) {
    let (mut rest, mut nowhere) = (stream.take(LINGER.1), tokio::io::sink());
    let reading = tokio::io::copy(&mut rest, &mut nowhere);
    // However it ends, the connection is over.
    let _over = tokio::time::timeout(LINGER.0, reading).await;
}
