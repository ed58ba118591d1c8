//! Signatures, checked by the library that the scheme's own project publishes.

use serde_json::json;

use crate::{
    bench::{Bench, Offer},
    receiver::{Receiver, Reply},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test]
async fn calls_are_signed_so_that_standard_webhooks_verify_them() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let callback = json!({
        "callbackUrl": receiver.url("/"),
        "retry": { "maxAttempts": 2, "initialDelaySeconds": 0 },
        "signature": { "secrets": [SECRET, OTHER] },
    });
    bench.subscribe("s", sluice_api::from_value(callback).unwrap()).await;
    receiver.answers([Reply::Status(500)]);
    bench.publish("{\"a\": 1}").await;
    let (first, second) = (receiver.call().await, receiver.call().await);
    for secret in [SECRET, OTHER] {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        for call in [&first, &second] {
            webhook.verify(&call.body, &call.headers).unwrap();
            assert!(webhook.verify(b"{\"a\": 2}", &call.headers).is_err());
        }
    }
    assert_eq!(
        first.headers["webhook-id"], second.headers["webhook-id"],
        "a repeated call is the same message"
    );
}
