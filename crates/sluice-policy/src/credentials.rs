//! The API keys and webhook secrets of one event API, as policies and receivers ask for them. They change while the
//! API runs, without a deployment; where they are kept, and who may change them, is decided elsewhere.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use sluice_api::Secret;

/// A key by which a client may use an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, unique within the API.
    pub name: String,
    /// The SHA-256 of its text; the text itself is kept nowhere.
    pub hash: [u8; 32],
    /// When it ends: milliseconds since 1970-01-01 UTC; never when absent.
    pub expires_at_ms: Option<i64>,
    /// Who made it: one who issues keys, for policies that take those of one issuer only.
    pub issuer: Option<String>,
    /// What its bearer is, for policies that ask for a role.
    pub roles: Vec<String>,
}

/// A secret by which a webhook sender signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    /// Its name, unique within the API but for one that takes another's place.
    pub name: String,
    /// Its text.
    pub value: Secret,
    /// When it ends: milliseconds since 1970-01-01 UTC; never when absent.
    pub until_ms: Option<i64>,
}

/// The keys and secrets of one API. Read on every request, without a lock.
#[derive(Default)]
pub struct Credentials {
    keys: ArcSwap<HashMap<[u8; 32], Arc<ApiKey>>>,
    secrets: ArcSwap<Vec<WebhookSecret>>,
}

impl Credentials {
    /// Sets the keys that are good from now on, in place of all others. Those that were revoked are not among them.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = ApiKey>) {
        let by_hash = keys.into_iter().map(|key| (key.hash, Arc::new(key)));
        self.keys.store(Arc::new(by_hash.collect()));
    }

    /// Sets the secrets that are good from now on, in place of all others.
    pub fn set_secrets(&self, secrets: Vec<WebhookSecret>) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Whether there is neither a key nor a secret.
    pub fn is_empty(&self) -> bool {
        self.keys.load().is_empty() && self.secrets.load().is_empty()
    }

    /// The key with this text, if it is good now. Looked up by its hash, so that how long it takes says nothing
    /// about keys that there are.
    pub fn key(&self, text: &str) -> Option<Arc<ApiKey>> {
        let keys = self.keys.load();
        let key = keys.get(&ApiKey::hash_of(text))?;
        is_good(key.expires_at_ms).then(|| Arc::clone(key))
    }

    /// The secrets that are good now.
    pub fn secrets(&self) -> Vec<Secret> {
        let secrets = self.secrets.load();
        let good = secrets.iter().filter(|secret| is_good(secret.until_ms));
        good.map(|secret| secret.value.clone()).collect()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// What is kept of a key's text.
    pub fn hash_of(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }
}

fn is_good(until_ms: Option<i64>) -> bool {
    let Some(until) = until_ms else { return true };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u128::try_from(until).is_ok_and(|until| now.as_millis() < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, expires_at_ms: Option<i64>) -> ApiKey {
        let hash = ApiKey::hash_of(text);
        ApiKey { name: text.to_owned(), hash, expires_at_ms, issuer: None, roles: Vec::new() }
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_taken_out() {
        let credentials = Credentials::default();
        credentials.set_keys([key("a", None), key("b", Some(1)), key("c", Some(i64::MAX))]);
        assert!(credentials.key("a").is_some() && credentials.key("c").is_some());
        assert!(credentials.key("b").is_none() && credentials.key("d").is_none());
        credentials.set_keys([key("c", None)]);
        assert!(credentials.key("a").is_none());
    }

    #[test]
    fn several_secrets_are_good_at_once_and_each_for_its_time() {
        let credentials = Credentials::default();
        let secret = |name: &str, until_ms| WebhookSecret {
            name: name.to_owned(),
            value: Secret::new(name),
            until_ms,
        };
        credentials.set_secrets(vec![
            secret("old", Some(i64::MAX)),
            secret("new", None),
            secret("over", Some(1)),
        ]);
        let good: Vec<_> = credentials.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
        assert_eq!(good, ["old", "new"]);
    }
}
