//! What APIs can be made of, as both contracts list it: entrypoints (our receivers), endpoints (our brokers) and
//! policies, each with the schema of its settings.
//!
//! Nothing is described here that is not read from the settings' own types: see [`crate::schema`].

mod calls;
mod connectors;
mod documentation;
mod policies;

use serde_json::Value;

pub(super) use calls::{Naming, rows};
use connectors::{endpoints, entrypoints};
use policies::policies;

/// One thing that APIs can be made of. Words are in kebab case.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    pub(super) id: &'static str,
    /// Other ids by which it is known.
    pub(super) aliases: &'static [&'static str],
    /// For people.
    pub(super) name: &'static str,
    /// What it does, in a sentence.
    pub(super) description: &'static str,
    /// What else a user has to know, as Markdown.
    pub(super) notes: &'static str,
    /// What it does with messages: `publish`, `subscribe`; of a policy, where it may stand.
    pub(super) modes: Vec<&'static str>,
    /// Levels of delivery; none for policies.
    pub(super) qos: Vec<&'static str>,
    /// The listener that it stands in; for entrypoints.
    pub(super) listener: Option<&'static str>,
    /// What it offers beyond that: `limit`, `resume`, `dlq`, `cors`.
    pub(super) features: Vec<&'static str>,
    /// The schema of its settings.
    pub(super) schema: Value,
    /// The schema of what a subscriber says, where subscribers are called.
    pub(super) subscription_schema: Option<Value>,
}

/// The plugin of an id, also under its other names.
fn find(plugins: Vec<Plugin>, id: &str) -> Option<Plugin> {
    plugins.into_iter().find(|plugin| plugin.id == id || plugin.aliases.contains(&id))
}
