//! The `sse` receiver: a GET becomes a stream of Server-Sent Events that lasts until either side ends it.
//!
//! The stream is a body that waits for messages by itself; there is no task and no queue for a client. Its
//! frames are those of the messages, shared with every other client of the same settings.

mod frame;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::stream;
use http::{HeaderValue, Response, header, request::Parts};
use sluice_api::{Qos, SseConfig};
use sluice_policy::Caller;

use self::session::Session;
use crate::{Binding, Body, Client, Refusal, client, group, open_stream::OpenStream, resume};

/// Serves one GET. Resolves once everything published from now on will be in the stream. `client` is the other
/// side of the connection.
pub async fn serve(
    binding: &Arc<Binding>,
    settings: &SseConfig,
    qos: Qos,
    caller: Arc<Caller>,
    request: &Parts,
    client: &Client,
) -> Result<Response<Body>, Refusal> {
    let open = OpenStream::new(binding, "sse", Arc::clone(&caller), client, settings.max_connections)?;
    let group = group::of(binding, &caller, qos)?;
    let topics = binding.shared_topics_for(&caller)?;
    let named = client::names_itself(request).then(|| client::identifier(request, &caller, client.address));
    let identifier = named.transpose()?;
    // An EventSource cannot set the header itself, and keeps its address when it comes back with a newer one.
    let cursor = resume::brought(request, qos)?;
    let brought = resume::last_event_id(&request.headers).or(cursor);
    let tells_positions = qos.tells_positions();
    let placed = match &group {
        Some(group) => {
            open.share(group);
            group::place(binding, &topics, group, qos).await?
        }
        None => {
            let bookmark = resume::bookmark(binding, qos, brought, request, &caller, client.address)?;
            resume::place(binding, &topics, bookmark, resume::lag(binding, qos), tells_positions).await?
        }
    };
    open.follow(placed.cursor.standing());
    let session = Box::new(Session::new(open, placed, settings.clone(), tells_positions));
    let mut response = Response::new(Body::Stream(Box::pin(stream::unfold(session, Session::next))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream;charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    // Asks the proxies that know it to pass each event on at once.
    headers.insert(header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.extend(identifier.and_then(|identifier| client::header(&identifier)));
    Ok(response)
}
