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
        if let Some(credentials) = rings.get(api) {
            return Arc::clone(credentials);
        }
        // Definitions that are only checked ask, too, and leave nothing behind.
        rings.retain(|_, credentials| Arc::strong_count(credentials) > 1 || !credentials.is_empty());
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

#[cfg(test)]
mod tests {
    use sluice_api::Secret;
    use sluice_policy::WebhookSecret;

    use super::*;

    #[test]
    fn what_nobody_holds_and_nobody_has_set_is_not_kept() {
        let rings = KeyRings::default();
        let id = |id: &str| ApiId(id.to_owned());
        let held = rings.of(&id("held"));
        let secret = WebhookSecret { name: "s".to_owned(), value: Secret::new("s"), until_ms: None };
        rings.of(&id("set")).set_secrets(vec![secret]);
        rings.of(&id("checked"));
        assert!(Arc::ptr_eq(&held, &rings.of(&id("held"))));
        rings.of(&id("other"));
        let mut kept: Vec<_> = rings.0.lock().unwrap().keys().map(|api| api.0.clone()).collect();
        kept.sort();
        assert_eq!(kept, ["held", "other", "set"]);
    }
}
