//! Webhook secrets: what the senders of webhooks sign with. Several may be good at once.

use std::{sync::Arc, time::Duration};

use sluice_api::{ApiId, Secret};
use sluice_store::{FormerSecret, Timestamp, WebhookSecretRecord};

use super::{HeldCredentials, Inner, Registry, RegistryError, random_digits};

/// What the text of each secret begins with.
const PREFIX: &str = "whsec_";

/// Secrets of one API at once: each costs a signature per request.
const MAX_SECRETS: usize = 10;

/// The longest name for people, in characters.
const MAX_DISPLAY_NAME: usize = 100;

/// How long a former text is good when nobody says.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// The longest time that it may be.
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

impl Registry {
    /// The webhook secrets of an API by their names.
    pub fn webhook_secrets(&self, api: &ApiId) -> Result<Vec<Arc<WebhookSecretRecord>>, RegistryError> {
        self.get(api)?;
        Ok(self.inner.credentials_of(api, |held| held.secrets.values().cloned().collect()))
    }

    /// Makes a secret, named after what it is called for people, and returns it with its text, which is shown
    /// nowhere else.
    pub async fn create_webhook_secret(
        &self,
        api: &ApiId,
        display_name: &str,
    ) -> Result<(Arc<WebhookSecretRecord>, Secret), RegistryError> {
        let (api, display_name) = (api.clone(), display_name.trim().to_owned());
        self.exclusively(async move |inner| {
            inner.get(&api)?;
            let name = named(&display_name)?;
            inner.credentials_of(&api, |held| check_new(held, &name))?;
            let (now, value) = (Timestamp::now(), new_text());
            let record = WebhookSecretRecord {
                api,
                name,
                display_name,
                value: value.clone(),
                former: None,
                created_at: now,
                updated_at: now,
            };
            Ok((inner.keep_webhook_secret(record).await?, value))
        })
        .await
    }

    /// Gives a secret another text. The former stays good for the grace period, 24 hours when absent, at most 30
    /// days; what it was before that is good no more.
    pub async fn regenerate_webhook_secret(
        &self,
        api: &ApiId,
        name: &str,
        grace: Option<Duration>,
    ) -> Result<(Arc<WebhookSecretRecord>, Secret), RegistryError> {
        let (api, name) = (api.clone(), name.to_owned());
        let grace = grace.unwrap_or(GRACE);
        if grace > MAX_GRACE {
            let message =
                format!("A former secret is good for at most {} seconds more.", MAX_GRACE.as_secs());
            return Err(RegistryError::refused("gracePeriodSeconds", "webhookSecret.grace.invalid", message));
        }
        self.exclusively(async move |inner| {
            let mut record = inner.webhook_secret(&api, &name)?;
            let value = std::mem::replace(&mut record.value, new_text());
            record.updated_at = Timestamp::now_after(record.updated_at);
            let until = Timestamp::now().after(grace);
            record.former = (!grace.is_zero()).then_some(FormerSecret { value, until });
            let text = record.value.clone();
            Ok((inner.keep_webhook_secret(record).await?, text))
        })
        .await
    }

    /// Deletes a secret, and what it was before with it.
    pub async fn delete_webhook_secret(&self, api: &ApiId, name: &str) -> Result<(), RegistryError> {
        let (api, name) = (api.clone(), name.to_owned());
        self.exclusively(async move |inner| {
            inner.webhook_secret(&api, &name)?;
            inner.store.delete_webhook_secret(&api, &name).await?;
            inner.show_webhook_secrets(&api, |held| drop(held.secrets.remove(&name)));
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn webhook_secret(&self, api: &ApiId, name: &str) -> Result<WebhookSecretRecord, RegistryError> {
        self.get(api)?;
        let found = self.credentials_of(api, |held| held.secrets.get(name).map(|it| (**it).clone()));
        found.ok_or_else(|| RegistryError::WebhookSecretNotFound(name.to_owned()))
    }

    async fn keep_webhook_secret(
        &self,
        record: WebhookSecretRecord,
    ) -> Result<Arc<WebhookSecretRecord>, RegistryError> {
        self.store.save_webhook_secret(&record).await?;
        let record = Arc::new(record);
        let shown = Arc::clone(&record);
        self.show_webhook_secrets(&record.api, |held| drop(held.secrets.insert(shown.name.clone(), shown)));
        Ok(record)
    }

    /// Shows a change to readers and hands it to the gateway.
    fn show_webhook_secrets(&self, api: &ApiId, change: impl FnOnce(&mut HeldCredentials)) {
        let usable = {
            let mut state = self.write();
            let held = state.credentials.entry(api.clone()).or_default();
            change(held);
            held.usable_secrets()
        };
        self.gateway.credentials(api).set_secrets(usable);
    }
}

fn check_new(held: &HeldCredentials, name: &str) -> Result<(), RegistryError> {
    if held.secrets.contains_key(name) {
        let message = format!("There is a webhook secret '{name}' already.");
        return Err(RegistryError::conflict("displayName", "webhookSecret.exists", message));
    }
    if held.secrets.len() >= MAX_SECRETS {
        let message =
            format!("There are {MAX_SECRETS} webhook secrets already, as many as may be; delete one.");
        return Err(RegistryError::conflict("", "webhookSecret.quota", message));
    }
    Ok(())
}

/// The name of a secret that is called like this for people: its letters and digits, small, in words joined by `-`.
fn named(display_name: &str) -> Result<String, RegistryError> {
    let letters = display_name.chars().filter_map(|letter| match letter {
        ' ' | '_' | '-' => Some('-'),
        letter => Some(letter.to_ascii_lowercase()).filter(char::is_ascii_alphanumeric),
    });
    let letters: String = letters.collect();
    let words: Vec<_> = letters.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() || display_name.chars().count() > MAX_DISPLAY_NAME {
        let message = format!(
            "A secret is called by 1 to {MAX_DISPLAY_NAME} characters, among them an ASCII letter or digit."
        );
        return Err(RegistryError::refused("displayName", "webhookSecret.name.invalid", message));
    }
    Ok(words.join("-"))
}

fn new_text() -> Secret {
    Secret::new(format!("{PREFIX}{}", random_digits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_after_what_it_is_called() {
        for (called, name) in [
            ("GitHub", "github"),
            ("My GitHub_hook 2", "my-github-hook-2"),
            (" a -- b! ", "a-b"),
            ("é1", "1"),
        ] {
            assert_eq!(named(called).unwrap(), name, "{called}");
        }
        for called in ["", " ", "-_-", "éé", &"x".repeat(101)] {
            assert!(named(called).is_err(), "{called}");
        }
        assert_eq!(named(&"x".repeat(100)).unwrap().len(), 100);
    }
}
