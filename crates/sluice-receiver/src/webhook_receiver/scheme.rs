//! How each provider writes a signature into the headers of a request, and what it signs beside the body. Reading
//! only; whether a signature is right is judged in [`sender`](super::sender).

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use sluice_api::{HmacAlgorithm, SignatureEncoding, WebhookProvider, WebhookSender};

use crate::{Refusal, hex};

/// The header names of Standard Webhooks.
pub(super) struct Names {
    pub(super) id: &'static str,
    time: &'static str,
    signature: &'static str,
}

const STANDARD_NAMES: Names =
    Names { id: "webhook-id", time: "webhook-timestamp", signature: "webhook-signature" };
const SVIX_NAMES: Names = Names { id: "svix-id", time: "svix-timestamp", signature: "svix-signature" };

/// What the headers of a request say about its signature.
#[derive(Debug)]
pub(super) struct Claimed<'a> {
    /// The header that says it.
    pub(super) header: &'a str,
    /// What is signed before the body.
    pub(super) before: Vec<&'a str>,
    /// When it was signed, in seconds since 1970-01-01 UTC, where that is signed.
    pub(super) time: Option<u64>,
    /// The signatures, any of which may be right.
    pub(super) signatures: Vec<Vec<u8>>,
    pub(super) algorithm: HmacAlgorithm,
}

/// Under which names a request has its id, time and signature: those of the specification where it is signed by
/// them. The id is read by the same choice, so that nobody can bring another beside the one that is signed.
pub(super) fn standard_names(headers: &HeaderMap) -> Names {
    if headers.contains_key(SVIX_NAMES.signature) && !headers.contains_key(STANDARD_NAMES.signature) {
        SVIX_NAMES
    } else {
        STANDARD_NAMES
    }
}

/// What a request says about its signature.
///
/// # Errors
/// 401 where a header is missing, is there twice, or is not written as its provider writes it.
pub(super) fn read<'a>(sender: &'a WebhookSender, headers: &'a HeaderMap) -> Result<Claimed<'a>, Refusal> {
    match sender.provider {
        WebhookProvider::Github if sender.algorithm == Some(HmacAlgorithm::Sha1) => {
            over_body(headers, "x-hub-signature", "sha1=", SignatureEncoding::Hex, HmacAlgorithm::Sha1)
        }
        WebhookProvider::Github => {
            let algorithm = HmacAlgorithm::Sha256;
            over_body(headers, "x-hub-signature-256", "sha256=", SignatureEncoding::Hex, algorithm)
        }
        WebhookProvider::Shopify => {
            let algorithm = HmacAlgorithm::Sha256;
            over_body(headers, "x-shopify-hmac-sha256", "", SignatureEncoding::Base64, algorithm)
        }
        WebhookProvider::Hmac => {
            let (encoding, algorithm) =
                (sender.encoding.unwrap_or_default(), sender.algorithm.unwrap_or_default());
            let header = sender.header.as_deref().unwrap_or_default();
            over_body(headers, header, sender.prefix.as_deref().unwrap_or_default(), encoding, algorithm)
        }
        WebhookProvider::Stripe => stripe(headers),
        WebhookProvider::Slack => slack(headers),
        WebhookProvider::StandardWebhooks => standard(headers),
    }
}

/// One signature over nothing but the body.
fn over_body<'a>(
    headers: &'a HeaderMap,
    header: &'a str,
    prefix: &str,
    encoding: SignatureEncoding,
    algorithm: HmacAlgorithm,
) -> Result<Claimed<'a>, Refusal> {
    let signature = value(headers, header)?.strip_prefix(prefix).and_then(|text| decoded(text, encoding));
    let signatures = vec![signature.ok_or_else(|| malformed(header))?];
    Ok(Claimed { header, before: Vec::new(), time: None, signatures, algorithm })
}

/// `t=1492774577,v1=5257…,v1=…,v0=…`: the time and any number of signatures; other schemes are not looked at.
fn stripe(headers: &HeaderMap) -> Result<Claimed<'_>, Refusal> {
    let header = "stripe-signature";
    let pairs = value(headers, header)?.split(',').filter_map(|pair| pair.trim().split_once('='));
    let (mut times, mut signatures) = (Vec::new(), Vec::new());
    for (name, text) in pairs {
        match name {
            "t" => times.push(text),
            "v1" => signatures.extend(hex::decode(text)),
            _ => {}
        }
    }
    let &[time] = &*times else { return Err(malformed(header)) };
    let before = vec![time, "."];
    timed(header, before, time, signatures)
}

/// `v0=a2114d57…`, with the time in a header of its own.
fn slack(headers: &HeaderMap) -> Result<Claimed<'_>, Refusal> {
    let header = "x-slack-signature";
    let signature = value(headers, header)?.strip_prefix("v0=").and_then(hex::decode);
    let time = value(headers, "x-slack-request-timestamp")?;
    timed(header, vec!["v0:", time, ":"], time, signature.into_iter().collect())
}

/// `v1,g0hM9SsE… v1,…`, with id and time in headers of their own; other versions are not looked at.
fn standard(headers: &HeaderMap) -> Result<Claimed<'_>, Refusal> {
    let names = standard_names(headers);
    let signatures = value(headers, names.signature)?.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let signatures = signatures.filter_map(|text| decoded(text, SignatureEncoding::Base64)).collect();
    let (id, time) = (value(headers, names.id)?, value(headers, names.time)?);
    timed(names.signature, vec![id, ".", time, "."], time, signatures)
}

fn timed<'a>(
    header: &'a str,
    before: Vec<&'a str>,
    time: &str,
    signatures: Vec<Vec<u8>>,
) -> Result<Claimed<'a>, Refusal> {
    // A number in any other form would be signed in another than it is read in.
    let time = Some(time).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let time = time.and_then(|text| text.parse().ok()).filter(|_| !signatures.is_empty());
    let time = Some(time.ok_or_else(|| malformed(header))?);
    Ok(Claimed { header, before, time, signatures, algorithm: HmacAlgorithm::Sha256 })
}

/// The value of a header that must be there once.
fn value<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| {
        let text = format!("The header {name} is missing, by which webhooks of this API are signed.");
        Refusal::new(StatusCode::UNAUTHORIZED, "webhook.signature.missing", text)
    })?;
    value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(|| malformed(name))
}

fn decoded(text: &str, encoding: SignatureEncoding) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Hex => hex::decode(text),
        SignatureEncoding::Base64 => STANDARD.decode(text).ok(),
    }
}

fn malformed(header: &str) -> Refusal {
    let text =
        format!("The signature in {header}, or what belongs to it, is not written as this API expects it.");
    Refusal::new(StatusCode::UNAUTHORIZED, "webhook.signature.malformed", text)
}
