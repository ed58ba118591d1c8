//! Whether a request comes from who holds a secret: its signature is checked over the raw bytes of the body, before
//! anything else reads them.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use sluice_api::{HmacAlgorithm, Secret, WebhookSender};

use super::scheme::{self, Claimed};
use crate::Refusal;

/// The code of a request that no secret is there for.
pub(super) const NO_SECRET: &str = "webhook.secret.none";

/// Checks that a request is signed by one of the secrets of its sender's settings, or of `more`, and not longer ago,
/// or later, than the settings tolerate. `now` is in seconds since 1970-01-01 UTC. Which secret it was is told to
/// nobody.
///
/// # Errors
/// 401 for a request that is not, and for every request where there is no secret at all.
pub fn verify(
    sender: &WebhookSender,
    more: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<(), Refusal> {
    let keys: Vec<_> = sender.secrets.iter().chain(more).filter_map(|secret| sender.key(secret)).collect();
    if keys.is_empty() {
        let text = "There is no secret to verify webhooks with. The publisher of this API has to act.";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, NO_SECRET, text));
    }
    let claimed = scheme::read(sender, headers)?;
    let is_signed = match claimed.algorithm {
        HmacAlgorithm::Sha1 => is_signed::<Hmac<Sha1>>(&keys, &claimed, body),
        HmacAlgorithm::Sha256 => is_signed::<Hmac<Sha256>>(&keys, &claimed, body),
        HmacAlgorithm::Sha512 => is_signed::<Hmac<Sha512>>(&keys, &claimed, body),
    };
    if !is_signed {
        let text = format!(
            "The signature in {} is not one of this request by a secret of this API. It is made over the bytes of \
             the body as they are sent.",
            claimed.header
        );
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "webhook.signature.wrong", text));
    }
    let tolerance = sender.tolerance_seconds();
    if claimed.time.is_some_and(|time| time.abs_diff(now) > u64::from(tolerance)) {
        let text = format!(
            "The request was signed more than {tolerance} seconds before or after the gateway's time. Send it anew."
        );
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "webhook.timestamp", text));
    }
    Ok(())
}

/// Whether any signature is one by any key. All are tried, each in constant time, so that how long it takes says
/// nothing about the keys.
fn is_signed<M: Mac + KeyInit + Clone>(keys: &[Vec<u8>], claimed: &Claimed<'_>, body: &[u8]) -> bool {
    let mut is_signed = false;
    for key in keys {
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { continue };
        claimed.before.iter().for_each(|part| mac.update(part.as_bytes()));
        mac.update(body);
        for signature in &claimed.signatures {
            is_signed |= mac.clone().verify_slice(signature).is_ok();
        }
    }
    is_signed
}
