//! Keeping requests to the hub until they are settled. The subscriber's secret is kept apart from the record,
//! encrypted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::TryStreamExt;
use sluice_api::{Secret, SubscriptionId};
use sqlx::{Connection, SqliteConnection};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::spawn_blocking,
};

use crate::{
    HubRequestRecord, Store, StoreError, SubscriptionRecord,
    sqlite::{from_json, json},
    subscriptions,
    vault::Vault,
};

/// The records that are read or written at a time.
const CHUNK: usize = 1000;

/// id, record, secret
type RequestRow = (String, String, Option<Vec<u8>>);
/// id, api, record, secret
type NewRow = (String, String, String, Option<Vec<u8>>);

impl Store {
    /// Keeps a request in place of what was kept under its id. Many that come at once share a sync of the disk.
    pub async fn save_hub_request(&self, record: &HubRequestRecord) -> Result<(), StoreError> {
        let row = self.request_row(record).map_err(|reason| unreadable(&record.id, reason))?;
        let (done, mut written) = oneshot::channel();
        self.hub_requests.add(row.clone(), done);
        let mut connection = self.connection.lock().await;
        // Whoever has the connection first writes for all who wait for it.
        let together = loop {
            match written.try_recv() {
                Ok(written) => break written,
                Err(TryRecvError::Empty) => self.hub_requests.write(&mut connection).await,
                // Whoever was writing has gone away.
                Err(TryRecvError::Closed) => break false,
            }
        };
        if together {
            return Ok(());
        }
        let written = write(&mut connection, vec![row]).await;
        written.map_err(|source| self.failed("keep a request to the hub", source))
    }

    /// Every request, the oldest first. One that cannot be read is an error of its own and hides no other.
    pub async fn hub_requests(&self) -> Result<Vec<Result<HubRequestRecord, StoreError>>, StoreError> {
        let failed = |source| self.failed("read the requests to the hub", source);
        let mut connection = self.connection.lock().await;
        let query = sqlx::query_as("SELECT id, record, secret FROM hub_requests ORDER BY ordinal");
        let mut chunks = query.fetch(&mut *connection).try_chunks(CHUNK);
        let mut records = Vec::new();
        while let Some(rows) = chunks.try_next().await.map_err(|error| failed(error.1))? {
            let vault = Arc::clone(&self.vault);
            // There may be many, and whoever waits for other things shall not wait for these.
            let read = spawn_blocking(move || read_chunk(&vault, rows)).await;
            records.extend(read.map_err(|_| failed(sqlx::Error::WorkerCrashed))?);
        }
        Ok(records)
    }

    /// Forgets requests, and with it keeps these subscriptions and forgets those: all of it or nothing. A request
    /// that is not kept is none, and no error.
    pub async fn settle_hub_requests(
        &self,
        ids: &[&str],
        kept: &[SubscriptionRecord],
        forgotten: &[SubscriptionId],
    ) -> Result<(), StoreError> {
        let rows = self.rows_of_subscriptions(kept)?;
        let settled = self.changing(async |change| {
            for id in ids {
                sqlx::query("DELETE FROM hub_requests WHERE id = ?").bind(id).execute(&mut *change).await?;
            }
            subscriptions::write(change, rows).await?;
            subscriptions::delete(change, forgotten).await
        });
        settled.await.map_err(|source| self.failed("settle requests to the hub", source))
    }

    fn request_row(&self, record: &HubRequestRecord) -> Result<NewRow, String> {
        let secret = record.terms.secret.as_ref();
        let secret = secret.map(|secret| self.vault.seal(&place(&record.id), secret.expose()));
        Ok((record.id.clone(), record.api.0.clone(), json(record)?, secret.transpose()?))
    }
}

/// Requests that wait to be written, each with who is to be told whether it was.
#[derive(Default)]
pub(crate) struct WaitingRequests(Mutex<VecDeque<Waiting>>);

type Waiting = (NewRow, oneshot::Sender<bool>);

impl WaitingRequests {
    fn add(&self, row: NewRow, done: oneshot::Sender<bool>) {
        self.waiting().push_back((row, done));
    }

    /// Writes the first of them, as many as are written at a time, and tells who waits.
    async fn write(&self, connection: &mut SqliteConnection) {
        let first: Vec<_> = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(CHUNK);
            waiting.drain(..count).collect()
        };
        let (rows, told): (Vec<_>, Vec<_>) = first.into_iter().unzip();
        let written = write(connection, rows).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "Requests to the hub could not be written together; each is tried alone.");
        }
        for waiting in told {
            // One who has gone away does not mind.
            let _told = waiting.send(written.is_ok());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // Whole after any panic: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(connection: &mut SqliteConnection, rows: Vec<NewRow>) -> Result<(), sqlx::Error> {
    let mut change = connection.begin().await?;
    for (id, api, record, secret) in rows {
        let query =
            sqlx::query("INSERT OR REPLACE INTO hub_requests (id, api, record, secret) VALUES (?, ?, ?, ?)");
        let query = query.bind(id).bind(api).bind(record).bind(secret);
        query.execute(&mut *change).await?;
    }
    change.commit().await
}

fn read_chunk(vault: &Vault, rows: Vec<RequestRow>) -> Vec<Result<HubRequestRecord, StoreError>> {
    let read = |(id, record, secret): RequestRow| {
        request(vault, &id, &record, secret).map_err(|reason| unreadable(&id, reason))
    };
    rows.into_iter().map(read).collect()
}

fn request(
    vault: &Vault,
    id: &str,
    record: &str,
    secret: Option<Vec<u8>>,
) -> Result<HubRequestRecord, String> {
    let mut record: HubRequestRecord = from_json(record, "record")?;
    if let Some(masked) = &mut record.terms.secret {
        let sealed = secret.ok_or("The subscriber's secret is gone.")?;
        *masked = Secret::new(vault.open_secret(&place(id), &sealed)?);
    }
    Ok(record)
}

fn unreadable(id: &str, reason: String) -> StoreError {
    StoreError::Record { id: format!("request {id} to the hub"), reason }
}

/// No API has an id with a slash, so this is the place of no secret of a definition.
fn place(id: &str) -> String {
    format!("/hub-requests/{id}/secret")
}
