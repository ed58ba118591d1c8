//! `webhook-signature-generator`: signs what is delivered, so that a receiver can tell that it came from here and was
//! not changed. The signature is a header of the message, which a webhook sends as a header of its request.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac, digest::InvalidLength};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sluice_api::{Problem, Secret, from_value};
use sluice_expression::{EvalContext, Expression};
use sluice_message::Message;

use super::header_name;
use crate::{Entry, Hook, Policy, Rejection, Verdict, catalogue::schema_of, site::Site};

pub(crate) const ENTRY: Entry = Entry {
    id: "webhook-signature-generator",
    aliases: &[],
    versions: &[],
    name: "Webhook signature generator",
    description: "Signs what is delivered with a secret that the receiver knows.",
    documentation: "The signature is the HMAC of the content, in base64, in a header of the message. With \
                    `schemeType` the values of some headers come before the content, joined by the delimiter; with \
                    `timestampValidity` the time, in seconds since 1970, comes before everything and goes into a \
                    header of its own. A message without one of the headers, or with a secret that has no value, is \
                    refused, never sent unsigned. Put this policy last: what changes a message later breaks the \
                    signature.",
    example: r#"{"secret": "{#secrets.get('webhook')}", "timestampValidity": {"enabled": true}}"#,
    hooks: &[Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `webhook-signature-generator`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The header that the signature goes into, in place of what was there. Default `X-HMAC-Signature`.
    #[serde(default = "Settings::default_header")]
    target_signature_header: String,
    /// Which headers are signed with the content.
    #[serde(default)]
    scheme_type: SchemeType,
    /// Whether the time is signed, so that a receiver can refuse what is old.
    #[serde(default)]
    timestamp_validity: TimestampValidity,
    /// The secret; it may have expressions in it, as `{#secrets.get('webhook')}`. Required.
    secret: Secret,
    /// The hash function. Default `HmacSHA256`.
    #[serde(default)]
    algorithm: Algorithm,
}

impl Settings {
    fn default_header() -> String {
        "X-HMAC-Signature".to_owned()
    }
}

/// Which headers are signed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SchemeType {
    /// Whether headers are signed. Default false.
    #[serde(default)]
    enabled: bool,
    /// What stands between their values, and before the content. Default `.`.
    #[serde(default = "dot")]
    headers_delimiter: String,
    /// The names of the headers, in order.
    #[serde(default)]
    headers: Vec<String>,
}

impl Default for SchemeType {
    fn default() -> Self {
        Self { enabled: false, headers_delimiter: dot(), headers: Vec::new() }
    }
}

/// Whether the time is signed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimestampValidity {
    /// Whether it is. Default false.
    #[serde(default)]
    enabled: bool,
    /// The header that it goes into. Default `X-HMAC-Timestamp`.
    #[serde(default = "TimestampValidity::default_header")]
    target_timestamp_header: String,
    /// What stands behind it. Default `.`.
    #[serde(default = "dot")]
    delimiter: String,
}

impl TimestampValidity {
    fn default_header() -> String {
        "X-HMAC-Timestamp".to_owned()
    }
}

impl Default for TimestampValidity {
    fn default() -> Self {
        Self { enabled: false, target_timestamp_header: Self::default_header(), delimiter: dot() }
    }
}

fn dot() -> String {
    ".".to_owned()
}

/// The hash function of a signature.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
enum Algorithm {
    /// SHA-1. For receivers that know no other.
    #[serde(rename = "HmacSHA1")]
    Sha1,
    /// SHA-256.
    #[default]
    #[serde(rename = "HmacSHA256")]
    Sha256,
    /// SHA-384.
    #[serde(rename = "HmacSHA384")]
    Sha384,
    /// SHA-512.
    #[serde(rename = "HmacSHA512")]
    Sha512,
}

struct WebhookSignatureGenerator {
    header: String,
    scheme: SchemeType,
    timestamp: TimestampValidity,
    secret: Expression,
    algorithm: Algorithm,
}

/// Without the secret.
impl std::fmt::Debug for WebhookSignatureGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("WebhookSignatureGenerator");
        shown.field("header", &self.header).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let timestamp_header = &settings.timestamp_validity.target_timestamp_header;
    for (path, name) in [
        ("targetSignatureHeader", &settings.target_signature_header),
        ("timestampValidity.targetTimestampHeader", timestamp_header),
    ] {
        problems.extend(header_name(path, name).err());
    }
    for (index, name) in settings.scheme_type.headers.iter().enumerate() {
        problems.extend(header_name(&format!("schemeType.headers[{index}]"), name).err());
    }
    if settings.scheme_type.enabled && settings.scheme_type.headers.is_empty() {
        let message = "With schemeType enabled, the headers to be signed are needed here.";
        problems.push(Problem::new("schemeType.headers", "document.field", message));
    }
    if settings.secret.expose().is_empty() {
        problems.push(Problem::new("secret", "document.field", "A secret is needed here."));
    }
    match site.text("secret", settings.secret.expose()) {
        Ok(secret) if problems.is_empty() => Ok(Arc::new(WebhookSignatureGenerator {
            header: settings.target_signature_header,
            scheme: settings.scheme_type,
            timestamp: settings.timestamp_validity,
            secret,
            algorithm: settings.algorithm,
        })),
        secret => {
            problems.extend(secret.err());
            Err(problems)
        }
    }
}

impl WebhookSignatureGenerator {
    fn sign(
        &self,
        context: &EvalContext<'_>,
        message: &Message,
        now: &str,
    ) -> Result<Message, Box<Rejection>> {
        let mut parts: Vec<&[u8]> = Vec::new();
        if self.timestamp.enabled {
            parts.extend([now.as_bytes(), self.timestamp.delimiter.as_bytes()]);
        }
        for name in self.scheme.headers.iter().filter(|_| self.scheme.enabled) {
            let value = message.headers().get(name).ok_or_else(|| {
                let text = format!("The message cannot be signed: it has no header '{name}'.");
                failed("WEBHOOK_ADDITIONAL_HEADERS_NOT_VALID", text)
            })?;
            parts.extend([value, self.scheme.headers_delimiter.as_bytes()]);
        }
        parts.push(message.payload());
        let secret = self.secret.text(&context.with_message(message)).ok().flatten();
        let secret = secret.filter(|secret| !secret.is_empty());
        let signature = secret.and_then(|secret| self.algorithm.sign(secret.as_bytes(), &parts).ok());
        let signature = signature.ok_or_else(|| {
            let text = "The message cannot be signed: the secret has no value for it.";
            failed("WEBHOOK_SIGNATURE_ERROR", text.to_owned())
        })?;
        let mut headers = message.headers().clone();
        if self.timestamp.enabled {
            headers.set(&*self.timestamp.target_timestamp_header, now.to_owned());
        }
        headers.set(&*self.header, signature);
        Ok(message.to_builder().headers(headers).build())
    }
}

fn failed(key: &'static str, text: String) -> Box<Rejection> {
    Box::new(Rejection::new(500, "policy.signature.failed", key, text))
}

impl Algorithm {
    /// The signature of these parts, one behind the other, in base64.
    fn sign(self, secret: &[u8], parts: &[&[u8]]) -> Result<String, InvalidLength> {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(secret, parts),
            Self::Sha256 => mac::<Hmac<Sha256>>(secret, parts),
            Self::Sha384 => mac::<Hmac<Sha384>>(secret, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(secret, parts),
        }
    }
}

fn mac<M: Mac + KeyInit>(secret: &[u8], parts: &[&[u8]]) -> Result<String, InvalidLength> {
    let mut mac = <M as KeyInit>::new_from_slice(secret)?;
    for part in parts {
        mac.update(part);
    }
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

impl Policy for WebhookSignatureGenerator {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        self.sign(context, &message, &now)
            .map_or_else(|rejection| Verdict::Reject(*rejection), Verdict::Continue)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, environment, message, refused};

    fn settings(settings: Json) -> WebhookSignatureGenerator {
        let all: Settings = from_value(settings).unwrap();
        WebhookSignatureGenerator {
            header: all.target_signature_header,
            scheme: all.scheme_type,
            timestamp: all.timestamp_validity,
            secret: Expression::parse(all.secret.expose()).unwrap(),
            algorithm: all.algorithm,
        }
    }

    fn sign(of: Json) -> Result<Message, Box<Rejection>> {
        let headers = [("X-A", "1"), ("x-b", "2")].into_iter().collect();
        let message = message("what do ya want for nothing?").to_builder().headers(headers).build();
        let environment = environment();
        settings(of).sign(&EvalContext::new().with_environment(&environment), &message, "1700000000")
    }

    fn signature(of: Json) -> String {
        let signed = sign(of).unwrap();
        String::from_utf8(signed.headers().get("X-HMAC-Signature").unwrap().to_vec()).unwrap()
    }

    /// RFC 2202, test case 2 of SHA-1; RFC 4231, test case 2 of the others.
    #[test]
    fn the_signature_is_that_of_the_standards_test_vectors() {
        for (algorithm, wanted) in [
            ("HmacSHA1", "7/zfauXrL6LSdBbV8YTfnCWafHk="),
            ("HmacSHA256", "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="),
            ("HmacSHA384", "r0XS43ZIQDFhf3jStYprG5x+9GT1oBtH5C7Dc2MiRF6OIkDKXmnix4syOez6shZJ"),
            (
                "HmacSHA512",
                "Fkt6e/z4GeLjlfvnO1bgo4e9ZCIugx/WECcM1+olBVSXWL91wFqZSm0DT2X48Ob9yuqxo01Ka0tjbgcKOLznNw==",
            ),
        ] {
            assert_eq!(signature(json!({"secret": "Jefe", "algorithm": algorithm})), wanted, "{algorithm}");
        }
        assert_eq!(signature(json!({"secret": "Jefe"})), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }

    #[test]
    fn headers_and_time_are_signed_before_the_content() {
        let signed_by_hand = |text: &str| Algorithm::Sha256.sign(b"1234", &[text.as_bytes()]).unwrap();
        let secret = "{#secrets.get('pin')}";
        let scheme = json!({"enabled": true, "headersDelimiter": "|", "headers": ["x-a", "X-B"]});
        let by_headers = signature(json!({"secret": secret, "schemeType": scheme}));
        assert_eq!(by_headers, signed_by_hand("1|2|what do ya want for nothing?"));
        let timed = json!({"secret": secret, "schemeType": scheme, "timestampValidity": {"enabled": true}});
        assert_eq!(signature(timed.clone()), signed_by_hand("1700000000.1|2|what do ya want for nothing?"));
        let timed = sign(timed).unwrap();
        assert_eq!(timed.headers().get("X-HMAC-Timestamp").unwrap(), "1700000000");
        assert_eq!(timed.payload(), b"what do ya want for nothing?");
    }

    #[test]
    fn what_cannot_be_signed_is_refused_and_never_sent_unsigned() {
        let scheme = json!({"enabled": true, "headers": ["x-none"]});
        let rejection = sign(json!({"secret": "s", "schemeType": scheme})).unwrap_err();
        assert_eq!((rejection.status, &*rejection.key), (500, "WEBHOOK_ADDITIONAL_HEADERS_NOT_VALID"));
        for secret in ["{#message.metadata['none']}", "{#message.headers['none'][0]}"] {
            let rejection = sign(json!({"secret": secret})).unwrap_err();
            assert_eq!(
                (&*rejection.key, rejection.code),
                ("WEBHOOK_SIGNATURE_ERROR", "policy.signature.failed")
            );
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let policy = built(&ENTRY, Hook::Deliver, json!({"secret": "hunter2"})).unwrap();
        assert!(!format!("{policy:?}").contains("hunter2"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let paths = |settings: Json| {
            let found = refused(&ENTRY, Hook::Deliver, settings);
            found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(paths(json!({"secret": ""})), ["secret"]);
        assert_eq!(paths(json!({"secret": "{#secrets.get('pan')}"})), ["secret"]);
        assert_eq!(paths(json!({"secret": "s", "schemeType": {"enabled": true}})), ["schemeType.headers"]);
        assert_eq!(paths(json!({"secret": "s", "algorithm": "MD5"})), ["algorithm"]);
        let names = json!({"secret": "s", "targetSignatureHeader": "a b", "schemeType": {"headers": [""]},
            "timestampValidity": {"targetTimestampHeader": ":"}});
        assert_eq!(
            paths(names),
            ["targetSignatureHeader", "timestampValidity.targetTimestampHeader", "schemeType.headers[0]"]
        );
    }
}
