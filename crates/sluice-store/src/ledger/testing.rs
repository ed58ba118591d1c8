//! Looks behind the ledger's back, for tests.

use std::sync::MutexGuard;

use sqlx::SqliteConnection;

use super::{Entry, Ledger, queue::Queue, reading::read_rows};

impl Ledger {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.lock()
    }

    /// The connection that the ledger writes with.
    pub(crate) async fn connection(&self) -> tokio::sync::MutexGuard<'_, SqliteConnection> {
        self.shared.connection.lock().await
    }

    pub(crate) async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut *self.connection().await).await.unwrap();
    }

    /// The number that this SQL selects.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut *self.connection().await).await.unwrap()
    }

    /// What stands in the database under a name, whatever waits.
    pub(crate) async fn on_disk<T: Entry>(&self, name: &str) -> Option<String> {
        let rows = read_rows(&mut *self.connection().await, T::READ, &[name]).await.unwrap();
        rows.into_iter().next().map(|row| row.text)
    }
}
