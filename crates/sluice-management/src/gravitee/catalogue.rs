//! What the contract keeps about an API, a plan or an application that means nothing to the gateway: it is
//! stored beside the definition and handed back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sluice_api::from_value;
use sluice_store::Catalogue;

/// Kept beside an API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ApiCatalogue {
    /// Who finds it in a portal.
    pub(super) visibility: Visibility,
    /// Where it stands in a portal.
    pub(super) lifecycle_state: LifecycleState,
    pub(super) disable_membership_notifications: bool,
    pub(super) tags: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) categories: Vec<String>,
    /// Groups paths in statistics.
    pub(super) path_mappings: Vec<String>,
    /// Names the same API in another environment.
    pub(super) cross_id: Option<String>,
    /// The endpoints that were written with the settings that their group shares, and are answered so.
    pub(super) inheriting: Vec<String>,
    /// By endpoint. A gateway that is no tenant's serves all of them.
    pub(super) tenants: BTreeMap<String, Vec<String>>,
    /// The entrypoints that were written without a configuration, and are answered without one.
    pub(super) unconfigured: Vec<String>,
    /// What would be logged of requests, in a system that keeps such logs.
    pub(super) logging: Option<Value>,
    /// By entrypoint: what would be logged of calls to subscribers.
    pub(super) call_logging: BTreeMap<String, Value>,
    /// What would be measured, likewise.
    pub(super) analytics: Option<Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Visibility {
    #[default]
    Private,
    Public,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum LifecycleState {
    #[default]
    Created,
    Published,
    Unpublished,
    Deprecated,
    Archived,
}

/// Kept beside a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PlanCatalogue {
    pub(super) order: i64,
    pub(super) characteristics: Vec<String>,
    pub(super) comment_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comment_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) general_conditions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cross_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) excluded_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
}

/// Kept beside an application.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct ApplicationCatalogue {
    pub(super) settings: Value,
    pub(super) api_key_mode: ApiKeyMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ApiKeyMode {
    #[default]
    Unspecified,
    Shared,
    Exclusive,
}

/// What was kept, or the defaults where another contract made the record.
pub(super) fn kept<T: DeserializeOwned + Default>(catalogue: &Catalogue) -> T {
    from_value(Value::Object(catalogue.clone())).unwrap_or_default()
}

/// In the form in which it is kept.
pub(super) fn to_keep(catalogue: &impl Serialize) -> Catalogue {
    match serde_json::to_value(catalogue) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
