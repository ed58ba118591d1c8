//! The `http-get` receiver: one GET, the messages of a while in one document.
//!
//! How a client goes on with its next GET is a matter of the API's delivery promise: with `none` it begins anew,
//! with `auto` the gateway remembers where the client's last answer ended, with the other two the client does,
//! by a cursor. Then the client alone decides what it reads twice or never, so that these two are the same here.

mod accept;
mod answer;
mod client;
mod envelope;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use sluice_api::{HttpGetConfig, Qos};
use sluice_broker::ErrorKind;
use sluice_message::{Position, Topic};
use sluice_policy::{Caller, Hook};
use sluice_stream::{Begin, Cursor, Lag, client_reader};
use tokio::time::Instant;
use tracing::warn;

use self::{answer::Answer, envelope::Envelope};
use crate::{Binding, Body, Refusal, open_stream::OpenStream, query::parameter};

/// Serves one GET. Resolves once everything published from now on is sure to be read, unless the answer is
/// full before. `client` is the other side of the connection.
pub async fn serve(
    binding: &Arc<Binding>,
    settings: &HttpGetConfig,
    qos: Qos,
    caller: Arc<Caller>,
    request: &Parts,
    client: SocketAddr,
) -> Result<Response<Body>, Refusal> {
    let format = accept::format(&request.headers)?;
    let limit = limit(request, settings)?;
    let topics = binding.chosen_by.deliver(&binding.deliver_topics, caller.attributes())?;
    let given = cursor(request, qos, &topics)?;
    let identifier = client::identifier(request, &caller, client)?;
    // Messages that are made for each reader have no place to go on from.
    let resumes = qos == Qos::Auto && binding.driver.capabilities().replay;
    let reader = resumes.then(|| client_reader(&binding.api.0, &identifier));
    let cursor = match &reader {
        Some(reader) => resumed(binding, &topics, reader).await?,
        None => join(binding, &topics, given.map_or_else(|| binding.begin.clone(), Begin::After)).await?,
    };
    let answer = Answer {
        chain: binding.chains.select(Hook::Deliver, &caller),
        caller,
        envelope: Envelope::new(format, settings.headers_in_payload, settings.metadata_in_payload),
        position: cursor.position(),
        cursor,
        batch: Vec::new(),
        item: None,
        has_cursor: matches!(qos, Qos::AtLeastOnce | Qos::AtMostOnce),
        reader,
        limit,
        taken: 0,
        deadline: Instant::now() + Duration::from_millis(settings.messages_limit_duration_ms),
        stage: answer::Stage::Begin,
        open: OpenStream::new(binding, client.to_string()),
    };
    let mut response = Response::new(Body::Stream(Box::pin(stream::unfold(answer, Answer::next))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // The same address has other messages the next time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(client::header(&identifier));
    Ok(response)
}

/// How many messages the answer may hold: as many as the API allows, or fewer if the client wants fewer.
fn limit(request: &Parts, settings: &HttpGetConfig) -> Result<u32, Refusal> {
    let Some(wanted) = parameter(request.uri.query(), "limit") else {
        return Ok(settings.messages_limit_count);
    };
    let wanted = wanted.parse::<u32>().ok().filter(|wanted| *wanted > 0).ok_or_else(|| {
        let text = "The parameter 'limit' must be a number of messages, from 1.";
        Refusal::new(StatusCode::BAD_REQUEST, "http-get.limit", text)
    })?;
    Ok(wanted.min(settings.messages_limit_count))
}

/// The position that the client brings.
fn cursor(request: &Parts, qos: Qos, topics: &[Topic]) -> Result<Option<Position>, Refusal> {
    let Some(text) = parameter(request.uri.query(), "cursor") else { return Ok(None) };
    let refused = |text: String| Refusal::new(StatusCode::BAD_REQUEST, "http-get.cursor", text);
    if matches!(qos, Qos::None | Qos::Auto) {
        let text = format!("This API gives no cursors: its qos is '{}'.", qos.as_str());
        return Err(refused(text));
    }
    // What is given out where nothing was read yet of a topic that has nothing yet: its beginning.
    if text.is_empty() {
        return Ok(Some(Position::new()));
    }
    // A plus sign that the client did not escape has become a space, which is no base64.
    let position = Position::decode(&text.replace(' ', "+"));
    let position = position.map_err(|error| refused(format!("The cursor is none of this API. {error}")))?;
    let own = position.nexts().all(|(topic, ..)| topics.contains(topic));
    if !own || position.is_empty() {
        return Err(refused("The cursor is none of this API: it does not belong to its topics.".to_owned()));
    }
    Ok(Some(position))
}

async fn join(binding: &Binding, topics: &[Topic], begin: Begin) -> Result<Cursor, Refusal> {
    Ok(binding.hubs.join(&binding.driver, topics, begin, Lag::CatchUp).await?)
}

/// Where the client's last answer ended. Where that is lost, or there was none, the client begins anew.
async fn resumed(binding: &Binding, topics: &[Topic], reader: &str) -> Result<Cursor, Refusal> {
    let stored = binding.positions.load(reader).await.map_err(|error| {
        warn!(api = %binding.api, reader, %error, "The position of a client cannot be read.");
        let text = "The gateway cannot read where this client has come to. Try again.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "http-get.position", text)
    })?;
    if let Some(position) = stored {
        let begin = Begin::After(position);
        match binding.hubs.join(&binding.driver, topics, begin, Lag::CatchUp).await {
            Err(error) if error.kind == ErrorKind::PositionLost => {
                warn!(api = %binding.api, reader, %error, "A client begins anew, since its position is lost.");
            }
            joined => return Ok(joined?),
        }
    }
    join(binding, topics, binding.begin.clone()).await
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn asked(query: &str) -> Parts {
        http::Request::get(format!("/a?{query}")).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_client_may_ask_for_fewer_messages_but_not_for_more() {
        let settings = HttpGetConfig { messages_limit_count: 10, ..HttpGetConfig::default() };
        for (query, expected) in [("", 10), ("limit=1", 1), ("limit=10", 10), ("limit=11", 10)] {
            assert_eq!(limit(&asked(query), &settings).unwrap(), expected, "{query}");
        }
        for query in ["limit=0", "limit=-1", "limit=", "limit=x", "limit=99999999999"] {
            assert_eq!(limit(&asked(query), &settings).unwrap_err().code, "http-get.limit", "{query}");
        }
    }

    #[test]
    fn a_cursor_is_taken_from_where_it_was_given() {
        let mut position = Position::new();
        position.set_next(&Topic::from("t"), sluice_message::Partition(0), sluice_message::Offset(7));
        let (text, topics) = (position.encode(), [Topic::from("t")]);
        let read = |text: &str, qos, topics: &[Topic]| cursor(&asked(&format!("cursor={text}")), qos, topics);
        assert_eq!(read(&text, Qos::AtLeastOnce, &topics).unwrap(), Some(position));
        assert_eq!(cursor(&asked(""), Qos::AtLeastOnce, &topics).unwrap(), None);
        assert_eq!(read("", Qos::AtLeastOnce, &topics).unwrap(), Some(Position::new()), "the beginning");
        for (text, qos, topics) in [
            (&*text, Qos::AtMostOnce, [Topic::from("other")]),
            (&*text, Qos::Auto, topics.clone()),
            ("!", Qos::AtLeastOnce, topics.clone()),
            ("eA==", Qos::AtLeastOnce, topics),
        ] {
            assert_eq!(read(text, qos, &topics).unwrap_err().code, "http-get.cursor", "{text} {qos:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_is_written_in_small_pieces() {
        let content = "\u{1}".repeat(1 << 20);
        let mock = json!({ "messageInterval": 1, "messageContent": content, "messageCount": 2 });
        let binding = Arc::new(testing::binding(&mock, &json!([])));
        let caller = Arc::new(Caller::new(&binding.chains, "http-get", ""));
        let mut request = asked("");
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (settings, client) = (HttpGetConfig::default(), ([10, 0, 0, 1], 1).into());
        let answer = serve(&binding, &settings, Qos::None, caller, &request, client).await.unwrap();
        let Body::Stream(mut pieces) = answer.into_body() else { panic!("no stream") };
        let mut document = Vec::new();
        while let Some(piece) = pieces.next().await {
            assert!(piece.len() < 128 << 10, "{}", piece.len());
            document.extend_from_slice(&piece);
        }
        let document: Value = serde_json::from_slice(&document).unwrap();
        let items = document["items"].as_array().unwrap();
        assert_eq!(items.len(), 2);
        assert!(items.iter().all(|item| item["content"].as_str().unwrap().starts_with(&content)));
    }
}
