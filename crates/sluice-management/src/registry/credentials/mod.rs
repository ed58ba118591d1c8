//! API keys and webhook secrets: made, changed and taken away while an API runs, whether it is managed here or in a
//! file. Each change is kept first, then shown to readers and handed to the gateway.
//!
//! Which policies and receivers ask for them is the definition's part. The text of a key, and of a new secret, leaves
//! the registry once.

mod api_keys;
mod webhook_secrets;

use std::{collections::BTreeMap, sync::Arc};

use sluice_api::{ApiId, Secret};
use sluice_policy::{ApiKey, WebhookSecret};
use sluice_store::{ApiKeyRecord, ApiKeyStatus, Store, WebhookSecretRecord};
use uuid::Uuid;

pub use api_keys::NewApiKey;

use super::{Inner, Registry, RegistryError};

/// The keys and secrets of one API, by their names.
#[derive(Default)]
pub(super) struct HeldCredentials {
    keys: BTreeMap<String, Arc<ApiKeyRecord>>,
    secrets: BTreeMap<String, Arc<WebhookSecretRecord>>,
}

/// Those of every API that has some.
pub(super) type CredentialTable = BTreeMap<ApiId, HeldCredentials>;

/// Reads all of them. One that cannot be read is logged, and not good for anything.
pub(super) async fn read(store: &Store) -> Result<CredentialTable, RegistryError> {
    let mut table = CredentialTable::new();
    for key in store.api_keys().await? {
        match key {
            Ok(key) => {
                let held = table.entry(key.api.clone()).or_default();
                held.keys.insert(key.name.clone(), Arc::new(key));
            }
            Err(error) => tracing::error!(%error, "An API key can not be used: it can not be read."),
        }
    }
    for secret in store.webhook_secrets().await? {
        match secret {
            Ok(secret) => {
                let held = table.entry(secret.api.clone()).or_default();
                held.secrets.insert(secret.name.clone(), Arc::new(secret));
            }
            Err(error) => tracing::error!(%error, "A webhook secret can not be used: it can not be read."),
        }
    }
    Ok(table)
}

impl HeldCredentials {
    /// The keys as policies know them; those that expire are told apart by time there.
    pub(super) fn usable_keys(&self) -> Vec<ApiKey> {
        let active = self.keys.values().filter(|key| key.status == ApiKeyStatus::Active);
        let known = active.map(|key| ApiKey {
            name: key.name.clone(),
            hash: key.hash,
            expires_at_ms: key.expires_at.map(|time| time.0),
            issuer: key.issuer.clone(),
            roles: key.roles.clone(),
        });
        known.collect()
    }

    /// The secrets as receivers know them, former ones among them.
    pub(super) fn usable_secrets(&self) -> Vec<WebhookSecret> {
        let known = self.secrets.values().flat_map(|secret| {
            let known = |value: &Secret, until_ms| WebhookSecret {
                name: secret.name.clone(),
                value: value.clone(),
                until_ms,
            };
            let former = secret.former.as_ref().map(|former| known(&former.value, Some(former.until.0)));
            [known(&secret.value, None)].into_iter().chain(former)
        });
        known.collect()
    }
}

impl Inner {
    /// What of the keys and secrets of an API is asked for.
    fn credentials_of<T>(&self, api: &ApiId, show: impl FnOnce(&HeldCredentials) -> T) -> T {
        match self.read().credentials.get(api) {
            Some(held) => show(held),
            None => show(&HeldCredentials::default()),
        }
    }
}

/// 64 hexadecimal digits that nobody can guess.
fn random_digits() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}
