//! What a sender is told that asks beforehand whether it may push: CloudEvents "HTTP 1.1 Web Hooks for Event
//! Delivery" version 1.0 section 4. The answer comes at once; a `WebHook-Request-Callback` is never called.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use sluice_api::{WebhookHandshake, WebhookReceiverConfig};

use crate::{Body, Refusal, accepts_json};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Answers an OPTIONS request: 200 with the permission, 403 without one where the sender is not among those allowed,
/// 400 for a rate that is none, and 405 where the API does not answer or nobody asked.
pub fn handshake(settings: &WebhookReceiverConfig, request: &Parts) -> Response<Body> {
    let mut response = permission(settings.handshake.as_ref(), &request.headers)
        .unwrap_or_else(|refusal| refusal.into_response(accepts_json(&request.headers)));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

fn permission(settings: Option<&WebhookHandshake>, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let (Some(settings), Some(origin)) = (settings, headers.get(REQUEST_ORIGIN)) else {
        let text = "OPTIONS is answered to senders that ask whether they may push, where the API allows it: with the \
                    header WebHook-Request-Origin.";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "webhook.handshake", text));
    };
    let name = origin.as_bytes();
    let mut allowed = settings.allowed_origins.iter().map(String::as_bytes);
    if name.is_empty() || !allowed.any(|allowed| allowed == b"*" || allowed.eq_ignore_ascii_case(name)) {
        let text = "This API does not take webhooks of this origin.";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "webhook.handshake.origin", text));
    }
    let rate = match (asked_rate(headers)?, settings.allowed_rate) {
        (_, None) => HeaderValue::from_static("*"),
        (asked, Some(allowed)) => asked.map_or(allowed, |asked| asked.min(allowed)).into(),
    };
    let mut response = Response::new(Body::Empty);
    response.headers_mut().insert(ALLOWED_ORIGIN, origin.clone());
    response.headers_mut().insert(ALLOWED_RATE, rate);
    Ok(response)
}

/// Requests a minute that a sender asks for.
fn asked_rate(headers: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let Some(value) = headers.get(REQUEST_RATE) else { return Ok(None) };
    let rate = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|rate| *rate > 0);
    rate.map(Some).ok_or_else(|| {
        let text = "WebHook-Request-Rate must be the requests a minute that are asked for, a number from 1.";
        Refusal::new(StatusCode::BAD_REQUEST, "webhook.handshake.rate", text)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(allowed: &Value, headers: &[(&str, &str)]) -> Response<Body> {
        let settings = sluice_api::from_value(json!({ "handshake": allowed })).unwrap();
        let mut request = http::Request::options("/a/webhook-receiver?topic=t");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = handshake(&settings, &request.body(()).unwrap().into_parts().0);
        assert_eq!(response.headers()[header::ALLOW], "POST");
        response
    }

    fn granted(response: &Response<Body>) -> (u16, Option<&str>, Option<&str>) {
        let header = |name| response.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        (response.status().as_u16(), header(ALLOWED_ORIGIN), header(ALLOWED_RATE))
    }

    #[test]
    fn a_sender_that_is_allowed_is_told_so_and_how_often() {
        let origin = ("WebHook-Request-Origin", "Emitter.example.com");
        let callback = ("WebHook-Request-Callback", "https://emitter.example.com/confirm");
        let some = json!({ "allowedOrigins": ["emitter.example.com"], "allowedRate": 100 });
        let every = json!({ "allowedOrigins": ["*"] });
        for (allowed, asked, told) in [
            (&some, None, "100"),
            (&some, Some("99"), "99"),
            (&some, Some("120"), "100"),
            (&every, None, "*"),
            (&every, Some("120"), "*"),
        ] {
            let rate = asked.map(|rate| ("WebHook-Request-Rate", rate));
            let headers: Vec<_> = [origin, callback].into_iter().chain(rate).collect();
            let response = ask(allowed, &headers);
            assert_eq!(granted(&response), (200, Some("Emitter.example.com"), Some(told)));
        }
    }

    #[test]
    fn a_sender_that_is_not_allowed_gets_no_permission() {
        let allowed = json!({ "allowedOrigins": ["emitter.example.com"] });
        for other in ["evil.example", "a.emitter.example.com", ""] {
            let response = ask(&allowed, &[("WebHook-Request-Origin", other)]);
            assert_eq!(granted(&response), (403, None, None), "{other}");
        }
        for rate in ["0", "-1", "many", ""] {
            let asked = [("WebHook-Request-Origin", "emitter.example.com"), ("WebHook-Request-Rate", rate)];
            assert_eq!(granted(&ask(&allowed, &asked)), (400, None, None), "{rate}");
        }
    }

    #[test]
    fn without_the_setting_or_the_question_the_method_is_not_allowed() {
        assert_eq!(
            granted(&ask(&Value::Null, &[("WebHook-Request-Origin", "a.example")])),
            (405, None, None)
        );
        assert_eq!(granted(&ask(&json!({ "allowedOrigins": ["*"] }), &[])), (405, None, None));
    }
}
