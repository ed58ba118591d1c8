//! The request of a client as expressions see it. Made only for APIs in which something reads it: most requests
//! are served without it.

use bytes::Bytes;
use http::{HeaderMap, Request as HttpRequest, Version};
use sluice_expression::Request;
use sluice_message::Headers;
use sluice_receiver::parameters;
use uuid::Uuid;

use crate::{service::Ends, target};

/// Ids by which a request is followed through several systems. A client may bring its own.
const REQUEST_ID: &str = "x-gravitee-request-id";
const TRANSACTION_ID: &str = "x-gravitee-transaction-id";

/// Longer ids are not taken over from a client: they end in logs.
const MAX_ID: usize = 128;

/// Query parameters beyond this are not shown; a request's target is bounded, so that this is, too.
const MAX_PARAMETERS: usize = 256;

/// Describes a request whose path has `below` under the path of its API.
pub(crate) fn describe<B>(request: &HttpRequest<B>, ends: &Ends, below: &str) -> Request {
    let (uri, headers) = (request.uri(), request.headers());
    let path = uri.path();
    let context_path = path.strip_suffix(below).unwrap_or(path);
    Request {
        id: id(headers, REQUEST_ID),
        transaction_id: id(headers, TRANSACTION_ID),
        uri: uri.path_and_query().map_or_else(|| path.to_owned(), ToString::to_string),
        path: path.to_owned(),
        context_path: context_path.to_owned(),
        path_info: below.to_owned(),
        method: request.method().as_str().to_owned(),
        scheme: "http".to_owned(),
        host: target::host(request).unwrap_or_default().to_owned(),
        version: if request.version() == Version::HTTP_10 { "HTTP_1_0" } else { "HTTP_1_1" }.to_owned(),
        timestamp_ms: now_ms(),
        remote_address: ends.client.address.ip().to_string(),
        local_address: ends.local.ip().to_string(),
        headers: shown(headers),
        params: parameters(uri.query().unwrap_or_default()).take(MAX_PARAMETERS).collect(),
        content: None,
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The id that the client brings, if it can be shown, or a new one.
fn id(headers: &HeaderMap, name: &str) -> String {
    let brought = headers.get(name).and_then(|value| value.to_str().ok());
    let brought = brought.filter(|text| (1..=MAX_ID).contains(&text.len()));
    brought.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

fn shown(headers: &HeaderMap) -> Headers {
    let pairs = headers.iter();
    pairs.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use sluice_receiver::Client;

    use super::*;

    #[test]
    fn a_request_is_described_as_it_came() {
        let request = HttpRequest::get("/a/b/c?x=1&y=a%20b+c&x=%zz&z")
            .header("host", "h:80")
            .header("X-One", "1")
            .header("X-Gravitee-Transaction-Id", "t")
            .body(())
            .unwrap();
        let ends =
            Ends { client: Client::new(([10, 0, 0, 1], 5).into()), local: ([127, 0, 0, 1], 80).into() };
        let described = describe(&request, &ends, "/c");
        assert_eq!((&*described.context_path, &*described.path_info), ("/a/b", "/c"));
        assert_eq!((&*described.host, &*described.remote_address), ("h:80", "10.0.0.1"));
        assert_eq!((&*described.transaction_id, described.id.len()), ("t", 36));
        assert_eq!(described.headers.get("x-one").unwrap(), "1");
        let params = [("x", "1"), ("y", "a b c"), ("x", "%zz"), ("z", "")];
        assert_eq!(described.params, params.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    #[test]
    fn the_host_is_the_one_that_the_request_was_routed_by() {
        let request = HttpRequest::get("http://routed/a").header("host", "other").body(()).unwrap();
        let ends =
            Ends { client: Client::new(([10, 0, 0, 1], 5).into()), local: ([127, 0, 0, 1], 80).into() };
        assert_eq!(describe(&request, &ends, "").host, "routed");
    }
}
