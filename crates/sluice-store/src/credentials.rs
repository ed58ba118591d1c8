//! Keeping API keys and webhook secrets. The texts of the secrets are kept apart from their records, encrypted.

use sluice_api::{ApiId, Secret};

use crate::{
    ApiKeyRecord, Store, StoreError, WebhookSecretRecord,
    sqlite::{from_json, json},
};

/// The parts of a webhook secret, as the places of what is encrypted name them.
const VALUE: &str = "value";
const FORMER: &str = "former";

/// api, name, record
type KeyRow = (String, String, String);
/// api, name, record, value, former
type SecretRow = (String, String, String, Vec<u8>, Option<Vec<u8>>);

impl Store {
    /// Every API key. A record that cannot be read is an error of its own and hides no other.
    pub async fn api_keys(&self) -> Result<Vec<Result<ApiKeyRecord, StoreError>>, StoreError> {
        let mut connection = self.connection.lock().await;
        let query = sqlx::query_as::<_, KeyRow>("SELECT api, name, record FROM api_keys");
        let rows = query.fetch_all(&mut *connection).await;
        let rows = rows.map_err(|source| self.failed("read the API keys", source))?;
        let read = |(api, name, record): KeyRow| {
            from_json(&record, "record").map_err(|reason| unreadable("API key", &api, &name, reason))
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Keeps an API key in place of what was kept under its name, and forgets others of the same API.
    pub async fn save_api_key(&self, record: &ApiKeyRecord, forgotten: &[String]) -> Result<(), StoreError> {
        let ApiKeyRecord { api, name, .. } = record;
        let text = json(record).map_err(|reason| unreadable("API key", &api.0, name, reason))?;
        let saved = self.changing(async |change| {
            for name in forgotten {
                let query = sqlx::query("DELETE FROM api_keys WHERE api = ? AND name = ?");
                query.bind(&api.0).bind(name).execute(&mut *change).await?;
            }
            let query = sqlx::query("INSERT OR REPLACE INTO api_keys (api, name, record) VALUES (?, ?, ?)");
            query.bind(&api.0).bind(name).bind(&text).execute(&mut *change).await?;
            Ok(())
        });
        saved.await.map_err(|source| self.failed("keep an API key", source))
    }

    /// Every webhook secret. A record that cannot be read is an error of its own and hides no other.
    pub async fn webhook_secrets(&self) -> Result<Vec<Result<WebhookSecretRecord, StoreError>>, StoreError> {
        let mut connection = self.connection.lock().await;
        let query = sqlx::query_as("SELECT api, name, record, value, former FROM webhook_secrets");
        let rows: Result<Vec<SecretRow>, _> = query.fetch_all(&mut *connection).await;
        let rows = rows.map_err(|source| self.failed("read the webhook secrets", source))?;
        let read = |row: SecretRow| {
            let (api, name) = (row.0.clone(), row.1.clone());
            self.webhook_secret(row).map_err(|reason| unreadable("webhook secret", &api, &name, reason))
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Keeps a webhook secret in place of what was kept under its name.
    pub async fn save_webhook_secret(&self, record: &WebhookSecretRecord) -> Result<(), StoreError> {
        let WebhookSecretRecord { api, name, .. } = record;
        let (api, unwritable) = (&api.0, |reason| unreadable("webhook secret", &record.api.0, name, reason));
        let seal = |part, secret: &Secret| self.vault.seal(&place(api, name, part), secret.expose());
        let text = json(record).map_err(unwritable)?;
        let value = seal(VALUE, &record.value).map_err(unwritable)?;
        let former = record.former.as_ref().map(|former| seal(FORMER, &former.value));
        let former = former.transpose().map_err(unwritable)?;
        let mut connection = self.connection.lock().await;
        let query = sqlx::query(
            "INSERT OR REPLACE INTO webhook_secrets (api, name, record, value, former) VALUES (?, ?, ?, ?, ?)",
        );
        let query = query.bind(api).bind(name).bind(text).bind(value).bind(former);
        let saved = query.execute(&mut *connection).await;
        saved.map(drop).map_err(|source| self.failed("keep a webhook secret", source))
    }

    /// Forgets a webhook secret. One that is not kept is none, and no error.
    pub async fn delete_webhook_secret(&self, api: &ApiId, name: &str) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        let query = sqlx::query("DELETE FROM webhook_secrets WHERE api = ? AND name = ?");
        let deleted = query.bind(&api.0).bind(name).execute(&mut *connection).await;
        deleted.map(drop).map_err(|source| self.failed("delete a webhook secret", source))
    }

    fn webhook_secret(&self, row: SecretRow) -> Result<WebhookSecretRecord, String> {
        let (api, name, record, value, former) = row;
        let open =
            |part, sealed: &[u8]| self.vault.open_secret(&place(&api, &name, part), sealed).map(Secret::new);
        let mut record: WebhookSecretRecord = from_json(&record, "record")?;
        record.value = open(VALUE, &value)?;
        match (&mut record.former, former) {
            (Some(kept), Some(sealed)) => kept.value = open(FORMER, &sealed)?,
            (None, None) => {}
            _ => return Err("The secret that it was before does not go with its record.".to_owned()),
        }
        Ok(record)
    }
}

fn unreadable(what: &str, api: &str, name: &str, reason: String) -> StoreError {
    StoreError::Record { id: format!("{what} {name} of {api}"), reason }
}

/// No API has an id with a slash, so this is the place of no secret of a definition.
fn place(api: &str, name: &str, part: &str) -> String {
    format!("/webhook-secrets/{api}/{name}/{part}")
}
