//! An API as the contract answers it.
//!
//! The original's answers differ from call to call; a client that compares them with what it knows finds
//! the same differences here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{ApiId, EventApi, Guarantees, Limits, MASK, Property, ResponseTemplate};
use sluice_store::Timestamp;

use super::{
    catalogue::{ApiCatalogue, LifecycleState, Visibility, kept},
    connections::{GroupEntity, ListenerEntity, groups, listeners},
    flows::FlowEntity,
    plans::PlanEntity,
};
use crate::ManagedApi;

/// Which call is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// A create: without what only an update can set.
    Created,
    /// A deployment: with an empty list of plans, whatever plans there are, and without an empty list of flows.
    Deployed,
    /// Any other: everything. `url` is the API's own address.
    Read {
        /// Without a slash at the end.
        url: &'a str,
    },
}

/// An API as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Api")]
pub(super) struct ApiEntity<'a> {
    id: &'a ApiId,
    name: &'a str,
    api_version: &'a str,
    definition_version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    listeners: Vec<ListenerEntity<'a>>,
    endpoint_groups: Vec<GroupEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analytics: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Vec<PropertyEntity<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Value; 0]>,
    plans: Vec<PlanEntity<'a>>,
    flow_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<Vec<FlowEntity<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_templates: Option<&'a BTreeMap<String, BTreeMap<String, ResponseTemplate>>>,
    groups: Vec<String>,
    visibility: Visibility,
    state: &'static str,
    primary_owner: Owner,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture_url: Option<String>,
    lifecycle_state: LifecycleState,
    disable_membership_notifications: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    background_url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross_id: Option<String>,
    /// Ours: bounds that the API sets for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<&'a Limits>,
    /// Ours: what the API promises beyond the qos of its entrypoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    guarantees: Option<&'a Guarantees>,
    /// Ours: why the API does not run, or not in its newest form, although it should.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

/// A property; one that is encrypted is not shown again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Property")]
struct PropertyEntity<'a> {
    key: &'a str,
    value: &'a str,
    encrypted: bool,
    dynamic: bool,
}

impl<'a> PropertyEntity<'a> {
    fn of(property: &'a Property) -> Self {
        let value = if property.encrypted { MASK } else { property.value.expose() };
        Self { key: &property.key, value, encrypted: property.encrypted, dynamic: false }
    }
}

/// The one administrator there is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    id: &'static str,
    display_name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Owner {
    pub(super) const fn administrator() -> Self {
        Self { id: crate::USER, display_name: crate::USER, kind: "USER" }
    }
}

impl<'a> ApiEntity<'a> {
    pub(super) fn of(api: &'a ManagedApi, answer: Answer<'_>) -> Self {
        let (record, draft) = (&api.record, &api.record.draft);
        let catalogue: ApiCatalogue = kept(&record.catalogue);
        let (created, deployed) = (matches!(answer, Answer::Created), matches!(answer, Answer::Deployed));
        let (listeners, endpoint_groups) = (listeners(draft, &catalogue), groups(draft, &catalogue));
        let image = |name: &str| match answer {
            Answer::Read { url } => Some(format!("{url}/{name}?hash={}", record.updated_at.0)),
            Answer::Created | Answer::Deployed => None,
        };
        let (plans, flow): (_, fn(_) -> _) = match answer {
            Answer::Deployed => (Vec::new(), FlowEntity::sparing),
            Answer::Created | Answer::Read { .. } => {
                let plans = record.plans.iter().map(|plan| PlanEntity::of(&draft.id, plan));
                (plans.collect(), FlowEntity::of)
            }
        };
        Self {
            id: &draft.id,
            name: &draft.name,
            api_version: &draft.version,
            definition_version: "4.0.0",
            kind: "async",
            deployed_at: record.deployed_at,
            created_at: record.created_at,
            updated_at: record.updated_at,
            description: &draft.description,
            tags: Some(catalogue.tags).filter(|tags| !created || !tags.is_empty()),
            listeners,
            endpoint_groups,
            analytics: catalogue.analytics,
            properties: (!created || !draft.properties.is_empty()).then(|| properties(draft)),
            resources: (!created).then_some([]),
            plans,
            flow_mode: "default",
            flows: Some(draft.flows.iter().map(flow).collect())
                .filter(|flows: &Vec<_>| !deployed || !flows.is_empty()),
            response_templates: Some(&draft.response_templates).filter(|it| !created || !it.is_empty()),
            groups: catalogue.groups,
            visibility: catalogue.visibility,
            state: if record.started { "STARTED" } else { "STOPPED" },
            primary_owner: Owner::administrator(),
            picture_url: image("picture"),
            lifecycle_state: catalogue.lifecycle_state,
            disable_membership_notifications: catalogue.disable_membership_notifications,
            background_url: image("background"),
            labels: catalogue.labels,
            categories: catalogue.categories,
            cross_id: catalogue.cross_id,
            limits: Some(&draft.limits).filter(|limits| **limits != Limits::default()),
            guarantees: Some(&draft.guarantees).filter(|it| **it != Guarantees::default()),
            faults: api.faults.iter().map(ToString::to_string).collect(),
        }
    }
}

fn properties(draft: &EventApi) -> Vec<PropertyEntity<'_>> {
    draft.properties.iter().map(PropertyEntity::of).collect()
}
