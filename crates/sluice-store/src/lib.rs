//! What survives a restart: event APIs with their plans, applications, and their subscriptions; keys and
//! secrets; what hubs were asked; how far readers have come, and what is noted of publishes and deliveries.
//!
//! [`Store`] keeps whole records and hands them back as they were; what they mean, and who may change them
//! when, is judged elsewhere. No message passes through here. Today it is SQLite in the data directory; its
//! interface speaks of records only, so that another database can stand behind it.

mod credential;
mod credentials;
mod error;
mod hub_request;
mod hub_requests;
mod ledger;
mod notes;
mod positions;
mod record;
mod sqlite;
mod subscription;
mod subscriptions;
mod vault;

pub use credential::{ApiKeyRecord, ApiKeySource, ApiKeyStatus, FormerSecret, WebhookSecretRecord};
pub use error::StoreError;
pub use hub_request::{HubBeginning, HubMode, HubRequestRecord};
pub use notes::StoredNotes;
pub use positions::StoredPositions;
pub use record::{ApiRecord, ApplicationRecord, Catalogue, PlanRecord, Timestamp};
pub use sluice_api::ApplicationId;
pub use sqlite::Store;
pub use subscription::{ConsumerConfiguration, ConsumerStatus, SubscriptionRecord, SubscriptionStatus};
