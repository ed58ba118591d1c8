//! Which channel of its API a request is for: the first thing to know of a request to an API with channels, before
//! any policy runs.
//!
//! There are several ways to say it, since no single one is open to everybody: a page can set no header on a
//! WebSocket, and an address that was handed out cannot be changed by everyone who uses it.

use http::{HeaderMap, HeaderName, StatusCode, Uri};
use sluice_api::EventApi;

use crate::{
    Refusal,
    query::{parameters, unescaped},
    websocket,
};

/// The header that names a channel.
const HEADER: HeaderName = HeaderName::from_static("x-channel");

/// The parameter of the query that does.
const PARAMETER: &str = "channel";

/// What may stand before the name in a subprotocol.
const SUBPROTOCOL_PREFIX: &str = "channel.";

/// A channel that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChosenChannel<'a> {
    /// Its name in the definition of the API.
    pub name: &'a str,
}

impl ChosenChannel<'_> {
    /// What a [`Caller`](sluice_policy::Caller) of this channel has below the path of its API, whichever way it was
    /// chosen, so that flows can be for it.
    pub fn sub_path(&self) -> String {
        format!("/{}", self.name)
    }
}

/// The channel that a request to an API with channels is for, of a client that comes by the receiver of this kind:
/// named by the header `X-channel`, by the path `below` that of the API, by the parameter `channel` of the query or,
/// with `websocket`, by an offered subprotocol that is the name of a channel, or `channel.` and that.
///
/// # Errors
/// 400 where the channel is named in none of these ways, or two of them do not agree; 404 where there is none of
/// that name.
pub fn chosen<'a>(
    api: &'a EventApi,
    receiver: &str,
    below: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<ChosenChannel<'a>, Refusal> {
    let is_websocket = receiver == "websocket";
    let by_header =
        headers.get_all(HEADER).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let by_path = Some(unescaped(below.trim_matches('/'))).filter(|name| !name.is_empty());
    let by_query = parameters(uri.query().unwrap_or_default()).filter(|(name, _)| name == PARAMETER);
    let offered = is_websocket.then(|| websocket::offered(headers)).into_iter().flatten();
    let by_subprotocol = offered.filter_map(|offer| match offer.strip_prefix(SUBPROTOCOL_PREFIX) {
        _ if api.channels.contains_key(offer) => Some(offer.to_owned()),
        Some(name) => Some(name.to_owned()),
        None => None,
    });
    let mut named = by_header.chain(by_path).chain(by_query.map(|(_, name)| name)).chain(by_subprotocol);
    let name = named.next().ok_or_else(|| missing(is_websocket))?;
    if named.any(|other| other != name) {
        let text =
            "The request names more than one channel. Name one, in one of the ways or in each the same.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "channel.ambiguous", text));
    }
    let known = api.channels.get_key_value(&name).map(|(name, _)| ChosenChannel { name });
    known.ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "channel.unknown", "This API has no channel of that name.")
    })
}

/// The offered subprotocol by which a channel is chosen. It has to be agreed to: a browser gives up a connection whose
/// answer agrees to none.
pub(crate) fn subprotocol<'a>(channel: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    websocket::offered(headers)
        .find(|offer| *offer == channel || offer.strip_prefix(SUBPROTOCOL_PREFIX) == Some(channel))
}

fn missing(is_websocket: bool) -> Refusal {
    let more = if is_websocket { ", or by a WebSocket subprotocol of its name" } else { "" };
    let text = format!(
        "The channels of this API are apart. Name one by the header X-channel, behind the path of the API, or by the \
         parameter '{PARAMETER}'{more}."
    );
    Refusal::new(StatusCode::BAD_REQUEST, "channel.missing", text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_api::from_value;

    use super::*;

    fn api() -> EventApi {
        from_value(json!({
            "id": "a",
            "name": "a",
            "paths": [{ "path": "/a" }],
            "receivers": [{ "type": "websocket" }],
            "brokers": [{ "name": "b", "type": "log", "configuration": { "topics": [] } }],
            "channels": { "prices": {}, "eu/prices": { "produceTo": "p", "consumeFrom": "p" }, "channel.odd": {} },
        }))
        .unwrap()
    }

    /// What a WebSocket client is told that has asked like this: the channel, or the code of the error.
    fn asked(below: &str, query: &str, headers: &[(&'static str, &str)]) -> String {
        by("websocket", below, query, headers)
    }

    fn by(receiver: &str, below: &str, query: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let uri = format!("/a{below}?{query}").parse().unwrap();
        match chosen(&api(), receiver, below, &uri, &map) {
            Ok(chosen) => chosen.name.to_owned(),
            Err(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.code),
        }
    }

    #[test]
    fn a_channel_is_named_by_header_path_query_or_subprotocol() {
        for name in ["prices", "eu/prices"] {
            assert_eq!(asked("", "", &[("x-channel", name)]), name);
            assert_eq!(asked(&format!("/{name}"), "", &[]), name);
            assert_eq!(asked(&format!("/{name}/"), "", &[]), name);
            assert_eq!(asked("/", &format!("x=1&channel={name}"), &[]), name);
        }
        assert_eq!(asked("", "channel=eu%2Fprices", &[]), "eu/prices");
        assert_eq!(asked("/eu/pr%69ces", "", &[]), "eu/prices");
        for offer in ["prices", "chat, prices", "chat,channel.prices", "channel.prices"] {
            assert_eq!(asked("", "", &[("sec-websocket-protocol", offer)]), "prices", "{offer}");
        }
        let odd = |offer| asked("", "", &[("sec-websocket-protocol", offer)]);
        assert_eq!(
            (odd("channel.odd"), odd("channel.channel.odd")),
            ("channel.odd".into(), "channel.odd".into())
        );
    }

    #[test]
    fn ways_that_agree_are_one_and_ways_that_do_not_are_refused() {
        let header = ("x-channel", "prices");
        assert_eq!(asked("/prices", "channel=prices&channel=prices", &[header, header]), "prices");
        let ambiguous = "400 channel.ambiguous";
        assert_eq!(asked("/eu/prices", "", &[header]), ambiguous);
        assert_eq!(asked("/other", "", &[header]), ambiguous);
        assert_eq!(asked("", "channel=eu/prices", &[header]), ambiguous);
        assert_eq!(asked("", "channel=eu/prices&channel=prices", &[]), ambiguous);
        assert_eq!(asked("", "", &[header, ("x-channel", "eu/prices")]), ambiguous);
        assert_eq!(asked("/eu/prices", "", &[("sec-websocket-protocol", "prices")]), ambiguous);
        assert_eq!(asked("/prices", "", &[("sec-websocket-protocol", "channel.other")]), ambiguous);
        assert_eq!(asked("/prices", "", &[("sec-websocket-protocol", "chat")]), "prices", "it names none");
    }

    #[test]
    fn no_channel_and_an_unknown_one_are_told_apart_and_no_name_is_given_away() {
        for (below, query) in [("", ""), ("/", ""), ("", "channels=prices")] {
            assert_eq!(asked(below, query, &[("sec-websocket-protocol", "chat")]), "400 channel.missing");
        }
        let unknown = "404 channel.unknown";
        assert_eq!(asked("/other", "", &[]), unknown);
        assert_eq!(asked("/prices/eu", "", &[]), unknown);
        assert_eq!(asked("", "channel=", &[]), unknown);
        assert_eq!(asked("", "", &[("x-channel", "PRICES")]), unknown);
        assert_eq!(asked("", "", &[("sec-websocket-protocol", "channel.other")]), unknown);
        for is_websocket in [true, false] {
            let told = missing(is_websocket).message;
            assert!(!told.contains("prices") && told.contains("X-channel"), "{told}");
            assert_eq!(told.contains("subprotocol"), is_websocket);
        }
    }

    #[test]
    fn only_a_websocket_has_subprotocols() {
        for receiver in ["sse", "http-get", "http-post"] {
            assert_eq!(by(receiver, "", "", &[("sec-websocket-protocol", "prices")]), "400 channel.missing");
            assert_eq!(by(receiver, "/prices", "", &[("sec-websocket-protocol", "channel.other")]), "prices");
        }
    }

    #[test]
    fn the_flows_of_a_channel_are_found_by_its_name_whichever_way_it_was_chosen() {
        assert_eq!(ChosenChannel { name: "eu/prices" }.sub_path(), "/eu/prices");
    }
}
