//! Keeping subscriptions. The secrets of a callback and of a hub's subscriber are kept apart from the record, encrypted.

use std::{collections::HashMap, sync::Arc};

use futures_util::{Stream, TryStreamExt, future::try_join_all};
use sluice_api::{Secret, SubscriptionId};
use sqlx::{Connection, SqliteConnection};
use tokio::task::spawn_blocking;

use crate::{
    Store, StoreError, SubscriptionRecord,
    sqlite::{from_json, json},
    vault::Vault,
};

/// The records that are read from their rows at a time.
const CHUNK: usize = 1000;

/// A subscription, or why it cannot be read.
type ReadSubscription = (SubscriptionId, Result<SubscriptionRecord, StoreError>);

/// id, api, record
type SubscriptionRow = (String, String, String);
/// subscription, path, sealed
type SecretRow = (String, String, Vec<u8>);
/// All of a subscription.
pub(crate) type Rows = (SubscriptionRow, Vec<SecretRow>);

impl Store {
    /// Every subscription. A record that cannot be read is an error of its own and hides no other.
    pub async fn subscriptions(&self) -> Result<impl Iterator<Item = ReadSubscription> + use<>, StoreError> {
        let chunks = self.read_subscriptions().await;
        let chunks = chunks.map_err(|source| self.failed("read the subscriptions", source))?;
        Ok(chunks.into_iter().flatten())
    }

    /// Keeps subscriptions in place of what was kept under their ids: all of them or none.
    pub async fn save_subscriptions(
        &self,
        records: impl IntoIterator<Item = &SubscriptionRecord>,
    ) -> Result<(), StoreError> {
        self.replace_subscriptions(records, &[]).await
    }

    /// The same, and forgets these others with it: all of it or nothing.
    pub async fn replace_subscriptions(
        &self,
        kept: impl IntoIterator<Item = &SubscriptionRecord>,
        forgotten: &[SubscriptionId],
    ) -> Result<(), StoreError> {
        let rows = self.rows_of_subscriptions(kept)?;
        let written = self.changing(async |change| {
            write(change, rows).await?;
            delete(change, forgotten).await
        });
        written.await.map_err(|source| self.failed("keep subscriptions", source))
    }

    /// Rows become records on other threads while the next are read: there may be a hundred thousand, and a
    /// start waits for them.
    async fn read_subscriptions(&self) -> Result<Vec<Vec<ReadSubscription>>, sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut snapshot = connection.begin().await?;
        let secrets = sqlx::query_as("SELECT subscription, path, sealed FROM subscription_secrets");
        let secrets = grouped(secrets.fetch(&mut *snapshot)).await?;
        let secrets = Arc::new(secrets);
        let rows = sqlx::query_as("SELECT id, record FROM subscriptions");
        let mut chunks = rows.fetch(&mut *snapshot).try_chunks(CHUNK);
        let mut reading = Vec::new();
        while let Some(rows) = chunks.try_next().await.map_err(|error| error.1)? {
            let (vault, secrets) = (Arc::clone(&self.vault), Arc::clone(&secrets));
            reading.push(spawn_blocking(move || read_chunk(&vault, rows, &secrets)));
        }
        try_join_all(reading).await.map_err(|_| sqlx::Error::WorkerCrashed)
    }

    pub(crate) fn rows_of_subscriptions<'a>(
        &self,
        records: impl IntoIterator<Item = &'a SubscriptionRecord>,
    ) -> Result<Vec<Rows>, StoreError> {
        let rows = records.into_iter().map(|record| {
            let unwritable = |reason| StoreError::Record { id: record.id.0.clone(), reason };
            self.subscription_rows(record).map_err(unwritable)
        });
        rows.collect()
    }

    fn subscription_rows(&self, record: &SubscriptionRecord) -> Result<Rows, String> {
        let id = &record.id.0;
        let mut consumer = record.consumer.clone();
        let secrets = consumer.secrets_mut().into_iter().map(|(path, secret)| {
            let sealed = self.vault.seal(&place(id, &path), secret.expose())?;
            Ok((id.clone(), path, sealed))
        });
        let secrets = secrets.collect::<Result<_, String>>()?;
        Ok(((id.clone(), record.api.0.clone(), json(record)?), secrets))
    }
}

/// Writes subscriptions in place of what was kept under their ids.
pub(crate) async fn write(change: &mut SqliteConnection, rows: Vec<Rows>) -> Result<(), sqlx::Error> {
    for ((id, api, record), secrets) in rows {
        // Takes its secrets with it.
        sqlx::query("DELETE FROM subscriptions WHERE id = ?").bind(&id).execute(&mut *change).await?;
        let query = sqlx::query("INSERT INTO subscriptions (id, api, record) VALUES (?, ?, ?)");
        query.bind(id).bind(api).bind(record).execute(&mut *change).await?;
        for (subscription, path, sealed) in secrets {
            let query =
                sqlx::query("INSERT INTO subscription_secrets (subscription, path, sealed) VALUES (?, ?, ?)");
            query.bind(subscription).bind(path).bind(sealed).execute(&mut *change).await?;
        }
    }
    Ok(())
}

/// Deletes subscriptions with their secrets.
pub(crate) async fn delete(change: &mut SqliteConnection, ids: &[SubscriptionId]) -> Result<(), sqlx::Error> {
    for id in ids {
        sqlx::query("DELETE FROM subscriptions WHERE id = ?").bind(&id.0).execute(&mut *change).await?;
    }
    Ok(())
}

/// The secrets of each subscription, with their paths.
type Secrets = HashMap<String, Vec<(String, Vec<u8>)>>;

async fn grouped(
    mut rows: impl Stream<Item = Result<SecretRow, sqlx::Error>> + Unpin,
) -> Result<Secrets, sqlx::Error> {
    let mut secrets = Secrets::new();
    while let Some((subscription, path, sealed)) = rows.try_next().await? {
        secrets.entry(subscription).or_default().push((path, sealed));
    }
    Ok(secrets)
}

fn read_chunk(vault: &Vault, rows: Vec<(String, String)>, secrets: &Secrets) -> Vec<ReadSubscription> {
    let read = |(id, record): (String, String)| {
        let secrets = secrets.get(&id).map_or(&[][..], Vec::as_slice);
        let record = subscription_record(vault, &id, &record, secrets);
        let record = record.map_err(|reason| StoreError::Record { id: id.clone(), reason });
        (SubscriptionId(id), record)
    };
    rows.into_iter().map(read).collect()
}

fn subscription_record(
    vault: &Vault,
    id: &str,
    record: &str,
    secrets: &[(String, Vec<u8>)],
) -> Result<SubscriptionRecord, String> {
    let mut record: SubscriptionRecord = from_json(record, "record")?;
    for (path, secret) in record.consumer.secrets_mut() {
        let kept = secrets.iter().find(|(kept, _)| *kept == path);
        let (_, sealed) = kept.ok_or_else(|| format!("The secret at {path} is gone."))?;
        *secret = Secret::new(vault.open_secret(&place(id, &path), sealed)?);
    }
    Ok(record)
}

/// No API has an id with a slash, so this is the place of no secret of an API.
fn place(id: &str, path: &str) -> String {
    format!("/subscriptions/{id}/{path}")
}
