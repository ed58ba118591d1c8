//! An API as the contract answers it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::{ApiId, Broker, BrokerConfig, Cors, DeadLetter, EventApi, HttpPath, Limits, Property, Receiver};

use super::{flows::FlowEntity, time::Moment, upper};
use crate::{
    ManagedApi, Origin,
    gravitee::{
        catalogue::{ApiCatalogue, LifecycleState, LoadBalancer, Visibility, kept},
        entity::Owner,
    },
};

/// The settings of Kafka that say where it is; the others are those of the second kind.
const KAFKA_CONNECTION: [&str; 1] = ["bootstrapServers"];

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
    flow_execution: FlowExecution,
    flows: Vec<FlowEntity>,
    /// An addition: bounds that the API sets for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
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

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Listener")]
struct ListenerEntity {
    /// `HTTP` or `SUBSCRIPTION`.
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<PathEntity>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path_mappings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<CorsEntity>,
    entrypoints: Vec<EntrypointEntity>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Path")]
struct PathEntity {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    path: String,
    override_access: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Cors")]
struct CorsEntity {
    enabled: bool,
    allow_credentials: bool,
    allow_origin: Vec<String>,
    allow_headers: Vec<String>,
    allow_methods: Vec<String>,
    expose_headers: Vec<String>,
    /// Seconds; -1 where browsers decide.
    max_age: i64,
    run_policies: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Entrypoint")]
struct EntrypointEntity {
    #[serde(rename = "type")]
    kind: String,
    qos: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dlq: Option<DeadLetter>,
    configuration: Value,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointGroup")]
struct GroupEntity {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<LoadBalancerEntity>,
    endpoints: Vec<EndpointEntity>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LoadBalancer")]
struct LoadBalancerEntity {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Endpoint")]
struct EndpointEntity {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    secondary: bool,
    weight: u32,
    inherit_configuration: bool,
    configuration: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_configuration_override: Option<Value>,
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
            flow_execution: FlowExecution { mode: "DEFAULT", match_required: false },
            flows: draft.flows.iter().map(FlowEntity::of).collect(),
            limits: Some(draft.limits.clone()).filter(|limits| *limits != Limits::default()),
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

/// Receivers that clients come to, then those that call their clients.
fn listeners(api: &EventApi, catalogue: &ApiCatalogue) -> Vec<ListenerEntity> {
    let entrypoints = |calls: bool| -> Vec<_> {
        let receivers = api.receivers.iter().filter(|it| it.configuration.calls_clients() == calls);
        receivers.map(EntrypointEntity::of).collect()
    };
    let http = ListenerEntity {
        kind: "HTTP",
        paths: Some(api.paths.iter().map(PathEntity::of).collect()),
        path_mappings: catalogue.path_mappings.clone(),
        cors: api.cors.as_ref().map(CorsEntity::of),
        entrypoints: entrypoints(false),
    };
    let subscription = ListenerEntity {
        kind: "SUBSCRIPTION",
        paths: None,
        path_mappings: Vec::new(),
        cors: None,
        entrypoints: entrypoints(true),
    };
    [http, subscription].into_iter().filter(|listener| !listener.entrypoints.is_empty()).collect()
}

impl PathEntity {
    fn of(path: &HttpPath) -> Self {
        Self { host: path.host.clone(), path: path.normalized(), override_access: false }
    }
}

impl CorsEntity {
    fn of(cors: &Cors) -> Self {
        Self {
            enabled: true,
            allow_credentials: cors.allow_credentials,
            allow_origin: cors.allow_origin.clone(),
            allow_headers: cors.allow_headers.clone(),
            allow_methods: cors.allow_methods.clone(),
            expose_headers: cors.expose_headers.clone(),
            max_age: cors.max_age.map_or(-1, i64::from),
            run_policies: false,
        }
    }
}

impl EntrypointEntity {
    fn of(receiver: &Receiver) -> Self {
        Self {
            kind: receiver.connector.clone(),
            qos: upper(receiver.qos.as_str()),
            dlq: receiver.dlq.clone(),
            configuration: receiver.configuration.to_value(),
        }
    }
}

impl LoadBalancerEntity {
    fn of(balancer: LoadBalancer) -> Self {
        let kind = serde_json::to_value(balancer.kind).unwrap_or_default();
        Self { kind: upper(kind.as_str().unwrap_or_default()) }
    }
}

/// Brokers of one group stand together, at the place of the first.
fn groups(api: &EventApi, catalogue: &ApiCatalogue) -> Vec<GroupEntity> {
    let mut groups: Vec<GroupEntity> = Vec::new();
    for broker in &api.brokers {
        let endpoint = EndpointEntity::of(broker);
        if let Some(group) = groups.iter_mut().find(|group| group.name == broker.group) {
            group.endpoints.push(endpoint);
            continue;
        }
        let load_balancer = catalogue.load_balancer.map(LoadBalancerEntity::of);
        groups.push(GroupEntity {
            name: broker.group.clone(),
            kind: broker.connector.clone(),
            load_balancer,
            endpoints: vec![endpoint],
        });
    }
    groups
}

impl EndpointEntity {
    fn of(broker: &Broker) -> Self {
        let (configuration, shared) = split(&broker.configuration);
        Self {
            name: broker.name.clone(),
            kind: broker.connector.clone(),
            secondary: false,
            weight: broker.weight,
            inherit_configuration: false,
            configuration,
            shared_configuration_override: shared,
        }
    }
}

/// This contract keeps apart where a broker is, and how it is used.
fn split(configuration: &BrokerConfig) -> (Value, Option<Value>) {
    let value = configuration.to_value();
    match (configuration, value) {
        (BrokerConfig::Kafka(_), Value::Object(settings)) => {
            let is_connection = |name: &str| KAFKA_CONNECTION.contains(&name);
            let (connection, shared): (Map<_, _>, Map<_, _>) =
                settings.into_iter().partition(|(name, _)| is_connection(name));
            (Value::Object(connection), Some(Value::Object(shared)))
        }
        (_, value) => (value, None),
    }
}
