//! A broker in this process that keeps the rules Solace documents for AMQP: who reads binds to a queue or a topic
//! endpoint and to nothing else, a queue made by binding has one active reader, and what was given back comes again
//! only to who connects anew.

mod endpoint;
mod link;
mod login;
mod semp;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use fe2o3_amqp::{
    acceptor::{ConnectionAcceptor, LinkAcceptor, LinkEndpoint, SessionAcceptor},
    types::{
        definitions::{AmqpError, Error as Condition, Role},
        performatives::Attach,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use self::{endpoint::Endpoint, login::Users};
pub(crate) use self::{login::USER, semp::PASSWORD as SEMP_PASSWORD};

/// Larger messages are refused by the link.
pub(crate) const MAX_MESSAGE: u64 = 1 << 20;

/// A running peer; it goes with the test's runtime.
pub(crate) struct Peer {
    /// Where it listens, as `host:port`.
    pub(crate) address: String,
    /// Its management.
    pub(crate) semp: String,
    pub(crate) state: Arc<State>,
}

/// What all connections share.
#[derive(Default)]
pub(crate) struct State {
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    /// Hosts that clients said they speak to.
    pub(crate) hosts: Mutex<Vec<String>>,
    /// The largest messages that readers said they take, in bytes.
    pub(crate) largest: Mutex<Vec<Option<u64>>>,
    /// Closes the link to the topic `closing` that had the first message there, and no other.
    pub(crate) close: Notify,
    has_one_to_close: AtomicBool,
}

impl State {
    fn endpoints(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Endpoint>>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an endpoint, unless it is there; says whether it was made.
    pub(crate) fn make(&self, name: &str, exclusive: bool) -> bool {
        let mut endpoints = self.endpoints();
        let is_new = !endpoints.contains_key(name);
        endpoints.entry(name.to_owned()).or_insert_with(|| Arc::new(Endpoint::new(exclusive)));
        is_new
    }

    /// Lets an endpoint get the messages of a topic; says whether it did not before.
    pub(crate) fn subscribe(&self, name: &str, topic: &str) -> Option<bool> {
        self.endpoints().get(name).map(|endpoint| endpoint.subscribe(topic))
    }

    /// The names of all endpoints there are.
    pub(crate) fn names(&self) -> Vec<String> {
        self.endpoints().keys().cloned().collect()
    }
}

impl Peer {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let state = Arc::new(State::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        let semp = semp::start(state.clone()).await;
        tokio::spawn(listen(listener, state.clone(), tls));
        Self { address, semp, state }
    }
}

async fn listen(listener: TcpListener, state: Arc<State>, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (state.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, Users { certificate: false, state: state.clone() }, state).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let certificate = stream.get_ref().1.peer_certificates().is_some();
                    serve(stream, Users { certificate, state: state.clone() }, state).await;
                }
            }
        });
    }
}

async fn serve<S>(stream: S, users: Users, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin + 'static,
{
    let acceptor = ConnectionAcceptor::builder()
        .container_id("solace-peer")
        .sasl_acceptor(users)
        .idle_time_out(10_000u32);
    let Ok(mut connection) = acceptor.build().accept(stream).await else { return };
    while let Some(incoming) = connection.next_incoming_session().await {
        let accepted = SessionAcceptor::new().accept_incoming_session(incoming, &mut connection).await;
        let Ok(mut session) = accepted else { return };
        let state = state.clone();
        tokio::spawn(async move {
            while let Some(attach) = session.next_incoming_attach().await {
                attached(attach, &mut session, &state).await;
            }
        });
    }
}

async fn attached(
    attach: Attach,
    session: &mut fe2o3_amqp::acceptor::ListenerSessionHandle,
    state: &Arc<State>,
) {
    let is_publisher = attach.role == Role::Sender;
    let bound = if is_publisher {
        link::target(&attach, state).map(|address| (address, None))
    } else {
        state.largest.lock().unwrap_or_else(PoisonError::into_inner).push(attach.max_message_size);
        link::bind(&attach, state).map(|bound| (String::new(), Some(bound)))
    };
    let acceptor = LinkAcceptor::builder().max_message_size(MAX_MESSAGE).build();
    let Ok(link) = acceptor.accept_incoming_attach(attach, session).await else { return };
    match (link, bound) {
        (LinkEndpoint::Receiver(receiver), Ok((address, _))) => {
            tokio::spawn(link::take(receiver, address, state.clone()));
        }
        (LinkEndpoint::Sender(sender), Ok((_, Some(bound)))) => {
            tokio::spawn(link::give(sender, bound));
        }
        (LinkEndpoint::Receiver(receiver), Err(condition)) => {
            drop(receiver.close_with_error(condition).await);
        }
        (LinkEndpoint::Sender(sender), Err(condition)) => drop(sender.close_with_error(condition).await),
        (LinkEndpoint::Sender(_), Ok((_, None))) => {}
    }
}

pub(crate) fn condition(error: AmqpError, text: &str) -> Condition {
    Condition::new(error, Some(text.to_owned()), None)
}
