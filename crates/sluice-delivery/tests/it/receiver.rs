//! A subscriber's server: keeps what it gets and answers as it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A call that came in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// What a header says; nothing when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The fields of a form.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// With a header.
    With(u16, &'static str, String),
    /// With this body in place of the usual one.
    Body(u16, String),
    /// Not before a permit is given.
    Held(Arc<Semaphore>, u16),
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    calls: mpsc::UnboundedReceiver<Call>,
    script: Arc<Script>,
    connections: Arc<AtomicUsize>,
}

/// How calls are answered.
#[derive(Debug, Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    /// Bodies that get this status as long as they are here.
    poison: Mutex<BTreeMap<String, u16>>,
}

impl Receiver {
    /// Answers 200 to everything.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// The same at this address.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::serve("http", address, None).await
    }

    /// An address where nobody answers, yet.
    pub(crate) fn nobody() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// The same by https.
    pub(crate) async fn start_tls(config: ServerConfig) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        Self::serve("https", address, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(scheme: &'static str, address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let script: Arc<Script> = Arc::default();
        let known = Arc::clone(&script);
        let connections: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (sender, script) = (sender.clone(), Arc::clone(&known));
                let service = service_fn(move |request| answer(request, sender.clone(), Arc::clone(&script)));
                let Some(tls) = tls.clone() else {
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                    continue;
                };
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        let _broken =
                            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self { address, scheme, calls, script, connections }
    }

    /// The next calls are answered like this, one after the other; those behind them with 200.
    pub(crate) fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.replies.lock().unwrap().extend(replies);
    }

    /// Calls with this body get this status from now on; with `None` no longer.
    pub(crate) fn poison(&self, body: &str, status: Option<u16>) {
        let mut poison = self.script.poison.lock().unwrap();
        match status {
            Some(status) => poison.insert(body.to_owned(), status),
            None => poison.remove(body),
        };
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) async fn call(&mut self) -> Call {
        let call = tokio::time::timeout(crate::bench::PATIENCE, self.calls.recv());
        call.await.expect("a call should have come").unwrap()
    }

    /// The bodies of the next calls.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.call().await.text().to_owned());
        }
        texts
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn has_call(&mut self) -> bool {
        !self.calls.is_empty()
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
    script: Arc<Script>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let poison = script.poison.lock().unwrap().get(&*String::from_utf8_lossy(&body)).copied();
    let reply = match poison {
        Some(status) => Reply::Status(status),
        None => script.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(200)),
    };
    let _test_may_be_over = calls.send(Call { path: head.uri.to_string(), headers: head.headers, body });
    let mut response = Response::new(Full::new(Bytes::from("noted")));
    let status = match reply {
        Reply::Status(status) => status,
        Reply::Body(status, body) => {
            *response.body_mut() = Full::new(Bytes::from(body));
            status
        }
        Reply::With(status, name, value) => {
            response.headers_mut().insert(name, value.parse().unwrap());
            status
        }
        Reply::Held(permits, status) => {
            permits.acquire().await.unwrap().forget();
            status
        }
    };
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}
