//! Which headers of a request may become headers of its message, and which never do.
//!
//! A broker and its readers must not learn a credential, whatever a client calls it, and what a gateway signs its
//! own calls with could only be forged. Where headers are not copied but named one by one, it is for the one who
//! names them to refuse those that are [`is_withheld`].

use bytes::Bytes;
use http::{HeaderMap, header};
use sluice_api::is_withheld;
use sluice_message::Headers;

/// Request headers as message headers, without those that are [`is_withheld`] and without whatever `Connection` names.
pub(crate) fn message_headers(request: &HeaderMap) -> Headers {
    let nominated = nominated(request);
    let kept = request.iter().filter(|(name, _)| {
        let text = name.as_str();
        !is_withheld(text) && !nominated.iter().any(|nominated| nominated == text)
    });
    kept.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

/// The names of headers that are about this one connection because the client says so, in lower case.
pub(crate) fn nominated(request: &HeaderMap) -> Vec<String> {
    let values = request.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn credentials_and_connection_headers_do_not_become_message_headers() {
        let mut request = HeaderMap::new();
        for name in
            ["authorization", "cookie", "x-gravitee-api-key", "x-api-key", "keep-alive", "te", "x-hop"]
        {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        for name in
            ["content-encoding", "accept-encoding", "forwarded", "x-forwarded-for", "x-forwarded-host"]
        {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        for name in [
            "via",
            "idempotency-key",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "sluice-dlq-subscription",
            "sluice-",
        ] {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        request.insert(header::CONNECTION, HeaderValue::from_static("close, X-Hop"));
        request.append("x-colour", HeaderValue::from_static("red"));
        request.append("x-colour", HeaderValue::from_static("blue"));
        request.append("x-sluice-gate", HeaderValue::from_static("open"));
        let kept: Headers =
            [("x-colour", "red"), ("x-colour", "blue"), ("x-sluice-gate", "open")].into_iter().collect();
        assert_eq!(message_headers(&request), kept);
    }
}
