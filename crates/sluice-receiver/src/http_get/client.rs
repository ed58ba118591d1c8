//! Who a client is from one GET to the next, so that each goes on where the last one ended.

use std::{fmt::Write, net::SocketAddr};

use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use sha2::{Digest, Sha256};
use sluice_policy::Caller;

use crate::{Refusal, query::parameter};

/// The header, and the parameter of the query, by which a client names itself. Also on the answer.
const IDENTIFIER: HeaderName = HeaderName::from_static("x-gravitee-client-identifier");
const PARAMETER: &str = "X-Gravitee-Client-Identifier";

/// The longest name that a client may give itself, in bytes.
const MAX_IDENTIFIER: usize = 256;

/// The identifier of a client: its own word, else its address as a digest. With a subscription it is the
/// subscription's, so that nobody goes on with the messages of another subscriber.
pub(super) fn identifier(request: &Parts, caller: &Caller, client: SocketAddr) -> Result<String, Refusal> {
    let given = match request.headers.get(IDENTIFIER) {
        Some(value) => Some(value.to_str().unwrap_or_default().to_owned()),
        None => parameter(request.uri.query(), PARAMETER),
    };
    let subscription = caller.subscription().map(|subscription| &subscription.id.0);
    let Some(given) = given else {
        return Ok(subscription.map_or_else(|| digest(client), Clone::clone));
    };
    let sound = given.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound || !(1..=MAX_IDENTIFIER).contains(&given.len()) {
        let text =
            format!("{PARAMETER} must be of 1 to {MAX_IDENTIFIER} letters, digits and signs without spaces.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "http-get.client", text));
    }
    Ok(match subscription {
        Some(subscription) if !given.ends_with(subscription.as_str()) => format!("{given}-{subscription}"),
        _ => given,
    })
}

/// The identifier as a header of the answer.
pub(super) fn header(identifier: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(identifier).ok().map(|value| (IDENTIFIER, value))
}

fn digest(client: SocketAddr) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(client.ip().to_string()) {
        // Writing to a string does not fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}
