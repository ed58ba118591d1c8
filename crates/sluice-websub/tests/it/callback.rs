//! A subscriber's server: keeps what it is asked, and confirms unless it is told otherwise.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    time::timeout,
};

use crate::bench::PATIENCE;

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// 200 with the challenge.
    Confirm,
    /// This status with the challenge.
    Status(u16),
    /// 200 with something else.
    Text(String),
    /// This status, with a header and the challenge.
    With(u16, &'static str, String),
    /// As above, not before a permit is given.
    Held(Arc<Semaphore>),
    /// No answer at all: the connection ends.
    Break,
}

/// A call that came in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) uri: Uri,
}

impl Call {
    /// What its parameters say, the last of each name.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        sluice_receiver::parameters(self.uri.query().unwrap_or_default()).collect()
    }

    /// What a parameter says; nothing when it is not there.
    pub(crate) fn says(&self, name: &str) -> String {
        self.parameters().remove(name).unwrap_or_default()
    }
}

pub(crate) struct Callback {
    pub(crate) address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

impl Callback {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let replies: Arc<Mutex<VecDeque<Reply>>> = Arc::default();
        let known = Arc::clone(&replies);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, replies) = (sender.clone(), Arc::clone(&known));
                let service =
                    service_fn(move |request| answer(request, sender.clone(), Arc::clone(&replies)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, calls, replies }
    }

    /// An address where nobody answers, yet.
    pub(crate) fn nobody() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// The next calls are answered like this, one after the other; those behind them are confirmed.
    pub(crate) fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call should have come").unwrap()
    }

    pub(crate) fn has_call(&self) -> bool {
        !self.calls.is_empty()
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let call = Call { uri: request.uri().clone() };
    let reply = replies.lock().unwrap().pop_front().unwrap_or(Reply::Confirm);
    let challenge = call.says("hub.challenge");
    let _test_may_be_over = calls.send(call);
    let mut response = Response::new(Full::new(Bytes::from(challenge)));
    match reply {
        Reply::Confirm => {}
        Reply::Status(status) => *response.status_mut() = StatusCode::from_u16(status)?,
        Reply::Text(text) => *response.body_mut() = Full::new(Bytes::from(text)),
        Reply::With(status, name, value) => {
            *response.status_mut() = StatusCode::from_u16(status)?;
            response.headers_mut().insert(name, value.parse()?);
        }
        Reply::Held(permits) => permits.acquire().await?.forget(),
        Reply::Break => return Err("as the test wants it".into()),
    }
    Ok::<_, Infallible>(response).map_err(Into::into)
}
