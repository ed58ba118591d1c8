//! The request that asks for a WebSocket, and the answer to it: RFC 6455 section 4.2.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts,
};
use sluice_api::WebsocketConfig;
use sluice_websocket::{Deflate, accept_key, agree};

use crate::{Body, Refusal, channel};

/// What was agreed on with a client.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
    /// Compression, if the client offers it and the API has it.
    pub(super) deflate: Option<Deflate>,
}

/// Whether a request asks for a WebSocket, well or badly.
pub fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET && lists(headers, &header::UPGRADE, "websocket")
}

/// The subprotocols that a client offers, in its order.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    entries(headers, &header::SEC_WEBSOCKET_PROTOCOL)
}

/// Checks a request for which [`is_asked_for`] is true. `host` is the host that the request is for, `channel` the
/// channel that the client has chosen.
pub(super) fn check(
    request: &Parts,
    host: Option<&str>,
    channel: Option<&str>,
    settings: &WebsocketConfig,
) -> Result<Handshake, Refusal> {
    let headers = &request.headers;
    if request.version != Version::HTTP_11 || !lists(headers, &header::CONNECTION, "upgrade") {
        return Err(bad("A WebSocket begins with HTTP/1.1 and the header 'Connection: Upgrade'."));
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(bad("The request for a WebSocket has no body."));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let text = "The only version of WebSocket that is spoken here is 13.";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "websocket.version", text));
    }
    let accept = only(headers, &header::SEC_WEBSOCKET_KEY).and_then(accept_key);
    let accept = accept.and_then(|accept| HeaderValue::try_from(accept).ok());
    let accept =
        accept.ok_or_else(|| bad("Sec-WebSocket-Key must be there once, with 16 bytes in base64."))?;
    if !may_connect(headers, host, &settings.allowed_origins) {
        let text = "Pages of this origin may not connect to this API; its publisher decides which may.";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "websocket.origin", text));
    }
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    let deflate =
        settings.compression.then(|| agree(offers.filter_map(|value| value.to_str().ok()))).flatten();
    let by_channel = channel.and_then(|channel| channel::subprotocol(channel, headers));
    let subprotocol = by_channel.or_else(|| agreed(headers, &settings.subprotocols));
    let subprotocol = subprotocol.and_then(|subprotocol| HeaderValue::from_str(subprotocol).ok());
    Ok(Handshake { accept, subprotocol, deflate })
}

impl Handshake {
    /// The answer that makes a WebSocket of the connection.
    pub(super) fn answer(self) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        let extensions = self.deflate.and_then(|deflate| HeaderValue::try_from(deflate.answer()).ok());
        let optional = [
            (header::SEC_WEBSOCKET_PROTOCOL, self.subprotocol),
            (header::SEC_WEBSOCKET_EXTENSIONS, extensions),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
        response
    }
}

fn bad(text: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "websocket.handshake", text)
}

/// The entries of a header that is a list, in the order in which they came.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    entries(headers, name).any(|entry| entry.eq_ignore_ascii_case(wanted))
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

/// Whether the page that asks may connect: browsers send what they know of the user along to any address, and
/// name the page's origin so that the other side can decide. Whoever sends no origin is no browser.
fn may_connect(headers: &HeaderMap, host: Option<&str>, allowed: &[String]) -> bool {
    if !headers.contains_key(header::ORIGIN) || allowed.iter().any(|allowed| allowed == "*") {
        return true;
    }
    let Some(origin) = only(headers, &header::ORIGIN) else { return false };
    // The scheme is not compared: what is https outside may reach the gateway as http.
    let own = origin.split_once("://").map(|(_, origin)| origin);
    own.is_some() && own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// The API's first choice among what the client offers; the client's first where the API has no choice.
fn agreed<'a>(headers: &'a HeaderMap, known: &[String]) -> Option<&'a str> {
    if known.is_empty() {
        return offered(headers).next();
    }
    known.iter().find_map(|known| offered(headers).find(|offer| offer == known))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn checked(headers: &[(&str, &str)], settings: &WebsocketConfig) -> Result<Response<Body>, Refusal> {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, Some("api.example:8082"), None, settings).map(Handshake::answer)
    }

    /// The good request, with `more` in place of its headers of the same names.
    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let kept = GOOD.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        kept.chain(more.iter().copied().filter(|(_, value)| !value.is_empty())).collect()
    }

    fn settings(subprotocols: &[&str], origins: &[&str]) -> WebsocketConfig {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        WebsocketConfig {
            subprotocols: owned(subprotocols),
            allowed_origins: owned(origins),
            ..WebsocketConfig::default()
        }
    }

    #[test]
    fn a_good_request_is_answered_as_the_standard_says() {
        let answer = checked(&GOOD, &WebsocketConfig::default()).unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!answer.headers().contains_key("sec-websocket-protocol"));
        assert!(!answer.headers().contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn a_request_that_is_not_as_it_must_be_is_refused() {
        for (change, status) in [
            (("connection", "keep-alive"), 400),
            (("connection", ""), 400),
            (("sec-websocket-key", ""), 400),
            (("sec-websocket-key", "c2hvcnQ="), 400),
            (("sec-websocket-version", "12"), 426),
            (("sec-websocket-version", ""), 426),
        ] {
            let refusal = checked(&with(&[change]), &WebsocketConfig::default()).unwrap_err();
            assert_eq!(refusal.status, status, "{change:?}");
            let answer = refusal.into_response(true);
            assert_eq!(answer.headers().contains_key("sec-websocket-version"), status == 426);
        }
        let twice = with(&[("sec-websocket-key", GOOD[3].1), ("sec-websocket-key", GOOD[3].1)]);
        assert_eq!(checked(&twice, &WebsocketConfig::default()).unwrap_err().status, 400);
    }

    #[test]
    fn a_page_of_another_origin_connects_only_where_it_is_allowed() {
        let status = |origin: &'static str, allowed: &[&str]| {
            checked(&with(&[("origin", origin)]), &settings(&[], allowed))
                .map_or_else(|refusal| refusal.status, |answer| answer.status())
                .as_u16()
        };
        assert_eq!(status("http://API.example:8082", &[]), 101);
        assert_eq!(status("https://api.example:8082", &[]), 101);
        for foreign in [
            "http://api.example",
            "http://evil.example",
            "http://api.example:8082.evil.example",
            "http://evil.example/api.example:8082",
            "api.example:8082",
            "null",
        ] {
            assert_eq!(status(foreign, &[]), 403, "{foreign}");
            assert_eq!(status(foreign, &["https://app.example"]), 403, "{foreign}");
            assert_eq!(status(foreign, &["*"]), 101, "{foreign}");
        }
        assert_eq!(status("https://app.example", &["https://APP.example"]), 101);
        let two = with(&[("origin", "http://api.example:8082"), ("origin", "http://evil.example")]);
        assert_eq!(checked(&two, &settings(&[], &[])).unwrap_err().status, 403);
    }

    #[test]
    fn a_subprotocol_is_agreed_on_by_the_apis_preference_or_echoed() {
        let agreed = |offered: &'static str, known: &[&str]| {
            let answer =
                checked(&with(&[("sec-websocket-protocol", offered)]), &settings(known, &[])).unwrap();
            let value = answer.headers().get("sec-websocket-protocol");
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(agreed("b, a", &[]).as_deref(), Some("b"));
        assert_eq!(agreed("b, a", &["a", "b"]).as_deref(), Some("a"));
        assert_eq!(agreed("c", &["a", "b"]), None);
    }

    #[test]
    fn the_subprotocol_by_which_a_channel_was_chosen_is_agreed_to_before_those_of_the_api() {
        let agreed = |offered: &str, known: &[&str]| {
            let mut request = http::Request::get("/a").header("sec-websocket-protocol", offered);
            for (name, value) in GOOD {
                request = request.header(name, value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let agreed = check(&parts, None, Some("prices"), &settings(known, &[])).unwrap().answer();
            let value = agreed.headers().get("sec-websocket-protocol");
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        for known in [&[][..], &["chat"]] {
            assert_eq!(agreed("prices", known).as_deref(), Some("prices"));
            assert_eq!(agreed("chat, channel.prices", known).as_deref(), Some("channel.prices"));
            assert_eq!(agreed("chat", known).as_deref(), Some("chat"), "it was chosen in another way");
        }
        assert_eq!(agreed("other", &["chat"]), None);
    }

    #[test]
    fn compression_is_agreed_on_unless_the_api_has_none() {
        let offer = with(&[("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")]);
        let agreed = |compression| {
            let settings = WebsocketConfig { compression, ..WebsocketConfig::default() };
            checked(&offer, &settings).unwrap().headers().contains_key("sec-websocket-extensions")
        };
        assert!(agreed(true) && !agreed(false));
    }
}
