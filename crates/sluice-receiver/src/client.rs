//! Who a client is from one request to the next, so that each goes on where the last one ended.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use sha2::{Digest, Sha256};
use sluice_policy::Caller;

use crate::{Refusal, hex, query::parameter};

/// The header, and the parameter of the query, by which a client names itself. Also on the answer.
const IDENTIFIER: HeaderName = HeaderName::from_static("x-gravitee-client-identifier");
const PARAMETER: &str = "X-Gravitee-Client-Identifier";

/// The longest name that a client may give itself, in bytes.
const MAX_IDENTIFIER: usize = 256;

/// The identifier of a client: its subscription, else a digest of its address, behind the name that it gives
/// itself. So nobody of another subscription or address goes on with its messages by its name.
pub(crate) fn identifier(request: &Parts, caller: &Caller, client: SocketAddr) -> Result<String, Refusal> {
    let given = match request.headers.get(IDENTIFIER) {
        Some(value) => Some(value.to_str().unwrap_or_default().to_owned()),
        None => parameter(request.uri.query(), PARAMETER),
    };
    let subscription = caller.subscription().map(|subscription| &subscription.id.0);
    named(given, subscription.map_or_else(|| digest(client), Clone::clone))
}

/// The identifier with the name that a client gives itself, if it does. The contract joins the two by a dash; that
/// can be read in one way only, as the ids of subscriptions are UUIDs and digests have no dash, so that none of
/// either ends with another behind a dash.
fn named(given: Option<String>, own: String) -> Result<String, Refusal> {
    let Some(given) = given.filter(|given| *given != own) else { return Ok(own) };
    // It may bring back what stood on its last answer.
    let name = given.strip_suffix(own.as_str()).and_then(|name| name.strip_suffix('-')).unwrap_or(&given);
    let sound = name.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound || !(1..=MAX_IDENTIFIER).contains(&name.len()) {
        let text =
            format!("{PARAMETER} must be of 1 to {MAX_IDENTIFIER} letters, digits and signs without spaces.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "client.identifier", text));
    }
    Ok(format!("{name}-{own}"))
}

/// Whether a client gives itself a name.
pub(crate) fn names_itself(request: &Parts) -> bool {
    request.headers.contains_key(IDENTIFIER) || parameter(request.uri.query(), PARAMETER).is_some()
}

/// The identifier as a header of the answer.
pub(crate) fn header(identifier: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(identifier).ok().map(|value| (IDENTIFIER, value))
}

fn digest(client: SocketAddr) -> String {
    hex::encode(&Sha256::digest(client.ip().to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn asked(name: Option<&str>, address: u8) -> Result<String, Refusal> {
        let binding = testing::binding(&json!({}), &json!([]));
        let caller = Caller::new(&binding.chains, "http-get", "");
        let mut request = http::Request::get("/a");
        if let Some(name) = name {
            request = request.header(IDENTIFIER, name);
        }
        identifier(&request.body(()).unwrap().into_parts().0, &caller, ([10, 0, 0, address], 1).into())
    }

    #[tokio::test]
    async fn nobody_at_another_address_goes_on_by_the_same_name() {
        let (own, other) = (asked(None, 1).unwrap(), asked(None, 2).unwrap());
        let me = asked(Some("me"), 1).unwrap();
        assert_eq!(me, format!("me-{own}"));
        assert_eq!(asked(Some("me"), 2).unwrap(), format!("me-{other}"));
        for foreign in [&me, &own] {
            assert_eq!(asked(Some(foreign), 2).unwrap(), format!("{foreign}-{other}"));
        }
    }

    #[tokio::test]
    async fn an_identifier_that_is_brought_back_stays_the_same() {
        let own = asked(None, 1).unwrap();
        assert_eq!(asked(Some(&own), 1).unwrap(), own);
        let longest = asked(Some(&"x".repeat(MAX_IDENTIFIER)), 1).unwrap();
        assert_eq!(asked(Some(&longest), 1).unwrap(), longest);
        for unsound in ["", "a b", &"x".repeat(MAX_IDENTIFIER + 1), &format!("-{own}")] {
            assert_eq!(asked(Some(unsound), 1).unwrap_err().code, "client.identifier", "{unsound}");
        }
    }

    /// What clients are known by that give themselves no name.
    fn own() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
            any::<[u8; 4]>().prop_map(|address| digest((address, 1).into())),
        ]
    }

    proptest! {
        #[test]
        fn nobody_finds_a_name_by_which_it_is_taken_for_another(
            own in own(), other in own(), name in proptest::option::of("[!-~]{1,80}"), more in "[!-~]{1,80}",
        ) {
            prop_assume!(own != other);
            let identifier = named(name, own).unwrap();
            let beginnings = (1..=identifier.len()).map(|end| &identifier[..end]);
            for given in beginnings.chain([&*more]) {
                if let Ok(forged) = named(Some(given.to_owned()), other.clone()) {
                    prop_assert_ne!(&forged, &identifier);
                }
            }
            prop_assert_ne!(named(None, other).unwrap(), identifier);
        }
    }
}
