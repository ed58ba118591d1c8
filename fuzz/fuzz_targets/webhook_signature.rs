//! The headers by which webhook senders sign: whatever stands in them is read without harm, and is never a signature
//! by a secret that its sender does not know. The first byte of the input chooses the provider, each line behind it is
//! the value of one header, and the rest is the body.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluice_api::WebhookSender;
use sluice_receiver::webhook_receiver::verify;

/// Each provider with the headers that it reads.
const PROVIDERS: [(&str, &[&str]); 7] = [
    ("github", &["x-hub-signature-256"]),
    ("stripe", &["stripe-signature"]),
    ("slack", &["x-slack-signature", "x-slack-request-timestamp"]),
    ("shopify", &["x-shopify-hmac-sha256"]),
    ("standard-webhooks", &["webhook-signature", "webhook-id", "webhook-timestamp"]),
    ("svix", &["svix-signature", "svix-id", "svix-timestamp"]),
    ("hmac", &["x-proof"]),
];

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let (provider, names) = PROVIDERS[usize::from(choice) % PROVIDERS.len()];
    let mut lines = rest.splitn(names.len() + 1, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in names {
        let Ok(value) = HeaderValue::from_bytes(lines.next().unwrap_or_default()) else { return };
        headers.insert(HeaderName::from_static(name), value);
    }
    let mut settings = serde_json::json!({ "provider": provider, "secrets": ["c2VjcmV0IG9mIG5vYm9keQ=="] });
    if provider == "hmac" {
        settings["header"] = "x-proof".into();
    }
    let sender: WebhookSender = serde_json::from_value(settings).unwrap();
    assert!(verify(&sender, &[], &headers, lines.next().unwrap_or_default(), 0).is_err());
});
