//! The statements of stored positions. Many rows go into one statement as a JSON array, because each
//! statement is a trip to the thread that owns the connection.

use std::collections::BTreeSet;

use serde_json::json;
use sluice_stream::{MAX_CLIENTS, clients_of};
use sqlx::{Connection, SqliteConnection};
use tracing::info;

use super::queue::Batch;

/// Readers in one statement.
const ROWS: usize = 1000;

pub(super) async fn load(
    connection: &mut SqliteConnection,
    reader: &str,
) -> Result<Option<String>, sqlx::Error> {
    let query = sqlx::query_scalar("SELECT position FROM positions WHERE reader = ?").bind(reader);
    query.fetch_optional(connection).await
}

/// Writes all of it or nothing.
pub(super) async fn write(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut change = connection.begin().await?;
    for prefix in &batch.prefixes {
        let query = sqlx::query("DELETE FROM positions WHERE substr(reader, 1, length(?1)) = ?1");
        query.bind(prefix).execute(&mut *change).await?;
    }
    let (mut kept, mut forgotten, mut clients) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (reader, change) in &batch.readers {
        let Some(position) = &change.position else {
            forgotten.push(json!(reader));
            continue;
        };
        kept.push(json!([reader, clients_of(reader), position.to_string()]));
        clients.extend(clients_of(reader));
    }
    for rows in forgotten.chunks(ROWS) {
        let query = sqlx::query("DELETE FROM positions WHERE reader IN (SELECT value FROM json_each(?))");
        query.bind(json!(rows).to_string()).execute(&mut *change).await?;
    }
    for rows in kept.chunks(ROWS) {
        // Replacing gives the row the next number, which is the order of writing.
        let query = sqlx::query(
            "INSERT OR REPLACE INTO positions (reader, clients, position)
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
        );
        query.bind(json!(rows).to_string()).execute(&mut *change).await?;
    }
    for clients in clients {
        let query = sqlx::query(
            "DELETE FROM positions WHERE written IN (
                 SELECT written FROM positions WHERE clients = ? ORDER BY written DESC LIMIT -1 OFFSET ?)",
        );
        let most = i64::try_from(MAX_CLIENTS).unwrap_or(i64::MAX);
        let surplus = query.bind(clients).bind(most).execute(&mut *change).await?.rows_affected();
        if surplus > 0 {
            info!(
                clients,
                count = surplus,
                "Positions of clients were forgotten: an event API has more clients than are kept."
            );
        }
    }
    change.commit().await
}
