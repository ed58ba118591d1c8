//! Where topics stood when a route came to be served. Subscriptions that move there begin there, whenever each of them
//! gets to it and however late the broker answers.

use std::collections::HashMap;

use sluice_broker::{BrokerDriver, ErrorKind};
use sluice_message::{Position, Topic};
use tokio::sync::Mutex;

use crate::{clock::now_ms, home::Trouble, moving::all_of};

/// The coming of a route.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Milliseconds since 1970.
    at_ms: i64,
    /// Held while a broker is asked, so that it is asked once for all subscriptions.
    known: Mutex<HashMap<Vec<Topic>, Position>>,
}

impl Arrival {
    /// That of a route that comes now.
    pub(crate) fn now() -> Self {
        Self { at_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX), known: Mutex::default() }
    }

    /// Where these topics of the route's broker stood: before everything that was made since. Where a broker knows no
    /// times, it is where they stand when it is first asked.
    pub(crate) async fn position(
        &self,
        driver: &dyn BrokerDriver,
        topics: &[Topic],
    ) -> Result<Position, Trouble> {
        let mut known = self.known.lock().await;
        if let Some(position) = known.get(topics) {
            return Ok(position.clone());
        }
        let position = match driver.position_at(topics, self.at_ms).await {
            Err(error) if error.kind == ErrorKind::Unsupported => all_of(driver, topics).await?,
            position => position?,
        };
        known.insert(topics.to_vec(), position.clone());
        Ok(position)
    }
}
