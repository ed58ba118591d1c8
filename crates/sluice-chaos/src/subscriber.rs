//! The far end of webhooks: takes what it is called with, or behaves as badly as it is told to.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::{net::TcpListener, sync::watch};

use crate::observer::Observer;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes messages.
    Well,
    /// 500.
    Failing,
    /// 429, to come back after a second.
    Busy,
    /// Nothing.
    Silent,
}

/// All subscribers, on one port.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) address: SocketAddr,
    mood: watch::Sender<Mood>,
}

#[derive(Clone)]
struct Shared {
    observers: Arc<HashMap<String, Arc<Observer>>>,
    mood: watch::Receiver<Mood>,
}

impl Subscriber {
    /// One subscriber for each of these names, below `/`.
    pub(crate) async fn start(observers: HashMap<String, Arc<Observer>>) -> Result<Self, String> {
        let failed = |error| format!("The subscribers have no port: {error}.");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mood = watch::Sender::new(Mood::Well);
        let shared = Shared { observers: Arc::new(observers), mood: mood.subscribe() };
        let router = Router::new().route("/{*name}", post(take)).with_state(shared);
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { address, mood })
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

async fn take(State(mut shared): State<Shared>, Path(name): Path<String>, body: Bytes) -> Response {
    let mood = *shared.mood.borrow_and_update();
    match mood {
        Mood::Well => match shared.observers.get(&name) {
            Some(observer) => {
                observer.message(&String::from_utf8_lossy(&body), "", None);
                StatusCode::OK.into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Mood::Failing => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Busy => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER as HeaderName, "1")]).into_response(),
        Mood::Silent => {
            // Whoever still waits when all is well again may be called once more.
            let _changed = shared.mood.wait_for(|mood| *mood != Mood::Silent).await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
