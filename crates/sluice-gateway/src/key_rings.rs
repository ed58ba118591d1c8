//! The keys and secrets of each event API. They belong to the API and not to its deployment: they change without one, and
//! are there before the first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sluice_api::ApiId;
use sluice_policy::Credentials;

/// The credentials of all APIs that were asked for.
#[derive(Debug, Default)]
pub(crate) struct KeyRings(Mutex<HashMap<ApiId, Arc<Credentials>>>);

impl KeyRings {
    /// Those of an API; empty ones where nobody has set any. The same for all who ask.
    pub(crate) fn of(&self, api: &ApiId) -> Arc<Credentials> {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rings.entry(api.clone()).or_default())
    }

    /// Takes all keys and secrets from an API that is gone for good.
    pub(crate) fn forget(&self, api: &ApiId) {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credentials) = rings.remove(api) {
            // Who still holds them admits nobody any more.
            credentials.set_keys([]);
            credentials.set_secrets(Vec::new());
        }
    }
}
