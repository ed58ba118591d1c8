//! A TCP proxy between two parties: it leads to an address that may change, refuses, and resets what is open.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How soon the port is tried again when somebody else has it.
const RETRY: Duration = Duration::from_millis(50);

/// A proxy on a port of its own, for as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone)]
struct State {
    /// Nobody is there: connections are refused.
    refuses: bool,
    target: Option<SocketAddr>,
    /// Cancelled to reset all connections.
    connections: CancellationToken,
}

impl Proxy {
    /// Leads nowhere until it is told where.
    pub(crate) async fn start() -> Result<Self, String> {
        let failed = |error| format!("A proxy has no port: {error}.");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = State { refuses: false, target: None, connections: CancellationToken::new() };
        let state = Arc::new(watch::Sender::new(state));
        tokio::spawn(serve(listener, address, state.subscribe()));
        Ok(Self { address, state })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads to from now on; connections that are open stay where they are.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = Some(target));
    }

    /// Resets all connections.
    pub(crate) fn reset(&self) {
        self.state.send_modify(|state| {
            std::mem::replace(&mut state.connections, CancellationToken::new()).cancel();
        });
    }

    /// Refuses connections, or takes them again. Those that are open are reset.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.send_modify(|state| state.refuses = refuses);
        self.reset();
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, mut state: watch::Receiver<State>) {
    let mut listener = Some(listener);
    loop {
        let now = state.borrow_and_update().clone();
        if now.refuses {
            // The port itself has to go: a connection that is taken and closed is another fault.
            listener = None;
        } else if listener.is_none() {
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => {
                    sleep(RETRY).await;
                    continue;
                }
            }
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()) => {
                if let Some(client) = accepted {
                    tokio::spawn(relay(client, now.target, now.connections));
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn relay(mut client: TcpStream, target: Option<SocketAddr>, reset: CancellationToken) {
    let Some(target) = target else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return break_off(&client) };
    for side in [&client, &server] {
        // Without it the figures would be those of the proxy.
        let _set = side.set_nodelay(true);
    }
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => {}
        () = reset.cancelled() => {
            break_off(&client);
            break_off(&server);
        }
    }
}

/// What is dropped after this is reset instead of closed.
fn break_off(side: &TcpStream) {
    let _set = side.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = client.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        loop {
            let Ok(mut client) = TcpStream::connect(proxy.address()).await else { continue };
            client.write_all(b"x").await.unwrap();
            if client.read_u8().await.is_ok() {
                return client;
            }
        }
    }

    #[tokio::test]
    async fn what_is_open_is_reset_and_what_comes_then_is_served() {
        let proxy = Proxy::start().await.unwrap();
        proxy.lead_to(echo().await);
        let mut client = connected(&proxy).await;
        proxy.reset();
        assert_eq!(client.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        connected(&proxy).await;
    }

    #[tokio::test]
    async fn nobody_is_let_in_while_it_refuses() {
        let proxy = Proxy::start().await.unwrap();
        proxy.lead_to(echo().await);
        let mut client = connected(&proxy).await;
        proxy.refuse(true);
        client.read_u8().await.unwrap_err();
        while TcpStream::connect(proxy.address()).await.is_ok() {}
        proxy.refuse(false);
        connected(&proxy).await;
    }
}
