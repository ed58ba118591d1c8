//! The `websocket` receiver: a GET becomes a connection on which both sides send messages until one ends it.
//!
//! The connection's own task does everything: there is no task and no queue for a client. Its frames are
//! those of the messages, shared with every other client of the same settings, compressed or not.

mod end;
mod frame;
mod handshake;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode, request::Parts};
use sluice_api::WebsocketConfig;
use sluice_policy::{Caller, Hook};
use sluice_stream::Lag;

pub use handshake::is_asked_for;
pub use session::Session;

use crate::{
    Binding, Body, Refusal,
    open_stream::OpenStream,
    websocket::session::{Deliverer, Publisher},
};

/// What the connection of an answer 101 goes on with: an extension of that answer, to be taken and run once the
/// answer is written.
#[derive(Clone)]
pub struct Upgrade(Arc<Mutex<Option<Box<Session>>>>);

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

impl Upgrade {
    /// What to run; `None` when it was taken before.
    pub fn take(&self) -> Option<Box<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves one GET for which [`is_asked_for`] is true. Resolves once everything published from now on will be
/// sent, with an answer that has an [`Upgrade`]. `host` is the host that the request is for, `client` names the
/// other side in logs.
pub async fn open(
    binding: &Arc<Binding>,
    settings: &WebsocketConfig,
    caller: Arc<Caller>,
    request: &Parts,
    host: Option<&str>,
    client: String,
) -> Result<Response<Body>, Refusal> {
    let handshake = handshake::check(request, host, settings)?;
    let deliverer = if settings.subscriber.enabled {
        let topics = binding.chosen_by.deliver(&binding.deliver_topics, caller.attributes())?;
        let cursor = binding.hubs.join(&binding.driver, &topics, binding.begin.clone(), Lag::Skip).await?;
        Some(Deliverer::new(cursor, binding.chains.select(Hook::Deliver, &caller)))
    } else {
        None
    };
    let publisher = settings.publisher.enabled.then(|| Publisher {
        binding: Arc::clone(binding),
        chain: binding.chains.select(Hook::Publish, &caller),
        caller: Arc::clone(&caller),
    });
    let open = OpenStream::new(binding, client);
    let session = Session::new(open, settings, caller, handshake.deflate, publisher, deliverer);
    let mut response = handshake.answer();
    response.extensions_mut().insert(Upgrade(Arc::new(Mutex::new(Some(Box::new(session))))));
    Ok(response)
}

/// What a plain GET is told by an API that has nothing else for it.
pub fn upgrade_required() -> Refusal {
    let text =
        "This API speaks WebSocket here. Connect with a WebSocket client, by ws:// in place of http://.";
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "websocket.upgrade", text)
}
