//! An API as the contract answers it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{ApiId, EventApi, Guarantees, Limits, Property};

use super::{
    connections::{GroupEntity, ListenerEntity, groups, listeners},
    flows::FlowEntity,
};
use crate::{
    ManagedApi, Origin,
    gravitee::{
        catalogue::{ApiCatalogue, LifecycleState, Visibility, kept},
        entity::Owner,
    },
    time::Moment,
};

/// An API as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Api")]
pub(super) struct ApiEntity {
    id: ApiId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross_id: Option<String>,
    name: String,
    description: String,
    api_version: String,
    definition_version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed_at: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
    disable_membership_notifications: bool,
    groups: Vec<String>,
    /// `STARTED` or `STOPPED`.
    state: &'static str,
    /// `DEPLOYED`, or `NEED_REDEPLOY` where the definition was changed since.
    deployment_state: &'static str,
    visibility: Visibility,
    labels: Vec<String>,
    lifecycle_state: LifecycleState,
    tags: Vec<String>,
    primary_owner: Owner,
    categories: Vec<String>,
    origin_context: OriginContext,
    definition_context: DefinitionContext,
    response_templates: BTreeMap<String, BTreeMap<String, TemplateEntity>>,
    resources: [Value; 0],
    properties: Vec<PropertyEntity>,
    listeners: Vec<ListenerEntity>,
    endpoint_groups: Vec<GroupEntity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analytics: Option<Value>,
    flow_execution: FlowExecution,
    flows: Vec<FlowEntity>,
    /// An addition: bounds that the API sets for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    /// An addition: what the API promises beyond the qos of its entrypoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    guarantees: Option<Guarantees>,
    /// An addition: why the API does not run, or not in its newest form, although it should.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    #[serde(rename = "_links")]
    links: ApiLinks,
}

/// Where the API is changed.
#[derive(Serialize, JsonSchema)]
struct OriginContext {
    /// `MANAGEMENT`, or `KUBERNETES` for a definition that is kept elsewhere (in a file) and only read here.
    origin: &'static str,
}

/// Where the definition is kept.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DefinitionContext {
    origin: &'static str,
    mode: &'static str,
    sync_from: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FlowExecution {
    mode: &'static str,
    match_required: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ApiLinks {
    picture_url: String,
    background_url: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ResponseTemplate")]
struct TemplateEntity {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Property")]
struct PropertyEntity {
    key: String,
    /// A mask, where the value is encrypted.
    value: String,
    encrypted: bool,
    dynamic: bool,
}

impl ApiEntity {
    /// `url` is the API's own address, without a slash at the end.
    pub(super) fn of(api: &ManagedApi, url: &str) -> Self {
        let (record, draft) = (&api.record, &api.record.draft);
        let catalogue: ApiCatalogue = kept(&record.catalogue);
        let image = |name: &str| format!("{url}/{name}?hash={}", record.updated_at.0);
        let origin = match api.origin {
            Origin::Management => "MANAGEMENT",
            Origin::File(_) => "KUBERNETES",
        };
        Self {
            id: draft.id.clone(),
            name: draft.name.clone(),
            description: draft.description.clone(),
            api_version: draft.version.clone(),
            definition_version: "V4",
            kind: "MESSAGE",
            deployed_at: record.deployed_at.map(Moment),
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            disable_membership_notifications: catalogue.disable_membership_notifications,
            state: if record.started { "STARTED" } else { "STOPPED" },
            deployment_state: deployment_state(api),
            visibility: catalogue.visibility,
            lifecycle_state: catalogue.lifecycle_state,
            primary_owner: Owner::administrator(),
            origin_context: OriginContext { origin },
            definition_context: DefinitionContext { origin, mode: "FULLY_MANAGED", sync_from: origin },
            response_templates: templates(draft),
            resources: [],
            properties: draft.properties.iter().map(PropertyEntity::of).collect(),
            listeners: listeners(draft, &catalogue),
            endpoint_groups: groups(draft, &catalogue),
            analytics: catalogue.analytics,
            flow_execution: FlowExecution { mode: "DEFAULT", match_required: false },
            flows: draft.flows.iter().map(FlowEntity::of).collect(),
            limits: Some(draft.limits.clone()).filter(|limits| *limits != Limits::default()),
            guarantees: Some(draft.guarantees.clone()).filter(|it| *it != Guarantees::default()),
            faults: api.faults.iter().map(ToString::to_string).collect(),
            links: ApiLinks { picture_url: image("picture"), background_url: image("background") },
            groups: catalogue.groups,
            labels: catalogue.labels,
            tags: catalogue.tags,
            categories: catalogue.categories,
            cross_id: catalogue.cross_id,
        }
    }
}

fn deployment_state(api: &ManagedApi) -> &'static str {
    let is_deployed = api.record.deployed.as_ref() == Some(&api.record.draft);
    if is_deployed && api.settled { "DEPLOYED" } else { "NEED_REDEPLOY" }
}

fn templates(api: &EventApi) -> BTreeMap<String, BTreeMap<String, TemplateEntity>> {
    let by_type = |(media, template): (&String, &sluice_api::ResponseTemplate)| {
        let entity = TemplateEntity {
            status_code: template.status,
            headers: template.headers.clone(),
            body: template.body.clone(),
        };
        (media.clone(), entity)
    };
    let templates = api.response_templates.iter();
    templates.map(|(key, templates)| (key.clone(), templates.iter().map(by_type).collect())).collect()
}

impl PropertyEntity {
    fn of(property: &Property) -> Self {
        let (value, encrypted) = (&property.value, property.encrypted);
        let value = if encrypted { sluice_api::MASK } else { value.expose() };
        Self { key: property.key.clone(), value: value.to_owned(), encrypted, dynamic: false }
    }
}
