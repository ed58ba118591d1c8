//! What makes a call one of a hub: it says where the topic is and who its hub, and proves to a subscriber with a
//! secret that it comes from there (WebSub, section 7). What was agreed on is in [`HubTerms`].

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header::LINK};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sluice_api::{HubSignature, HubTerms, Problem, Secret};

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature");

/// Where publishers put what they prove to a server who they are with. Of a message that the broker has, no
/// subscriber is told.
const CREDENTIALS: [&str; 5] = ["api-key", "apikey", "authorization", "cookie", "x-api-key"];

/// The marks of a hub on the calls of one subscription.
pub(crate) struct HubCall {
    links: [HeaderValue; 2],
    signer: Option<Signer>,
}

enum Signer {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl HubCall {
    /// Reads what was agreed on.
    ///
    /// # Errors
    /// A URL that no header can carry; paths are relative to the terms.
    pub(crate) fn new(terms: &HubTerms) -> Result<Self, Problem> {
        let links = [link("hubUrl", &terms.hub_url, "hub")?, link("selfUrl", &terms.self_url, "self")?];
        let signer = terms.secret.as_ref().map(|secret| Signer::new(terms.signature, secret));
        Ok(Self { links, signer: signer.transpose()? })
    }

    /// Whether a header is the hub's to say, and so none of a message.
    pub(crate) fn says(name: &HeaderName) -> bool {
        *name == LINK || name.as_str().starts_with(SIGNATURE.as_str())
    }

    /// Whether a header may hold what a publisher has shown to somebody else.
    pub(crate) fn is_credential(name: &HeaderName) -> bool {
        CREDENTIALS.contains(&name.as_str())
    }

    /// Puts the marks on a call with this body.
    pub(crate) fn mark(&self, headers: &mut HeaderMap, body: &[u8]) {
        let [hub, own] = &self.links;
        headers.insert(LINK, hub.clone());
        headers.append(LINK, own.clone());
        if let Some(signature) = self.signer.as_ref().and_then(|signer| signer.sign(body)) {
            headers.insert(SIGNATURE, signature);
        }
    }
}

impl Signer {
    fn new(signature: HubSignature, secret: &Secret) -> Result<Self, Problem> {
        let key = secret.expose().as_bytes();
        let made = match signature {
            HubSignature::Sha1 => Hmac::new_from_slice(key).map(Self::Sha1),
            HubSignature::Sha256 => Hmac::new_from_slice(key).map(Self::Sha256),
            HubSignature::Sha384 => Hmac::new_from_slice(key).map(Self::Sha384),
            HubSignature::Sha512 => Hmac::new_from_slice(key).map(Self::Sha512),
        };
        made.map_err(|_| invalid("secret", "No signature can be made with this secret."))
    }

    fn sign(&self, body: &[u8]) -> Option<HeaderValue> {
        let text = match self {
            Self::Sha1(key) => signed(key, HubSignature::Sha1, body),
            Self::Sha256(key) => signed(key, HubSignature::Sha256, body),
            Self::Sha384(key) => signed(key, HubSignature::Sha384, body),
            Self::Sha512(key) => signed(key, HubSignature::Sha512, body),
        };
        HeaderValue::try_from(text).ok()
    }
}

/// The signature as the header has it: the method, and the digest in hexadecimal.
fn signed<M: Mac + Clone>(key: &M, signature: HubSignature, body: &[u8]) -> String {
    let mut mac = key.clone();
    mac.update(body);
    let mut text = format!("{}=", signature.as_str());
    for byte in mac.finalize().into_bytes() {
        // Writing to a text does not fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

fn link(field: &str, url: &str, relation: &str) -> Result<HeaderValue, Problem> {
    let ends_early = url.contains(['<', '>']);
    let value = HeaderValue::try_from(format!("<{url}>; rel=\"{relation}\"")).ok();
    value.filter(|_| !ends_early).ok_or_else(|| invalid(field, "This URL cannot stand in a Link header."))
}

fn invalid(field: &str, message: &str) -> Problem {
    Problem::new(field, "subscription.configuration.invalid", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(signature: HubSignature, secret: Option<&str>) -> HubTerms {
        HubTerms {
            topic: "orders".to_owned(),
            hub_url: "https://hub.example/shop/hub".to_owned(),
            self_url: "https://hub.example/shop/orders".to_owned(),
            lease_seconds: 10,
            secret: secret.map(Secret::new),
            signature,
        }
    }

    fn marked(terms: &HubTerms, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, HeaderValue::from_static("<https://evil.example>; rel=\"hub\""));
        HubCall::new(terms).unwrap().mark(&mut headers, body);
        headers
    }

    #[test]
    fn links_name_the_hub_and_the_topic_and_nothing_else() {
        let headers = marked(&terms(HubSignature::Sha256, None), b"x");
        let links: Vec<_> = headers.get_all(LINK).iter().collect();
        assert_eq!(
            links,
            [
                "<https://hub.example/shop/hub>; rel=\"hub\"",
                "<https://hub.example/shop/orders>; rel=\"self\""
            ]
        );
        assert_eq!(headers.len(), 2, "nothing is signed without a secret");
    }

    /// The keys, texts and digests of RFC 2202 and RFC 4231 (test case 2 of each).
    #[test]
    fn signs_by_each_method() {
        for (signature, digest) in [
            (HubSignature::Sha1, "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (HubSignature::Sha256, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                HubSignature::Sha384,
                "sha384=af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                HubSignature::Sha512,
                "sha512=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let headers = marked(&terms(signature, Some("Jefe")), b"what do ya want for nothing?");
            assert_eq!(headers[SIGNATURE], digest);
        }
    }

    #[test]
    fn a_url_that_would_say_more_than_itself_is_refused() {
        for url in ["https://a/\nx-evil: 1", "https://a/>; rel=\"self\", <https://b", "https://a/\u{0}"] {
            let terms = HubTerms { self_url: url.to_owned(), ..terms(HubSignature::Sha256, None) };
            let problem = HubCall::new(&terms).err().unwrap();
            assert_eq!(
                (problem.path.as_str(), problem.code),
                ("selfUrl", "subscription.configuration.invalid")
            );
        }
    }
}
