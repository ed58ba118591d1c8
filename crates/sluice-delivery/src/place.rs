//! Where a subscription reads: behind its stored position, or where its API lets new ones begin.

use std::time::Duration;

use sluice_api::Qos;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Position, Topic};
use sluice_stream::{Begin, Cursor, Lag, PositionsError};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::{Route, deliveries::Shared};

/// The shortest and longest wait between two tries to open a broker or the store of positions.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Why there is no cursor yet.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Broker(#[from] DriverError),
    #[error("{0}")]
    Positions(#[from] PositionsError),
}

/// The cursor of a subscription, however long it takes. `position` is how far it has come; where that is not
/// known it is looked up, and what is found or begun with is put there and stored.
pub(crate) async fn open(
    shared: &Shared,
    route: &Route,
    topics: &[Topic],
    reader: &str,
    position: &mut Option<Position>,
) -> Cursor {
    let mut wait = BACKOFF.0;
    loop {
        match attempt(shared, route, topics, reader, position).await {
            Ok(cursor) => return cursor,
            Err(trouble) => {
                warn!(
                    api = %route.api, reader, error = %trouble, again_in_ms = wait.as_millis(),
                    "A subscription cannot be read for."
                );
                sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

async fn attempt(
    shared: &Shared,
    route: &Route,
    topics: &[Topic],
    reader: &str,
    position: &mut Option<Position>,
) -> Result<Cursor, Trouble> {
    let join = |begin, lag| shared.hubs.join(&route.driver, topics, begin, lag);
    if route.qos == Qos::None {
        return Ok(join(Begin::Latest, Lag::Skip).await?);
    }
    let known = match position.take() {
        Some(known) => Some(known),
        None => shared.positions.load(reader).await?,
    };
    let Some(known) = known else {
        let cursor = join(route.begin.clone(), Lag::CatchUp).await?;
        let begun = cursor.position();
        // Kept before the first message, so that nothing that comes from now on can be missed; should that fail,
        // the next try begins here, too.
        *position = Some(begun.clone());
        shared.positions.save(reader, begun).await?;
        return Ok(cursor);
    };
    // Put back first: it is not to be looked up again when the broker is away.
    let known = position.insert(known);
    let fitted = fitted(route, topics, known).await?;
    match join(Begin::After(fitted.clone()), Lag::CatchUp).await {
        Ok(cursor) => {
            *known = fitted;
            Ok(cursor)
        }
        Err(lost) if lost.kind == ErrorKind::PositionLost => {
            error!(
                api = %route.api, reader, error = %lost,
                "The topics are not those that a subscription has read; it begins with their first message."
            );
            let cursor = join(Begin::Earliest, Lag::CatchUp).await?;
            *known = cursor.position();
            Ok(cursor)
        }
        Err(other) => Err(other.into()),
    }
}

/// The position in the topics that the API has now: a topic that it had before is forgotten, a new one is begun
/// where new subscriptions begin.
async fn fitted(route: &Route, topics: &[Topic], known: &Position) -> Result<Position, DriverError> {
    let mut fitted = Position::new();
    for (topic, partition, next) in known.nexts().filter(|(topic, _, _)| topics.contains(topic)) {
        fitted.set_next(topic, partition, next);
    }
    let named = |wanted: &&Topic| known.nexts().any(|(topic, _, _)| topic == *wanted);
    let new: Vec<Topic> = topics.iter().filter(|topic| !named(topic)).cloned().collect();
    if !new.is_empty() && !known.is_empty() && route.begin == Begin::Latest {
        for ((topic, partition), range) in route.driver.bounds(&new).await? {
            fitted.set_next(&topic, partition, range.end);
        }
    }
    Ok(fitted)
}
