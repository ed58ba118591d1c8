//! Signing calls as Standard Webhooks have it (version 1 of its specification, symmetric keys).

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use sluice_api::{CallbackSignature, SubscriptionId};
use sluice_message::{Message, Place};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signs the calls of one subscription.
pub(crate) struct Signer(Vec<Hmac<Sha256>>);

impl Signer {
    /// The keys of a callback that has been validated; one that cannot be read would sign nothing and is left
    /// out, which leaves no signature that a subscriber would take.
    pub(crate) fn new(signature: &CallbackSignature) -> Self {
        let keys = signature.secrets.iter().filter_map(|secret| {
            let key = STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
            Hmac::new_from_slice(&key).ok()
        });
        Self(keys.collect())
    }

    /// Sets the three headers, in place of any that the message brought.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, id: &str, unix_seconds: u64, body: &[u8]) {
        let time = unix_seconds.to_string();
        let signatures = self.0.iter().map(|key| {
            let mut mac = key.clone();
            for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
                mac.update(part);
            }
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        let signatures = signatures.collect::<Vec<_>>().join(" ");
        for (name, value) in [(ID, id), (TIMESTAMP, &*time), (SIGNATURE, &*signatures)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// The id of a message for one subscriber: the same for each call with it, also after a restart. A message
/// without a place gets one that is the same as long as it is in memory.
pub(crate) fn message_id(subscription: &SubscriptionId, message: &Message) -> String {
    let Some(Place { topic, partition, offset }) = message.place() else {
        return format!("msg_{}", uuid::Uuid::new_v4().simple());
    };
    // Nobody learns from it how the broker names things; NUL is in no topic and no id.
    let place = format!("{subscription}\0{topic}\0{}\0{}", partition.0, offset.0);
    let digest = Sha256::digest(place.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

#[cfg(test)]
mod tests {
    use sluice_api::Secret;

    use super::*;

    #[test]
    fn signs_as_the_specification_shows() {
        let secrets = vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        let signer = Signer::new(&CallbackSignature { secrets });
        let mut headers = HeaderMap::new();
        let body = br#"{"test": 2432232314}"#;
        signer.sign(&mut headers, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(headers[SIGNATURE], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_id_belongs_to_one_message_of_one_subscriber() {
        let message = |offset| {
            let (partition, offset) = (sluice_message::Partition(0), sluice_message::Offset(offset));
            Message::builder().place(Place { topic: "t".into(), partition, offset }).build()
        };
        let id = |subscription: &str, offset| {
            message_id(&SubscriptionId(subscription.to_owned()), &message(offset))
        };
        assert_eq!(id("s", 1), id("s", 1));
        assert!(id("s", 1) != id("s", 2) && id("s", 1) != id("t", 1));
    }
}
