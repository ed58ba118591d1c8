//! The public URLs of an API with a hub: what a topic is called outside, and which channel is meant by such a URL.

use std::fmt::Write;

use http::{HeaderValue, Response, header};
use sluice_receiver::Body;
use url::Url;

/// Where an API is reached, as it is seen from outside by the way that a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `http(s)://host[:port]/context`, without a slash at its end.
    pub base: String,
}

impl Addresses {
    /// The URL of the hub.
    pub fn hub(&self) -> String {
        format!("{}/hub", self.base)
    }

    /// The URL of a channel's topic.
    pub fn topic(&self, channel: &str) -> String {
        let mut url = format!("{}/", self.base);
        for byte in channel.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
                url.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url
    }

    /// What would be the channel of this topic URL: a URL below this base, on the public host or on `host`, by which
    /// the request came. Whether it is http or https is left to whoever stands before the gateway.
    pub(crate) fn channel_of(&self, topic: &str, host: Option<&str>) -> Option<String> {
        let (topic, base) = (Url::parse(topic).ok()?, Url::parse(&self.base).ok()?);
        let plain = matches!(topic.scheme(), "http" | "https")
            && topic.username().is_empty()
            && topic.password().is_none()
            && topic.query().is_none()
            && topic.fragment().is_none();
        let came_by = host.and_then(|host| Url::parse(&format!("{}://{host}", topic.scheme())).ok());
        let here = [Some(&base), came_by.as_ref()];
        let here = here.into_iter().flatten().any(|one| is_same_authority(one, &topic));
        if !plain || !here {
            return None;
        }
        let (path, context) = (decoded(topic.path())?, decoded(base.path())?);
        let below = path.strip_prefix(context.trim_end_matches('/'))?.strip_prefix('/')?;
        Some(below.to_owned())
    }
}

fn is_same_authority(one: &Url, other: &Url) -> bool {
    // The ports as they are written: none means the usual one of either scheme.
    (one.host(), one.port()) == (other.host(), other.port())
}

/// A path without its escapes; `None` where that is no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut pieces = path.split('%');
    bytes.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// The answer to a GET or HEAD of a topic URL: who distributes the topic, and what it is called (WebSub section 4).
pub fn discovery(addresses: &Addresses, channel: &str) -> Response<Body> {
    let (hub, topic) = (addresses.hub(), addresses.topic(channel));
    let text = format!("A topic of WebSub. Subscribe to it at its hub: {hub}\n");
    let mut response = Response::new(Body::Full(text.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(link) = HeaderValue::try_from(format!("<{hub}>; rel=\"hub\", <{topic}>; rel=\"self\"")) {
        headers.insert(header::LINK, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses { base: "https://api.example/shop".to_owned() }
    }

    fn channel(topic: &str) -> Option<String> {
        addresses().channel_of(topic, Some("inside:8082"))
    }

    #[test]
    fn a_topic_url_below_the_base_names_a_channel_however_it_is_escaped() {
        for topic in [
            "https://api.example/shop/orders/paid",
            "http://API.example/shop/orders/paid",
            "https://api.example:443/shop/orders/%70aid",
            "http://inside:8082/shop/orders%2Fpaid",
        ] {
            assert_eq!(channel(topic).as_deref(), Some("orders/paid"), "{topic}");
        }
    }

    #[test]
    fn a_topic_url_of_somewhere_else_names_none() {
        for topic in [
            "https://other.example/shop/paid",
            "https://api.example:8443/shop/paid",
            "http://inside/shop/paid",
            "https://api.example/shops/paid",
            "https://api.example/shop",
            "https://api.example/shop/paid?x=1",
            "https://api.example/shop/paid#x",
            "https://u:p@api.example/shop/paid",
            "ftp://api.example/shop/paid",
            "/shop/paid",
            "https://api.example/shop/%ff",
        ] {
            assert_eq!(channel(topic), None, "{topic}");
        }
    }

    #[test]
    fn the_url_of_a_topic_names_its_channel() {
        for name in ["paid", "orders/paid", "v1.0", "a;b", "a<b>\"c", "a+b"] {
            let url = addresses().topic(name);
            assert!(!url.contains(['<', '>', '"', ' ']), "{url}");
            assert_eq!(channel(&url).as_deref(), Some(name), "{url}");
        }
    }

    #[test]
    fn a_topic_url_answers_with_the_hub_and_itself() {
        let response = discovery(&addresses(), "paid");
        let link =
            "<https://api.example/shop/hub>; rel=\"hub\", <https://api.example/shop/paid>; rel=\"self\"";
        assert_eq!(response.headers()[header::LINK], link);
        assert_eq!(response.status(), 200);
    }
}
