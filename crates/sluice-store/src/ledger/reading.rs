//! Reads that share their statements: all who ask while others are answered are answered together, so that a
//! hundred thousand subscriptions find their positions within the moment of a start.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use serde_json::json;
use sqlx::SqliteConnection;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::LedgerError;

/// The most reads in one statement.
const BATCH: usize = 1000;

/// A row as a statement gives it: an array of these in this order.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    name: String,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) expires_at: Option<i64>,
}

type Outcome = Result<Option<Row>, LedgerError>;

struct Read {
    statement: &'static str,
    name: String,
    caller: oneshot::Sender<Outcome>,
}

/// Where reads are asked for.
pub(super) struct Reads(mpsc::Sender<Read>);

impl Reads {
    pub(super) fn start(connection: Arc<Mutex<SqliteConnection>>) -> Self {
        let (reads, asked) = mpsc::channel(BATCH);
        tokio::spawn(read_all(connection, asked));
        Self(reads)
    }

    /// The row with this name, by a statement that takes the names as a JSON array.
    pub(super) async fn read(&self, statement: &'static str, name: &str) -> Outcome {
        let (caller, row) = oneshot::channel();
        let read = Read { statement, name: name.to_owned(), caller };
        self.0.send(read).await.map_err(|_| LedgerError::Closed)?;
        row.await.unwrap_or(Err(LedgerError::Closed))
    }
}

/// The life of the reader.
async fn read_all(connection: Arc<Mutex<SqliteConnection>>, mut asked: mpsc::Receiver<Read>) {
    let mut reads = Vec::new();
    while asked.recv_many(&mut reads, BATCH).await > 0 {
        let mut statements: HashMap<_, Vec<_>> = HashMap::new();
        for read in reads.drain(..) {
            statements.entry(read.statement).or_default().push(read);
        }
        for (statement, reads) in statements {
            let names: Vec<_> = reads.iter().map(|read| &*read.name).collect();
            let rows = {
                let mut connection = connection.lock().await;
                read_rows(&mut connection, statement, &names).await
            };
            answer(reads, rows);
        }
    }
}

/// One array comes back, too: a row by itself costs more than to be found.
pub(super) async fn read_rows(
    connection: &mut SqliteConnection,
    statement: &'static str,
    names: &[&str],
) -> Result<Vec<Row>, LedgerError> {
    let query = sqlx::query_scalar::<_, String>(statement).bind(json!(names).to_string());
    let rows = query.fetch_one(connection).await.map_err(|error| error.to_string());
    let rows = rows.and_then(|rows| serde_json::from_str(&rows).map_err(|error| error.to_string()));
    rows.map_err(|error| LedgerError::Store(format!("The database could not read what is stored: {error}.")))
}

fn answer(reads: Vec<Read>, rows: Result<Vec<Row>, LedgerError>) {
    let rows =
        rows.map(|rows| rows.into_iter().map(|row| (row.name.clone(), row)).collect::<HashMap<_, _>>());
    for read in reads {
        let row = rows.as_ref().map(|rows| rows.get(&read.name).cloned());
        // One that no longer waits wants no answer.
        let _ = read.caller.send(row.map_err(LedgerError::clone));
    }
}
