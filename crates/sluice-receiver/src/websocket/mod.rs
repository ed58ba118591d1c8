//! The `websocket` receiver: a GET becomes a connection on which both sides send messages until one ends it.
//!
//! The connection's own task does everything: there is no task and no queue for a client. Its frames are
//! those of the messages, shared with every other client of the same settings, compressed or not.

mod control;
mod deliverer;
mod document;
mod end;
mod envelope;
mod first_frame;
mod frame;
mod handshake;
mod out;
mod publisher;
mod pulse;
mod receipts;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt;
use http::{Response, StatusCode, request::Parts};
use sluice_api::{Qos, WebsocketConfig};
use sluice_policy::Caller;

pub use handshake::is_asked_for;
pub(crate) use handshake::offered;
pub use session::Session;

use self::{deliverer::Frames, first_frame::FirstFrame, out::Out};
use crate::{
    Binding, Body, Client, Refusal, client, group, open_stream::OpenStream, query::parameter, resume,
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
/// sent, with an answer that has an [`Upgrade`]. `host` is the host that the request is for, `client` is the other
/// side of the connection.
pub async fn open(
    binding: &Arc<Binding>,
    settings: &WebsocketConfig,
    qos: Qos,
    caller: Arc<Caller>,
    request: &Parts,
    host: Option<&str>,
    client: &Client,
) -> Result<Response<Body>, Refusal> {
    let handshake = handshake::check(request, host, binding.channel.as_deref(), settings)?;
    let asked = asked(request, settings, qos)?;
    let open = OpenStream::new(binding, "websocket", Arc::clone(&caller), client, settings.max_connections)?;
    let mut identifier = None;
    let out = if settings.subscriber.enabled {
        let group = group::of(binding, &caller, qos)?;
        let topics = binding.shared_topics_for(&caller)?;
        let lag = resume::lag(binding, qos);
        match asked {
            _ if let Some(group) = &group => {
                open.share(group);
                let placed = group::place(binding, &topics, group, qos).await?;
                Out::Placing(future::ready(Ok(placed)).boxed())
            }
            Asked::InFirstFrame => Out::Awaited(FirstFrame::new(topics.into_owned(), lag)),
            Asked::InAddress(brought) => {
                let bookmark = resume::bookmark(binding, qos, brought, request, &caller, client.address)?;
                let placed = resume::place(binding, &topics, bookmark, lag, qos.tells_positions()).await?;
                if placed.reader.is_some() {
                    identifier = Some(client::identifier(request, &caller, client.address)?);
                }
                Out::Placing(future::ready(Ok(placed)).boxed())
            }
        }
    } else {
        Out::Off
    };
    let frames = Frames {
        format: settings.frames,
        deflate: handshake.deflate,
        tells_positions: qos.tells_positions(),
    };
    let session = Session::new(open, settings, frames, out);
    let mut response = handshake.answer();
    response.headers_mut().extend(identifier.as_deref().and_then(client::header));
    response.extensions_mut().insert(Upgrade(Arc::new(Mutex::new(Some(Box::new(session))))));
    Ok(response)
}

/// Where a client says its place.
enum Asked {
    /// In the request, if at all.
    InAddress(Option<String>),
    /// In the first frame.
    InFirstFrame,
}

/// Where the client says its place. What it asks for is refused where it would be ignored.
fn asked(request: &Parts, settings: &WebsocketConfig, qos: Qos) -> Result<Asked, Refusal> {
    let (cursor, first) = (resume::cursor(request), parameter(request.uri.query(), "resume"));
    let wrong = match (&cursor, first.as_deref()) {
        (None, None) => return Ok(Asked::InAddress(None)),
        _ if !settings.subscriber.enabled => {
            "There is nothing to resume: this API sends its clients nothing.".into()
        }
        _ if !qos.tells_positions() => {
            format!("This API gives no positions to resume from: its qos is '{}'.", qos.as_str())
        }
        (Some(_), None) => return Ok(Asked::InAddress(cursor)),
        (None, Some("frame")) => return Ok(Asked::InFirstFrame),
        (None, Some(_)) => "The parameter 'resume' can only be 'frame'.".into(),
        (Some(_), Some(_)) => "Bring the position by 'cursor' or by 'resume=frame', not by both.".into(),
    };
    Err(Refusal::new(StatusCode::BAD_REQUEST, "position.unknown", wrong))
}

/// What a plain GET is told by an API that has nothing else for it.
pub fn upgrade_required() -> Refusal {
    let text =
        "This API speaks WebSocket here. Connect with a WebSocket client, by ws:// in place of http://.";
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "websocket.upgrade", text)
}
