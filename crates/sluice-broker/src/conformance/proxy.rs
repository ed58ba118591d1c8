//! A TCP proxy before a broker that can be cut and frozen, and listeners that are no broker at all.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// What the proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Bytes pass.
    Open,
    /// Connections stay, and no byte passes: a network that swallows everything.
    Frozen,
    /// Connections are closed, and so are new ones: a broker that is down behind something that is up.
    Cut,
}

/// A way to a broker that can be broken; dropping it closes everything.
pub(super) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    _running: JoinSet<()>,
}

impl Proxy {
    /// Leads to this address.
    pub(super) async fn to(broker: String) -> Self {
        let (listener, address) = listen().await;
        let (mode, changes) = watch::channel(Mode::Open);
        let mut running = JoinSet::new();
        running.spawn(accept(listener, Arc::from(broker), changes));
        Self { address, mode, _running: running }
    }

    /// Where drivers go instead.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Closes all connections, and every new one.
    pub(super) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets no byte pass.
    pub(super) fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    /// Lets everything pass again: connections that were frozen go on.
    pub(super) fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn accept(listener: TcpListener, broker: Arc<str>, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(pass(client, broker.clone(), mode.clone()));
    }
}

/// Passes bytes until an end closes or the proxy is cut.
async fn pass(client: TcpStream, broker: Arc<str>, mode: watch::Receiver<Mode>) {
    let mut cut = mode.clone();
    // What fails here is seen by the driver under test: its connection closes.
    tokio::select! {
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
        _ = relay(client, &broker, mode) => {}
    }
}

async fn relay(client: TcpStream, broker: &str, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    thawed(&mut mode).await?;
    let server = TcpStream::connect(broker).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        ended = pump(from_client, to_server, mode.clone()) => ended,
        ended = pump(from_server, to_client, mode) => ended,
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        thawed(&mut mode).await?;
        to.write_all(&buffer[..count]).await?;
    }
}

/// Waits while nothing may pass. An error once nothing shall: what was sent after the cut never arrives.
async fn thawed(mode: &mut watch::Receiver<Mode>) -> io::Result<()> {
    match *mode.wait_for(|mode| *mode != Mode::Frozen).await.map_err(io::Error::other)? {
        Mode::Cut => Err(io::ErrorKind::ConnectionReset.into()),
        Mode::Open | Mode::Frozen => Ok(()),
    }
}

/// Something that speaks another protocol: it answers whatever it is told, and hangs up.
pub(super) struct Stranger {
    /// Where it listens.
    pub(super) address: String,
    _running: JoinSet<()>,
}

impl Stranger {
    /// A web server, as far as anybody else can tell.
    pub(super) async fn listen() -> Self {
        let (listener, address) = listen().await;
        let mut running = JoinSet::new();
        running.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // Who has gone already needs no answer.
                let _ = client.read(&mut [0; 1024]).await;
                let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        Self { address: address.to_string(), _running: running }
    }
}

/// An address where nobody listens.
pub(super) async fn nobody() -> String {
    listen().await.1.to_string()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}
