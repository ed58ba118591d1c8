//! The store on SQLite: one file, one connection.
//!
//! One connection is enough: the registry serialises changes and reads only at the start. Every commit is
//! on disk before the call returns.

use std::{
    collections::HashMap,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sluice_api::{ApiId, ApplicationId, EventApi, PlanId, Secret};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use crate::{
    ApiRecord, ApplicationRecord, PlanRecord, StoreError, Timestamp,
    hub_requests::WaitingRequests,
    vault::{Vault, io_error},
};

/// How the database grows from version to version: the nth entry leads from format n to n + 1. Entries are
/// never changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_resources.sql"),
    include_str!("../migrations/0002_positions.sql"),
    include_str!("../migrations/0003_subscriptions.sql"),
    include_str!("../migrations/0004_plan_secrets.sql"),
    include_str!("../migrations/0005_notes.sql"),
    include_str!("../migrations/0006_hub.sql"),
];

/// Long enough for a predecessor on its way out, short enough to tell a second process at once.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The rows that are read before somebody takes them.
const ROWS_AHEAD: usize = 1000;

/// The two definitions of an API, as the table of secrets names them.
const DRAFT: &str = "draft";
const DEPLOYED: &str = "deployed";

/// A plan, as the table of secrets names it.
fn of_plan(plan: &PlanId) -> String {
    format!("plan/{plan}")
}

/// Keeps records in a data directory.
pub struct Store {
    path: PathBuf,
    pub(crate) connection: Arc<Mutex<SqliteConnection>>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) hub_requests: WaitingRequests,
}

impl Store {
    /// Opens `sluice.db` and `secret.key` in this directory and makes what is missing. Fails when another
    /// process has the database open, when a newer version wrote it, or when others may read the key.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.map_err(|source| io_error(data_dir, "make the directory", source))?;
        let path = data_dir.join("sluice.db");
        let mut connection = connect(&path).await.map_err(|source| at(&path, "open it", source))?;
        migrate(&mut connection, &path).await?;
        let query = "SELECT (SELECT count(*) FROM secrets) + (SELECT count(*) FROM subscription_secrets)
                          + (SELECT count(*) FROM webhook_secrets) + (SELECT count(secret) FROM hub_requests)";
        let sealed = sqlx::query_scalar(query).fetch_one(&mut connection).await;
        let sealed: i64 = sealed.map_err(|source| at(&path, "count the secrets", source))?;
        // Last, so that of two processes only the one with the database makes a key.
        let vault = Arc::new(Vault::open(&data_dir.join("secret.key"), sealed)?);
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self { path, connection, vault, hub_requests: WaitingRequests::default() })
    }

    /// Every event API in the order of creation. A record that cannot be read is an error of its own and
    /// hides no other.
    pub async fn apis(&self) -> Result<Vec<(ApiId, Result<ApiRecord, StoreError>)>, StoreError> {
        let (apis, plans, secrets) =
            self.read_rows().await.map_err(|source| self.failed("read the event APIs", source))?;
        let mut plans = grouped(plans, |plan| plan.0.clone());
        let mut secrets = grouped(secrets, |secret| secret.0.clone());
        let records = apis.into_iter().map(|api| {
            let id = api.0.clone();
            let (plans, secrets) = (plans.remove(&id), secrets.remove(&id));
            let record = self.api_record(api, plans.unwrap_or_default(), &secrets.unwrap_or_default());
            let record = record.map_err(|reason| StoreError::Record { id: id.clone(), reason });
            (ApiId(id), record)
        });
        Ok(records.collect())
    }

    /// Keeps an event API with its plans in place of what was kept under its id: all of it or nothing.
    pub async fn save_api(&self, record: &ApiRecord) -> Result<(), StoreError> {
        let unwritable = |reason| StoreError::Record { id: record.id().0.clone(), reason };
        let rows = self.rows(record).map_err(unwritable)?;
        self.write_rows(rows).await.map_err(|source| self.failed("keep an event API", source))
    }

    /// Forgets an event API with its plans, its secrets, all subscriptions to it, its keys, and what its hub was
    /// asked. One that is not kept is none, and no error.
    pub async fn delete_api(&self, id: &ApiId) -> Result<(), StoreError> {
        let deleted = self.changing(async |change| {
            for query in [
                "DELETE FROM apis WHERE id = ?",
                "DELETE FROM subscriptions WHERE api = ?",
                "DELETE FROM api_keys WHERE api = ?",
                "DELETE FROM webhook_secrets WHERE api = ?",
                "DELETE FROM hub_requests WHERE api = ?",
            ] {
                sqlx::query(query).bind(&id.0).execute(&mut *change).await?;
            }
            Ok(())
        });
        deleted.await.map_err(|source| self.failed("delete an event API", source))
    }

    /// Every application in the order of creation.
    pub async fn applications(&self) -> Result<Vec<ApplicationRecord>, StoreError> {
        let mut connection = self.connection.lock().await;
        let query = sqlx::query_as::<_, ApplicationRow>(
            "SELECT id, name, description, client_id, catalogue, created_at, updated_at, archived_at
             FROM applications ORDER BY created_at, id",
        );
        let rows = query.fetch_all(&mut *connection).await;
        let rows = rows.map_err(|source| self.failed("read the applications", source))?;
        rows.into_iter().map(application_record).collect()
    }

    /// Keeps an application in place of what was kept under its id.
    pub async fn save_application(&self, record: &ApplicationRecord) -> Result<(), StoreError> {
        let unwritable = |reason| StoreError::Record { id: record.id.0.clone(), reason };
        let catalogue = json(&record.catalogue).map_err(unwritable)?;
        let mut connection = self.connection.lock().await;
        let query = sqlx::query(
            "INSERT OR REPLACE INTO applications (id, name, description, client_id, catalogue, created_at,
                                                  updated_at, archived_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        );
        let query = query.bind(&record.id.0).bind(&record.name).bind(&record.description);
        let query = query.bind(&record.client_id).bind(catalogue).bind(record.created_at.0);
        let query = query.bind(record.updated_at.0).bind(record.archived_at.map(|time| time.0));
        let saved = query.execute(&mut *connection).await;
        saved.map(drop).map_err(|source| self.failed("keep an application", source))
    }

    /// Makes several changes as one: all of them or none.
    pub(crate) async fn changing(
        &self,
        edit: impl AsyncFnOnce(&mut SqliteConnection) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        edit(&mut change).await?;
        change.commit().await
    }

    pub(crate) fn failed(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        at(&self.path, doing, source)
    }

    async fn read_rows(&self) -> Result<(Vec<ApiRow>, Vec<PlanRow>, Vec<SecretRow>), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut snapshot = connection.begin().await?;
        let apis = sqlx::query_as(
            "SELECT id, draft, deployed, started, catalogue, created_at, updated_at, deployed_at
             FROM apis ORDER BY created_at, id",
        );
        let apis = apis.fetch_all(&mut *snapshot).await?;
        let plans = sqlx::query_as(
            "SELECT api, ordinal, definition, catalogue, created_at, updated_at, published_at, closed_at
             FROM plans ORDER BY api, ordinal",
        );
        let plans = plans.fetch_all(&mut *snapshot).await?;
        let secrets = sqlx::query_as("SELECT api, edition, path, sealed FROM secrets");
        let secrets = secrets.fetch_all(&mut *snapshot).await?;
        Ok((apis, plans, secrets))
    }

    async fn write_rows(
        &self,
        (api, plans, secrets): (ApiRow, Vec<PlanRow>, Vec<SecretRow>),
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        // Takes its plans and secrets with it.
        sqlx::query("DELETE FROM apis WHERE id = ?").bind(&api.0).execute(&mut *change).await?;
        let query = sqlx::query(
            "INSERT INTO apis (id, draft, deployed, started, catalogue, created_at, updated_at, deployed_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        );
        let query = query.bind(api.0).bind(api.1).bind(api.2).bind(api.3).bind(api.4);
        query.bind(api.5).bind(api.6).bind(api.7).execute(&mut *change).await?;
        for plan in plans {
            let query = sqlx::query(
                "INSERT INTO plans (api, ordinal, definition, catalogue, created_at, updated_at,
                                    published_at, closed_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            );
            let query = query.bind(plan.0).bind(plan.1).bind(plan.2).bind(plan.3).bind(plan.4);
            query.bind(plan.5).bind(plan.6).bind(plan.7).execute(&mut *change).await?;
        }
        for secret in secrets {
            let query = sqlx::query("INSERT INTO secrets (api, edition, path, sealed) VALUES (?, ?, ?, ?)");
            let query = query.bind(secret.0).bind(secret.1).bind(secret.2).bind(secret.3);
            query.execute(&mut *change).await?;
        }
        change.commit().await
    }

    fn rows(&self, record: &ApiRecord) -> Result<(ApiRow, Vec<PlanRow>, Vec<SecretRow>), String> {
        let id = &record.id().0;
        let deployed = record.deployed.as_ref().map(json).transpose()?;
        let api = (
            id.clone(),
            json(&record.draft)?,
            deployed,
            record.started,
            json(&record.catalogue)?,
            record.created_at.0,
            record.updated_at.0,
            record.deployed_at.map(|time| time.0),
        );
        let plans = record.plans.iter().zip(0..).map(|(plan, ordinal)| {
            Ok((
                id.clone(),
                ordinal,
                json(&plan.plan)?,
                json(&plan.catalogue)?,
                plan.created_at.0,
                plan.updated_at.0,
                plan.published_at.map(|time| time.0),
                plan.closed_at.map(|time| time.0),
            ))
        });
        let plans = plans.collect::<Result<_, String>>()?;
        let mut secrets = self.sealed(record.id(), DRAFT, record.draft.clone().secrets_mut())?;
        if let Some(deployed) = &record.deployed {
            secrets.extend(self.sealed(record.id(), DEPLOYED, deployed.clone().secrets_mut())?);
        }
        for PlanRecord { plan, .. } in &record.plans {
            secrets.extend(self.sealed(record.id(), &of_plan(&plan.id), plan.clone().secrets_mut())?);
        }
        Ok((api, plans, secrets))
    }

    /// Seals the secrets of one part of an API, its draft, what is deployed, or a plan.
    fn sealed(
        &self,
        id: &ApiId,
        edition: &str,
        secrets: Vec<(String, &mut Secret)>,
    ) -> Result<Vec<SecretRow>, String> {
        let secrets = secrets.into_iter().map(|(path, secret)| {
            let sealed = self.vault.seal(&place(&id.0, edition, &path), secret.expose())?;
            Ok((id.0.clone(), edition.to_owned(), path, sealed))
        });
        secrets.collect()
    }

    fn api_record(
        &self,
        api: ApiRow,
        plans: Vec<PlanRow>,
        secrets: &[SecretRow],
    ) -> Result<ApiRecord, String> {
        let (id, draft, deployed, started, catalogue, created_at, updated_at, deployed_at) = api;
        let definition = |text: &str, edition| {
            let mut api: EventApi = from_json(text, edition)?;
            let id = api.id.clone();
            self.unseal(&id, edition, api.secrets_mut(), secrets)?;
            Ok::<_, String>(api)
        };
        let plan = |row| {
            let mut record = plan_record(row)?;
            let edition = of_plan(&record.plan.id);
            self.unseal(&ApiId(id.clone()), &edition, record.plan.secrets_mut(), secrets)?;
            Ok::<_, String>(record)
        };
        Ok(ApiRecord {
            draft: definition(&draft, DRAFT)?,
            deployed: deployed.map(|text| definition(&text, DEPLOYED)).transpose()?,
            plans: plans.into_iter().map(plan).collect::<Result<_, String>>()?,
            started,
            catalogue: from_json(&catalogue, "catalogue")?,
            created_at: Timestamp(created_at),
            updated_at: Timestamp(updated_at),
            deployed_at: deployed_at.map(Timestamp),
        })
    }

    /// Puts the secrets of one part of an API back into their places.
    fn unseal(
        &self,
        id: &ApiId,
        edition: &str,
        places: Vec<(String, &mut Secret)>,
        kept: &[SecretRow],
    ) -> Result<(), String> {
        for (path, secret) in places {
            let sealed = match kept.iter().find(|kept| kept.1 == edition && kept.2 == path) {
                Some((_, _, _, sealed)) => sealed,
                // Written by a version that did not know that it is a secret; sealed with the next change.
                None if !secret.is_masked() => continue,
                None => return Err(format!("The secret at {edition}.{path} is gone.")),
            };
            *secret = Secret::new(self.vault.open_secret(&place(&id.0, edition, &path), sealed)?);
        }
        Ok(())
    }
}

/// id, draft, deployed, started, catalogue, created, updated, deployed
type ApiRow = (String, String, Option<String>, bool, String, i64, i64, Option<i64>);
/// api, ordinal, definition, catalogue, created, updated, published, closed
type PlanRow = (String, i64, String, String, i64, i64, Option<i64>, Option<i64>);
/// api, edition, path, sealed
type SecretRow = (String, String, String, Vec<u8>);
/// id, name, description, client id, catalogue, created, updated, archived
type ApplicationRow = (String, String, String, Option<String>, String, i64, i64, Option<i64>);

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        // The registry holds what is running in memory; a second process would not know of it.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(32)
        // Rows come from a thread of their own; it is to be woken seldom when there are many.
        .row_buffer_size(ROWS_AHEAD)
        .connect()
        .await
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| at(path, "bring the format up to date", source);
    let version = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await;
    let found: i64 = version.map_err(failed)?;
    let steps = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(steps) = steps else {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    };
    for (&step, format) in steps.iter().zip(found + 1..) {
        let mut change = connection.begin().await.map_err(failed)?;
        sqlx::raw_sql(step).execute(&mut *change).await.map_err(failed)?;
        let reached = AssertSqlSafe(format!("PRAGMA user_version = {format}"));
        sqlx::raw_sql(reached).execute(&mut *change).await.map_err(failed)?;
        change.commit().await.map_err(failed)?;
    }
    Ok(())
}

fn at(path: &Path, doing: &'static str, source: sqlx::Error) -> StoreError {
    // SQLITE_BUSY and its extended codes share the lowest byte.
    let code = source.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    if code.is_some_and(|code| code & 0xff == 5) {
        return StoreError::InUse { path: path.to_owned() };
    }
    StoreError::Database { path: path.to_owned(), doing, source }
}

fn place(id: &str, edition: &str, path: &str) -> String {
    format!("{id}/{edition}/{path}")
}

pub(crate) fn grouped<T>(rows: Vec<T>, key: impl Fn(&T) -> String) -> HashMap<String, Vec<T>> {
    let mut groups: HashMap<String, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    // Once more, slowly, to say where the fault is.
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{what}: {error}."))?;
    sluice_api::from_value(value).map_err(|problem| problem.within(what).to_string())
}

fn plan_record(row: PlanRow) -> Result<PlanRecord, String> {
    let (_, ordinal, plan, catalogue, created_at, updated_at, published_at, closed_at) = row;
    Ok(PlanRecord {
        plan: from_json(&plan, &format!("plans[{ordinal}]"))?,
        catalogue: from_json(&catalogue, "catalogue")?,
        created_at: Timestamp(created_at),
        updated_at: Timestamp(updated_at),
        published_at: published_at.map(Timestamp),
        closed_at: closed_at.map(Timestamp),
    })
}

fn application_record(row: ApplicationRow) -> Result<ApplicationRecord, StoreError> {
    let (id, name, description, client_id, catalogue, created_at, updated_at, archived_at) = row;
    let catalogue = from_json(&catalogue, "catalogue");
    let catalogue = catalogue.map_err(|reason| StoreError::Record { id: id.clone(), reason })?;
    Ok(ApplicationRecord {
        id: ApplicationId(id),
        name,
        description,
        client_id,
        catalogue,
        created_at: Timestamp(created_at),
        updated_at: Timestamp(updated_at),
        archived_at: archived_at.map(Timestamp),
    })
}
