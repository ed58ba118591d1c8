//! The `http-get` receiver: one GET, the messages of a while in one document.
//!
//! How a client goes on with its next GET is a matter of the API's delivery promise: with `none` it begins anew,
//! with `auto` the gateway remembers where the client's last answer ended, with the other two the client does,
//! by a cursor. Then the client alone decides what it reads twice or never, so that these two are the same here.

mod accept;
mod answer;
mod envelope;

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use sluice_api::{HttpGetConfig, Qos};
use sluice_policy::{Caller, Hook};
use sluice_stream::Lag;
use tokio::time::Instant;

use self::{
    answer::Answer,
    envelope::{Envelope, Gap},
};
use crate::{
    Binding, Body, Client, Refusal, client,
    open_stream::OpenStream,
    query::parameter,
    resume::{self, Bookmark, Placed},
};

/// Serves one GET. Resolves once everything published from now on is sure to be read, unless the answer is
/// full before. `client` is the other side of the connection.
pub async fn serve(
    binding: &Arc<Binding>,
    settings: &HttpGetConfig,
    qos: Qos,
    caller: Arc<Caller>,
    request: &Parts,
    client: &Client,
) -> Result<Response<Body>, Refusal> {
    let format = accept::format(&request.headers)?;
    let limit = limit(request, settings)?;
    let topics = binding.topics_for(&caller)?;
    let identifier = client::identifier(request, &caller, client.address)?;
    let resumes = qos == Qos::Auto && binding.driver.capabilities().replay;
    let bookmark = match resume::brought(request, qos)? {
        Some(text) => Bookmark::Position(text),
        // Messages that are made for each reader have no place to go on from.
        None if resumes => Bookmark::Remembered(identifier.clone()),
        None => Bookmark::New,
    };
    let Placed { cursor, has_gap, reader } =
        resume::place(binding, &topics, bookmark, Lag::CatchUp, false).await?;
    let answer = Answer {
        chain: binding.chains.select(Hook::Deliver, &caller),
        envelope: Envelope::new(format, settings.headers_in_payload, settings.metadata_in_payload),
        position: cursor.position(),
        cursor,
        batch: Vec::new(),
        item: None,
        has_cursor: qos.tells_positions(),
        gap: has_gap.then_some(Gap { messages: None }),
        reader,
        limit,
        taken: 0,
        deadline: Instant::now() + Duration::from_millis(settings.messages_limit_duration_ms),
        stage: answer::Stage::Begin,
        open: OpenStream::new(binding, "http-get", caller, client, None)?,
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
    fn a_cursor_is_refused_where_none_are_given() {
        for qos in Qos::ALL {
            let taken = resume::brought(&asked("cursor=x"), qos);
            assert_eq!(taken.is_ok(), qos.tells_positions(), "{qos:?}");
            assert_eq!(resume::brought(&asked(""), qos).unwrap(), None);
        }
    }

    /// The document that a GET with this query is answered with.
    async fn document(binding: &Arc<Binding>, query: &str) -> Value {
        let mut request = asked(query);
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (settings, (_, client)) = (HttpGetConfig::default(), testing::request());
        let caller = testing::caller(binding, "http-get");
        let answer = serve(binding, &settings, Qos::AtLeastOnce, caller, &request, &client).await.unwrap();
        let Body::Stream(pieces) = answer.into_body() else { panic!("no stream") };
        serde_json::from_slice(&pieces.collect::<Vec<_>>().await.concat()).unwrap()
    }

    #[tokio::test]
    async fn messages_that_the_broker_has_dropped_are_a_gap_of_which_a_client_hears_once() {
        let bench = testing::Bench::new(2, &json!({}));
        for number in 0..10 {
            bench.publish("t", number.to_string()).await;
        }
        let first = document(&bench.binding, "limit=1&cursor=").await;
        assert_eq!((&first["items"][0]["content"], &first["gap"]), (&json!("0"), &Value::Null));
        bench.log.drop_before(6);
        let cursor = first["pagination"]["nextCursor"].as_str().unwrap();
        let second = document(&bench.binding, &format!("limit=2&cursor={cursor}")).await;
        assert_eq!(
            (&second["items"][1]["content"], &second["gap"]),
            (&json!("7"), &json!({ "messages": 5 }))
        );
        let cursor = second["pagination"]["nextCursor"].as_str().unwrap();
        let third = document(&bench.binding, &format!("limit=2&cursor={cursor}")).await;
        assert_eq!((&third["items"][0]["content"], &third["gap"]), (&json!("8"), &Value::Null));
    }

    #[tokio::test]
    async fn a_cursor_of_another_api_may_be_a_gap_in_front_of_what_comes() {
        let bench = testing::Bench::new(8, &json!({ "guarantees": { "unknownPosition": "latest" } }));
        bench.publish("t", "old").await;
        let asking = document(&bench.binding, "limit=1&cursor=nonsense");
        let posting = async {
            // Its hub is there before its place is.
            while bench.metrics.hub_consumers.get() == 0 {
                tokio::task::yield_now().await;
            }
            bench.publish("t", "new").await;
        };
        let (answer, ()) = tokio::join!(asking, posting);
        assert_eq!(
            (&answer["items"][0]["content"], &answer["gap"]),
            (&json!("new"), &json!({ "messages": null }))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_is_written_in_small_pieces() {
        let content = "\u{1}".repeat(1 << 20);
        let mock = json!({ "messageInterval": 1, "messageContent": content, "messageCount": 2 });
        let binding = Arc::new(testing::binding(&mock, &json!([])));
        let caller = Arc::new(Caller::new(&binding.chains, "http-get", ""));
        let mut request = asked("");
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (settings, (_, client)) = (HttpGetConfig::default(), testing::request());
        let answer = serve(&binding, &settings, Qos::None, caller, &request, &client).await.unwrap();
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
