//! Which broker the position of a subscription is of. A position says nothing at another broker, so it is never
//! applied there: a note beside it names the broker, as its driver [says](sluice_broker::BrokerDriver::identity) who it
//! is.
//!
//! Position and note cannot be written at once. A subscription that moves first notes where it will be, and only
//! then has its position replaced; whoever comes back in between finishes the move.

use serde::{Deserialize, Serialize};
use sluice_api::SubscriptionId;
use sluice_broker::{BrokerDriver, DriverError};
use sluice_message::Position;
use sluice_stream::{NotesError, PositionsError, subscription_reader};
use tracing::warn;

use crate::{Failure, dead_letters, deliveries::Shared};

/// What keeps a subscription from being read for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    Broker(#[from] DriverError),
    #[error("{0}")]
    Positions(#[from] PositionsError),
    #[error("{0}")]
    Notes(#[from] NotesError),
}

/// The note.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// The broker that the position is of.
    broker: String,
    /// The one that the subscription moves to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The broker of a subscription that was at none yet: no driver calls itself so.
const NOWHERE: &str = "";

/// What is stored of a subscription.
#[derive(Debug)]
pub(crate) struct Found {
    /// How far it has come at this broker.
    pub(crate) position: Option<Position>,
    /// Whether what else is known of it is of another broker.
    pub(crate) moved: bool,
}

impl Trouble {
    /// Whether it may pass by itself.
    pub(crate) const fn passes(&self) -> bool {
        match self {
            Self::Broker(error) => error.retryable(),
            Self::Positions(_) | Self::Notes(_) => true,
        }
    }

    /// In words for people.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Broker(error) => Failure::new(error.code(), error.message.clone()),
            Self::Positions(_) | Self::Notes(_) => Failure::new("store.failed", self.to_string()),
        }
    }
}

fn note_name(id: &SubscriptionId) -> String {
    format!("broker:{id}")
}

/// The name under which it is stored where a subscription begins at the broker that it moves to.
fn next_reader(id: &SubscriptionId) -> String {
    format!("subscription-next:{id}")
}

async fn note(shared: &Shared, id: &SubscriptionId) -> Result<Option<Note>, NotesError> {
    let text = shared.notes.read(&note_name(id)).await?;
    Ok(text.and_then(|text| match serde_json::from_str(&text) {
        Ok(note) => Some(note),
        Err(error) => {
            warn!(subscription = %id, %error, "It cannot be read which broker a position is of.");
            None
        }
    }))
}

async fn write(shared: &Shared, id: &SubscriptionId, note: &Note) -> Result<(), NotesError> {
    let text = serde_json::to_string(note).map_err(|error| NotesError::Store(error.to_string()))?;
    shared.notes.write(&note_name(id), text, None).await
}

/// How far a subscription has come at this broker. A move that was announced and not finished is finished.
pub(crate) async fn find(shared: &Shared, id: &SubscriptionId, broker: &str) -> Result<Found, Trouble> {
    let reader = subscription_reader(&id.0);
    let Some(note) = note(shared, id).await? else {
        // It has none yet, or its position is older than such notes are.
        let position = shared.positions.load(&reader).await?;
        write(shared, id, &Note { broker: broker.to_owned(), next: None }).await?;
        return Ok(Found { position, moved: false });
    };
    if note.broker == broker {
        return Ok(Found { position: shared.positions.load(&reader).await?, moved: false });
    }
    if note.next.as_deref() == Some(broker)
        && let Some(position) = shared.positions.load(&next_reader(id)).await?
    {
        finish(shared, id, broker, position.clone()).await?;
        return Ok(Found { position: Some(position), moved: true });
    }
    warn!(
        subscription = %id,
        "The position of a subscription is one of another broker; it begins anew, where its API says."
    );
    Ok(Found { position: None, moved: true })
}

/// Stores how far a subscription has come at this broker, also where it was at another.
pub(crate) async fn settle(
    shared: &Shared,
    id: &SubscriptionId,
    broker: &str,
    position: Position,
) -> Result<(), Trouble> {
    match note(shared, id).await? {
        Some(note) if note.broker == broker => {
            shared.positions.save(&subscription_reader(&id.0), position).await?;
        }
        Some(note) => {
            announce(shared, id, &note.broker, broker, position.clone()).await?;
            finish(shared, id, broker, position).await?;
        }
        None => finish(shared, id, broker, position).await?,
    }
    Ok(())
}

/// Notes where a subscription begins that was not served yet: it moves there from nowhere.
pub(crate) async fn begin(
    shared: &Shared,
    id: &SubscriptionId,
    broker: &str,
    begin: Position,
) -> Result<(), Trouble> {
    announce(shared, id, NOWHERE, broker, begin).await
}

/// Where a subscription without a position of its own begins, if it was [noted](begin) for this broker and not
/// [forgotten](begun) since.
pub(crate) async fn beginning(
    shared: &Shared,
    id: &SubscriptionId,
    driver: &dyn BrokerDriver,
) -> Result<Option<Position>, Trouble> {
    let Some(next) = note(shared, id).await?.and_then(|note| note.next) else { return Ok(None) };
    if driver.identity().await? != next {
        return Ok(None);
    }
    Ok(shared.positions.load(&next_reader(id)).await?)
}

/// Forgets where a subscription without a position of its own begins: it has.
pub(crate) async fn begun(shared: &Shared, id: &SubscriptionId) -> Result<(), Trouble> {
    shared.notes.write_soon(&note_name(id), None)?;
    shared.positions.forget(&next_reader(id)).await?;
    Ok(())
}

/// Notes that a subscription will move, and where it begins then.
pub(crate) async fn announce(
    shared: &Shared,
    id: &SubscriptionId,
    from: &str,
    to: &str,
    begin: Position,
) -> Result<(), Trouble> {
    shared.positions.save(&next_reader(id), begin).await?;
    write(shared, id, &Note { broker: from.to_owned(), next: Some(to.to_owned()) }).await?;
    Ok(())
}

async fn finish(
    shared: &Shared,
    id: &SubscriptionId,
    broker: &str,
    position: Position,
) -> Result<(), Trouble> {
    shared.positions.save(&subscription_reader(&id.0), position).await?;
    write(shared, id, &Note { broker: broker.to_owned(), next: None }).await?;
    shared.positions.forget(&next_reader(id)).await?;
    Ok(())
}

/// Forgets all that is stored of a subscription.
pub(crate) async fn forget(shared: &Shared, id: &SubscriptionId) -> Result<(), Trouble> {
    for reader in
        [subscription_reader(&id.0), next_reader(id), dead_letters::reader(id), dead_letters::goal(id)]
    {
        shared.positions.forget(&reader).await?;
    }
    for name in [note_name(id), format!("retry:{id}")] {
        shared.notes.write_soon(&name, None)?;
    }
    Ok(())
}
