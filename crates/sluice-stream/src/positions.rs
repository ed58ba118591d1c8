//! Stored positions: how far the readers have come that outlive a connection.
//!
//! A subscription or a polling client is a *reader*, known by a name. Here stand the names, the interface
//! that delivery and receivers store through, and an implementation in memory for tests; what survives a
//! restart is in the store. Nothing here reads a broker.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_message::{MAX_POSITION_PARTITIONS, Position};

/// The longest name of a reader, in bytes.
pub const MAX_READER_BYTES: usize = 1024;

/// The most clients of one event API whose positions are kept. Beyond it, the one that was written longest
/// ago goes first.
pub const MAX_CLIENTS: usize = 10_000;

/// The name of a subscription as a reader.
pub fn subscription_reader(subscription: &str) -> String {
    format!("subscription:{subscription}")
}

/// The name of a client of an event API as a reader. The id of an API holds no colon; the identifier may
/// hold anything.
pub fn client_reader(api: &str, identifier: &str) -> String {
    format!("{}{identifier}", client_prefix(api))
}

/// What the names of all clients of an event API begin with, for [`Positions::forget_prefix`].
pub fn client_prefix(api: &str) -> String {
    format!("client:{api}:")
}

/// The beginning that a client's name shares with the other clients of its API; `None` for other readers.
pub fn clients_of(reader: &str) -> Option<&str> {
    let api = reader.strip_prefix("client:")?.find(':')?;
    reader.get(..="client:".len() + api)
}

/// Why a position was not stored or found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PositionsError {
    /// A name that is too long.
    #[error("The name of the reader has more than {MAX_READER_BYTES} bytes.")]
    Name,
    /// A position with too many partitions to be read back.
    #[error("The position names more than {MAX_POSITION_PARTITIONS} partitions.")]
    TooManyPartitions,
    /// More positions wait to be written than may; this one was not taken.
    #[error("{0} positions wait to be written already; is the disk slow?")]
    Overloaded(usize),
    /// The store failed; the text says how.
    #[error("{0}")]
    Store(String),
    /// The store is closed.
    #[error("The store of positions is closed.")]
    Closed,
}

/// Positions by the names of their readers. What is saved last for a reader is what is loaded for it, also
/// while it is still on its way to the disk.
pub trait Positions: Send + Sync + 'static {
    /// The position of this reader; `None` where none is stored.
    fn load<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<Option<Position>, PositionsError>>;

    /// Stores a position; resolves when it is durable. After an error it is not stored, now or later. A
    /// call that is dropped may have stored it or not.
    fn save<'a>(&'a self, reader: &'a str, position: Position) -> BoxFuture<'a, Result<(), PositionsError>>;

    /// Stores a position within a moment, at the latest on [`flush`](Self::flush); only the last one given
    /// for a reader is written. What cannot be written is tried again. An error means that it was not taken.
    fn save_soon(&self, reader: &str, position: Position) -> Result<(), PositionsError>;

    /// Forgets a reader, durably. One that is not stored is no error.
    fn forget<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<(), PositionsError>>;

    /// Forgets every reader whose name begins so, durably.
    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), PositionsError>>;

    /// Resolves when everything given to [`save_soon`](Self::save_soon) before is durable; to be called
    /// before the process ends.
    fn flush(&self) -> BoxFuture<'_, Result<(), PositionsError>>;
}

/// Whether this can be stored and read back, for implementations.
pub fn check_storable(reader: &str, position: &Position) -> Result<(), PositionsError> {
    if reader.len() > MAX_READER_BYTES {
        return Err(PositionsError::Name);
    }
    if position.len() > MAX_POSITION_PARTITIONS {
        return Err(PositionsError::TooManyPartitions);
    }
    Ok(())
}

/// Positions in memory, gone with it: for tests.
#[derive(Debug, Default)]
pub struct MemoryPositions(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// With the number of the write, by which the oldest is found.
    kept: HashMap<String, (u64, Position)>,
    writes: u64,
}

impl MemoryPositions {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn write(&mut self, reader: &str, position: Position) {
        self.writes += 1;
        let is_new = self.kept.insert(reader.to_owned(), (self.writes, position)).is_none();
        let Some(prefix) = clients_of(reader).filter(|_| is_new) else { return };
        let clients = || self.kept.iter().filter(|(name, _)| name.starts_with(prefix));
        let surplus = clients().count() > MAX_CLIENTS;
        let oldest = clients().min_by_key(|(_, (written, _))| *written).filter(|_| surplus);
        if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
            self.kept.remove(&oldest);
        }
    }
}

impl Positions for MemoryPositions {
    fn load<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<Option<Position>, PositionsError>> {
        async move { Ok(self.lock().kept.get(reader).map(|(_, position)| position.clone())) }.boxed()
    }

    fn save<'a>(&'a self, reader: &'a str, position: Position) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move { self.save_soon(reader, position) }.boxed()
    }

    fn save_soon(&self, reader: &str, position: Position) -> Result<(), PositionsError> {
        check_storable(reader, &position)?;
        self.lock().write(reader, position);
        Ok(())
    }

    fn forget<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move {
            self.lock().kept.remove(reader);
            Ok(())
        }
        .boxed()
    }

    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move {
            self.lock().kept.retain(|name, _| !name.starts_with(prefix));
            Ok(())
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), PositionsError>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn clients_are_told_from_other_readers_by_their_names() {
        assert_eq!(clients_of(&client_reader("api", "a:b")), Some("client:api:"));
        assert_eq!(clients_of(&client_reader("api", "")), Some(&*client_prefix("api")));
        assert_eq!(clients_of(&subscription_reader("client:x:y")), None);
        assert_eq!(clients_of("client:x"), None);
    }

    #[tokio::test]
    async fn the_client_written_longest_ago_goes_first() {
        let positions = MemoryPositions::default();
        let name = |number: usize| client_reader("api", &number.to_string());
        // One by one they would be counted each time.
        let kept = (1..MAX_CLIENTS).map(|number| (name(number), (number as u64, Position::new())));
        *positions.lock() = Memory { kept: kept.collect(), writes: MAX_CLIENTS as u64 };
        positions.save(&subscription_reader("s"), Position::new()).await.unwrap();
        positions.save(&name(0), Position::new()).await.unwrap();
        assert!(positions.load(&name(1)).await.unwrap().is_some());
        positions.save(&name(1), Position::new()).await.unwrap();
        positions.save(&name(MAX_CLIENTS), Position::new()).await.unwrap();
        assert!(positions.load(&name(1)).await.unwrap().is_some());
        assert!(positions.load(&name(2)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn forgetting_takes_the_readers_named_and_no_other() {
        let positions = MemoryPositions::default();
        for reader in ["client:a:1", "client:a:2", "client:ab:1", "subscription:a"] {
            positions.save_soon(reader, Position::new()).unwrap();
        }
        positions.forget_prefix(&client_prefix("a")).await.unwrap();
        positions.forget("subscription:a").await.unwrap();
        let left: Vec<_> = positions.lock().kept.keys().cloned().collect();
        assert_eq!(left, ["client:ab:1"]);
    }
}
