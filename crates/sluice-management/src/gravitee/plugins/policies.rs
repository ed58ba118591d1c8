//! Policies, as their own catalogue describes them.

use sluice_policy::{Entry, catalogue};

use super::Plugin;
use crate::schema::in_forms;

/// Every policy, by id.
pub(in crate::gravitee) fn policies() -> Vec<Plugin> {
    catalogue().iter().map(policy).collect()
}

fn policy(entry: &Entry) -> Plugin {
    let mut schema = in_forms(entry.schema());
    schema["title"] = entry.name.into();
    Plugin {
        id: entry.id,
        aliases: entry.aliases,
        name: entry.name,
        description: entry.description,
        notes: entry.documentation,
        modes: entry.hooks.iter().filter_map(|hook| hook.phase()).collect(),
        qos: Vec::new(),
        listener: None,
        features: Vec::new(),
        schema,
        subscription_schema: None,
    }
}
