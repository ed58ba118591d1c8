//! The policies there are.

use std::sync::Arc;

use serde_json::Value;
use sluice_api::Problem;

use crate::{Hook, Policy, message_filtering};

/// One policy of the catalogue.
pub(crate) struct Entry {
    /// The id by which steps name it.
    pub(crate) id: &'static str,
    /// Where it may stand.
    pub(crate) hooks: &'static [Hook],
    /// Makes it from its settings; paths in problems are relative to these.
    pub(crate) build: fn(Value) -> Result<Arc<dyn Policy>, Problem>,
}

/// Every policy, by id.
pub(crate) const CATALOGUE: &[Entry] = &[Entry {
    id: message_filtering::ID,
    hooks: &[Hook::Publish, Hook::Deliver],
    build: message_filtering::build,
}];
