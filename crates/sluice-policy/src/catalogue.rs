//! The policies there are: what each is for, where it may stand, and the schema of its settings. What the
//! management API shows of policies is read from here.

use std::sync::Arc;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;
use sluice_api::Problem;

use crate::{Hook, Policy, policies, site::Site};

/// One policy of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// The id by which steps name it.
    pub id: &'static str,
    /// Other ids by which steps may name it.
    pub aliases: &'static [&'static str],
    /// The versions under which steps of the contract that names a policy with its version know it; none where that
    /// contract has no such policy.
    pub versions: &'static [&'static str],
    /// Its name for people.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// What a user has to know, as Markdown.
    pub documentation: &'static str,
    /// Settings as somebody might write them, in JSON.
    pub example: &'static str,
    /// Where it may stand.
    pub hooks: &'static [Hook],
    pub(crate) schema: fn() -> Value,
    pub(crate) build: Build,
}

/// Makes a policy from its settings, for one hook; paths in problems are relative to the settings.
pub(crate) type Build = fn(Value, Hook, &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>>;

impl Entry {
    /// The JSON Schema (draft 7) of its settings, in one piece.
    pub fn schema(&self) -> Value {
        let mut schema = (self.schema)();
        schema["title"] = self.name.into();
        schema["description"] = self.description.into();
        schema
    }
}

/// Every policy, by id.
pub(crate) const CATALOGUE: &[Entry] = &[
    policies::api_key_auth::ENTRY,
    policies::basic_auth::ENTRY,
    policies::latency::ENTRY,
    policies::log_message::ENTRY,
    policies::message_filtering::ENTRY,
    policies::assign_attributes::ENTRY,
    policies::assign_content::ENTRY,
    policies::interrupt::ENTRY,
    policies::rate_limit::ENTRY,
    policies::rbac::ENTRY,
    policies::remove_headers::ENTRY,
    policies::set_headers::ENTRY,
    policies::transform_headers::ENTRY,
    policies::webhook_signature_generator::ENTRY,
    policies::websub_hmac_auth::ENTRY,
];

/// Every policy, in the order of their ids.
pub fn catalogue() -> &'static [Entry] {
    CATALOGUE
}

/// The policy of this id or alias.
pub(crate) fn find<'c>(catalogue: &'c [Entry], id: &str) -> Option<&'c Entry> {
    catalogue.iter().find(|entry| entry.id == id || entry.aliases.contains(&id))
}

/// The schema of a type of settings.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
