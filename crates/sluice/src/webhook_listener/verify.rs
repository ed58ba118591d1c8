//! Checking the signature of a delivery, as its receiver would.
//!
//! Written from the published forms, not with the code that signs: one mistake in both would go unseen.

use std::{fmt, str::FromStr, time::UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// How far the time of a delivery may be from now, in seconds and both ways.
const TOLERANCE: u64 = 300;

/// A key of Standard Webhooks: base64, with or without `whsec_` before it.
#[derive(Clone)]
pub(super) struct StandardSecret(Vec<u8>);

/// A key that is taken as it stands.
#[derive(Clone)]
pub(super) struct HmacSecret(Vec<u8>);

/// Which form of signature is checked.
pub(super) enum Verifier {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard(StandardSecret),
    /// `X-HMAC-Signature` over the body alone.
    Hmac(HmacSecret),
    /// `X-Hub-Signature` over the body alone, by the method that it names (WebSub section 7.1).
    Hub(HmacSecret),
}

impl Verifier {
    /// An error says what is wrong with the delivery.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        match self {
            Self::Standard(secret) => secret.check(headers, body, now()),
            Self::Hub(secret) => {
                let signature = header(headers, "x-hub-signature")?;
                let (method, hex) =
                    signature.split_once('=').ok_or("X-Hub-Signature is not method=signature")?;
                let matches = match method {
                    "sha1" => is_hex_signature::<Hmac<Sha1>>(secret, body, hex),
                    "sha256" => is_hex_signature::<Hmac<Sha256>>(secret, body, hex),
                    "sha384" => is_hex_signature::<Hmac<Sha384>>(secret, body, hex),
                    "sha512" => is_hex_signature::<Hmac<Sha512>>(secret, body, hex),
                    other => return Err(format!("X-Hub-Signature has the unknown method '{other}'")),
                };
                matches.then_some(()).ok_or_else(|| "X-Hub-Signature does not match".to_owned())
            }
            Self::Hmac(secret) => {
                let signature = header(headers, "x-hmac-signature")?;
                let matches = is_signature(&secret.0, &[body], signature);
                matches.then_some(()).ok_or_else(|| "X-HMAC-Signature does not match".to_owned())
            }
        }
    }
}

impl StandardSecret {
    fn check(&self, headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), String> {
        let id = header(headers, "webhook-id")?;
        let timestamp = header(headers, "webhook-timestamp")?;
        let signatures = header(headers, "webhook-signature")?;
        let time: u64 =
            timestamp.parse().map_err(|_| format!("webhook-timestamp '{timestamp}' is no number"))?;
        if now.abs_diff(time) > TOLERANCE {
            return Err(format!("webhook-timestamp {time} is more than {TOLERANCE} seconds from now, {now}"));
        }
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        // A list, so that a sender can change its secret without a gap; versions other than 1 are not ours.
        let mut of_version_1 = signatures.split(' ').filter_map(|entry| entry.strip_prefix("v1,"));
        if of_version_1.any(|signature| is_signature(&self.0, &signed, signature)) {
            Ok(())
        } else {
            Err("webhook-signature has no v1 signature that matches".to_owned())
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let value = headers.get(name).ok_or_else(|| format!("the header {name} is missing"))?;
    value.to_str().map_err(|_| format!("the header {name} is not ASCII"))
}

/// Whether `signature` is the base64 of the HMAC-SHA256 of the joined parts; compared in constant time.
fn is_signature(key: &[u8], parts: &[&[u8]], signature: &str) -> bool {
    let (Ok(mut mac), Ok(signature)) =
        (Hmac::<Sha256>::new_from_slice(key), BASE64_STANDARD.decode(signature))
    else {
        return false;
    };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(&signature).is_ok()
}

/// The same for a signature of the body alone, in hexadecimal.
fn is_hex_signature<M: Mac + KeyInit>(secret: &HmacSecret, body: &[u8], hex: &str) -> bool {
    let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
    let signature: Option<Vec<u8>> =
        pairs.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
    let (Some(signature), Ok(mut mac)) = (signature, <M as KeyInit>::new_from_slice(&secret.0)) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// Seconds since 1970.
fn now() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}

impl FromStr for StandardSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = BASE64_STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
        let key =
            key.map_err(|_| "a secret of Standard Webhooks is base64, with or without whsec_ before it")?;
        if key.is_empty() { Err("a secret is not empty".to_owned()) } else { Ok(Self(key)) }
    }
}

impl FromStr for HmacSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a secret is not empty".to_owned()) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for StandardSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn signed(key: &[u8], id: &str, time: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(format!("{id}.{time}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn headers(id: &str, time: u64, signatures: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", time.into());
        headers.insert("webhook-signature", signatures.parse().unwrap());
        headers
    }

    #[test]
    fn a_delivery_verifies_up_to_five_minutes_from_now_and_not_a_second_more() {
        let secret: StandardSecret = "whsec_c2VjcmV0".parse().unwrap();
        for (time, expected) in
            [(NOW, true), (NOW - 300, true), (NOW + 300, true), (NOW - 301, false), (NOW + 301, false)]
        {
            let headers = headers("msg_1", time, &signed(b"secret", "msg_1", time, "body"));
            assert_eq!(secret.check(&headers, b"body", NOW).is_ok(), expected, "{time}");
        }
    }

    #[test]
    fn one_matching_signature_of_a_list_is_enough() {
        let secret: StandardSecret = "c2VjcmV0".parse().unwrap();
        let right = signed(b"secret", "msg_1", NOW, "body");
        let other = signed(b"former", "msg_1", NOW, "body");
        for (signatures, expected) in [
            (format!("{other} {right}"), true),
            (format!("v1a,xyz {right}"), true),
            (other, false),
            (right.replace("v1,", "v2,"), false),
            ("v1,not base64".to_owned(), false),
            (String::new(), false),
        ] {
            let checked = secret.check(&headers("msg_1", NOW, &signatures), b"body", NOW);
            assert_eq!(checked.is_ok(), expected, "{signatures}");
        }
    }

    #[test]
    fn another_id_or_body_does_not_verify() {
        let secret: StandardSecret = "c2VjcmV0".parse().unwrap();
        let signature = signed(b"secret", "msg_1", NOW, "body");
        assert!(secret.check(&headers("msg_2", NOW, &signature), b"body", NOW).is_err());
        assert!(secret.check(&headers("msg_1", NOW, &signature), b"other", NOW).is_err());
        let missing = secret.check(&HeaderMap::new(), b"body", NOW).unwrap_err();
        assert!(missing.contains("webhook-id"), "{missing}");
    }

    #[test]
    fn a_hub_signature_verifies_by_the_method_that_it_names() {
        let secret = Verifier::Hub("It's a Secret to Everybody".parse().unwrap());
        let check = |signature: &str, body: &[u8]| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-hub-signature"),
                signature.parse().unwrap(),
            )]);
            secret.check(&headers, body).is_ok()
        };
        // The example that GitHub publishes for its webhooks.
        let sha256 = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(check(sha256, b"Hello, World!"));
        assert!(!check(sha256, b"Hello, World?"));
        for wrong in ["sha1=757107ea", "sha256", "sha256=", "sha256=zz", "sha256=7", "md5=00"] {
            assert!(!check(wrong, b"Hello, World!"), "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_is_empty_or_no_base64_is_refused() {
        for wrong in ["", "whsec_", "whsec_%"] {
            assert!(wrong.parse::<StandardSecret>().is_err(), "{wrong}");
        }
        assert!("".parse::<HmacSecret>().is_err());
    }
}
