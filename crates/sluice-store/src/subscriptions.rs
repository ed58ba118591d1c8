//! Keeping subscriptions. The secrets of a callback are kept apart from the record, encrypted.

use sluice_api::{Secret, SubscriptionId};
use sqlx::Connection;

use crate::{
    Store, StoreError, SubscriptionRecord,
    sqlite::{from_json, grouped, json},
};

/// id, api, record
type SubscriptionRow = (String, String, String);
/// subscription, path, sealed
type SecretRow = (String, String, Vec<u8>);

impl Store {
    /// Every subscription. A record that cannot be read is an error of its own and hides no other.
    pub async fn subscriptions(
        &self,
    ) -> Result<Vec<(SubscriptionId, Result<SubscriptionRecord, StoreError>)>, StoreError> {
        let (rows, secrets) = self
            .read_subscriptions()
            .await
            .map_err(|source| self.failed("read the subscriptions", source))?;
        let mut secrets = grouped(secrets, |secret| secret.0.clone());
        let records = rows.into_iter().map(|(id, _, record)| {
            let secrets = secrets.remove(&id).unwrap_or_default();
            let record = self.subscription_record(&id, &record, &secrets);
            let record = record.map_err(|reason| StoreError::Record { id: id.clone(), reason });
            (SubscriptionId(id), record)
        });
        Ok(records.collect())
    }

    /// Keeps subscriptions in place of what was kept under their ids: all of them or none.
    pub async fn save_subscriptions(
        &self,
        records: impl IntoIterator<Item = &SubscriptionRecord>,
    ) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for record in records {
            let unwritable = |reason| StoreError::Record { id: record.id.0.clone(), reason };
            rows.push(self.subscription_rows(record).map_err(unwritable)?);
        }
        let written = self.write_subscriptions(rows).await;
        written.map_err(|source| self.failed("keep subscriptions", source))
    }

    async fn read_subscriptions(&self) -> Result<(Vec<SubscriptionRow>, Vec<SecretRow>), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut snapshot = connection.begin().await?;
        let subscriptions = sqlx::query_as("SELECT id, api, record FROM subscriptions");
        let subscriptions = subscriptions.fetch_all(&mut *snapshot).await?;
        let secrets = sqlx::query_as("SELECT subscription, path, sealed FROM subscription_secrets");
        let secrets = secrets.fetch_all(&mut *snapshot).await?;
        Ok((subscriptions, secrets))
    }

    async fn write_subscriptions(
        &self,
        rows: Vec<(SubscriptionRow, Vec<SecretRow>)>,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        for ((id, api, record), secrets) in rows {
            // Takes its secrets with it.
            sqlx::query("DELETE FROM subscriptions WHERE id = ?").bind(&id).execute(&mut *change).await?;
            let query = sqlx::query("INSERT INTO subscriptions (id, api, record) VALUES (?, ?, ?)");
            query.bind(id).bind(api).bind(record).execute(&mut *change).await?;
            for (subscription, path, sealed) in secrets {
                let query = sqlx::query(
                    "INSERT INTO subscription_secrets (subscription, path, sealed) VALUES (?, ?, ?)",
                );
                query.bind(subscription).bind(path).bind(sealed).execute(&mut *change).await?;
            }
        }
        change.commit().await
    }

    fn subscription_rows(
        &self,
        record: &SubscriptionRecord,
    ) -> Result<(SubscriptionRow, Vec<SecretRow>), String> {
        let id = &record.id.0;
        let mut callback = record.consumer.callback.clone();
        let secrets = callback.secrets_mut().into_iter().map(|(path, secret)| {
            let sealed = self.vault.seal(&place(id, &path), secret.expose())?;
            Ok((id.clone(), path, sealed))
        });
        let secrets = secrets.collect::<Result<_, String>>()?;
        Ok(((id.clone(), record.api.0.clone(), json(record)?), secrets))
    }

    fn subscription_record(
        &self,
        id: &str,
        record: &str,
        secrets: &[SecretRow],
    ) -> Result<SubscriptionRecord, String> {
        let mut record: SubscriptionRecord = from_json(record, "record")?;
        for (path, secret) in record.consumer.callback.secrets_mut() {
            let kept = secrets.iter().find(|kept| kept.1 == path);
            let (_, _, sealed) = kept.ok_or_else(|| format!("The secret at {path} is gone."))?;
            *secret = Secret::new(self.vault.open_secret(&place(id, &path), sealed)?);
        }
        Ok(record)
    }
}

/// No API has an id with a slash, so this is the place of no secret of an API.
fn place(id: &str, path: &str) -> String {
    format!("/subscriptions/{id}/{path}")
}
