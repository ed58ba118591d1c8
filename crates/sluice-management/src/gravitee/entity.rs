//! An API as the contract answers it.
//!
//! The original's answers differ from call to call; a client that compares them with what it knows finds
//! the same differences here.

use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::{ApiId, Broker, HttpPath, Limits, Qos, Receiver};
use sluice_store::Timestamp;

use super::{
    catalogue::{ApiCatalogue, LifecycleState, LoadBalancer, Visibility, kept},
    flows::FlowEntity,
    plans::PlanEntity,
};
use crate::ManagedApi;

/// Which call is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// A create: without what only an update can set.
    Created,
    /// A deployment: with an empty list of plans, whatever plans there are.
    Deployed,
    /// Any other: everything. `url` is the API's own address.
    Read {
        /// Without a slash at the end.
        url: &'a str,
    },
}

/// An API as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
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
    listeners: [ListenerEntity<'a>; 1],
    endpoint_groups: Vec<GroupEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<[Value; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Value; 0]>,
    plans: Vec<PlanEntity<'a>>,
    flow_mode: &'static str,
    flows: Vec<FlowEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_templates: Option<Map<String, Value>>,
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
    /// Ours: why the API does not run, or not in its newest form, although it should.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListenerEntity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    paths: Vec<HttpPath>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path_mappings: Vec<String>,
    entrypoints: Vec<EntrypointEntity<'a>>,
}

#[derive(Serialize)]
struct EntrypointEntity<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    qos: Qos,
    configuration: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupEntity<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<LoadBalancer>,
    endpoints: [EndpointEntity<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointEntity<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    secondary: bool,
    weight: u32,
    inherit_configuration: bool,
    configuration: Value,
}

/// The one administrator there is.
#[derive(Serialize)]
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
        let created = matches!(answer, Answer::Created);
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
        let balancer = catalogue.load_balancer;
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
            listeners: [ListenerEntity::of(&draft.paths, &draft.receivers, catalogue.path_mappings)],
            endpoint_groups: draft.brokers.iter().map(|broker| GroupEntity::of(broker, balancer)).collect(),
            properties: (!created).then_some([]),
            resources: (!created).then_some([]),
            plans,
            flow_mode: "default",
            flows: draft.flows.iter().map(flow).collect(),
            response_templates: (!created).then(Map::new),
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
            faults: api.faults.iter().map(ToString::to_string).collect(),
        }
    }
}

impl<'a> ListenerEntity<'a> {
    fn of(paths: &[HttpPath], receivers: &'a [Receiver], path_mappings: Vec<String>) -> Self {
        let path = |path: &HttpPath| HttpPath { path: path.normalized(), host: path.host.clone() };
        let entrypoint = |receiver: &'a Receiver| EntrypointEntity {
            kind: &receiver.connector,
            qos: receiver.qos,
            configuration: receiver.configuration.to_value(),
        };
        let (paths, entrypoints) =
            (paths.iter().map(path).collect(), receivers.iter().map(entrypoint).collect());
        Self { kind: "http", paths, path_mappings, entrypoints }
    }
}

impl<'a> GroupEntity<'a> {
    fn of(broker: &'a Broker, load_balancer: Option<LoadBalancer>) -> Self {
        let endpoint = EndpointEntity {
            name: &broker.name,
            kind: &broker.connector,
            secondary: false,
            weight: broker.weight,
            inherit_configuration: false,
            configuration: broker.configuration.to_value(),
        };
        Self { name: &broker.group, kind: &broker.connector, load_balancer, endpoints: [endpoint] }
    }
}
