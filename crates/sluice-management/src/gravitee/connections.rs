//! The connections of an API as the contract answers them: listeners with entrypoints, groups with endpoints.
//!
//! Both are made anew from the flat lists of the domain. As a listener has all receivers of its type and a
//! group all brokers of its name, they come out in the order in which they were written.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{Balancing, Broker, Cors, DeadLetter, EventApi, HttpPath, Qos, Receiver};

use super::catalogue::ApiCatalogue;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Listener")]
pub(super) struct ListenerEntity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paths: Vec<HttpPath>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path_mappings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<CorsEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logging: Option<Value>,
    entrypoints: Vec<EntrypointEntity<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Cors")]
struct CorsEntity<'a> {
    enabled: bool,
    allow_credentials: bool,
    allow_origin: &'a [String],
    allow_headers: &'a [String],
    allow_methods: &'a [String],
    expose_headers: &'a [String],
    max_age: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Entrypoint")]
struct EntrypointEntity<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    qos: Qos,
    #[serde(skip_serializing_if = "Option::is_none")]
    dlq: Option<&'a DeadLetter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointGroup")]
pub(super) struct GroupEntity<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<LoadBalancerEntity>,
    endpoints: Vec<EndpointEntity<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LoadBalancer")]
struct LoadBalancerEntity {
    #[serde(rename = "type")]
    kind: Balancing,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Endpoint")]
struct EndpointEntity<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    secondary: bool,
    weight: u32,
    inherit_configuration: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<String>>,
    configuration: Value,
}

/// The type of the listener that a receiver stands in.
pub(super) const fn listener_of(receiver: &Receiver) -> &'static str {
    if receiver.configuration.has_path() { "http" } else { "subscription" }
}

/// The listeners of an API.
pub(super) fn listeners<'a>(api: &'a EventApi, catalogue: &ApiCatalogue) -> Vec<ListenerEntity<'a>> {
    let mut listeners: Vec<ListenerEntity<'a>> = Vec::new();
    for receiver in &api.receivers {
        let (kind, entrypoint) = (listener_of(receiver), entrypoint(receiver, catalogue));
        match listeners.iter_mut().find(|listener| listener.kind == kind) {
            Some(listener) => listener.entrypoints.push(entrypoint),
            None => listeners.push(listener(kind, entrypoint, api, catalogue)),
        }
    }
    listeners
}

fn listener<'a>(
    kind: &'static str,
    first: EntrypointEntity<'a>,
    api: &'a EventApi,
    catalogue: &ApiCatalogue,
) -> ListenerEntity<'a> {
    let entrypoints = vec![first];
    if kind != "http" {
        let (paths, path_mappings) = (Vec::new(), Vec::new());
        return ListenerEntity { kind, paths, path_mappings, cors: None, logging: None, entrypoints };
    }
    let path = |path: &HttpPath| HttpPath { path: path.normalized(), host: path.host.clone() };
    ListenerEntity {
        kind,
        paths: api.paths.iter().map(path).collect(),
        path_mappings: catalogue.path_mappings.clone(),
        cors: api.cors.as_ref().map(cors),
        logging: catalogue.logging.clone(),
        entrypoints,
    }
}

fn cors(cors: &Cors) -> CorsEntity<'_> {
    CorsEntity {
        enabled: true,
        allow_credentials: cors.allow_credentials,
        allow_origin: &cors.allow_origin,
        allow_headers: &cors.allow_headers,
        allow_methods: &cors.allow_methods,
        expose_headers: &cors.expose_headers,
        max_age: cors.max_age.map_or(-1, i64::from),
    }
}

fn entrypoint<'a>(receiver: &'a Receiver, catalogue: &ApiCatalogue) -> EntrypointEntity<'a> {
    let mut configuration = receiver.configuration.to_value();
    if let Some(logging) = catalogue.call_logging.get(&receiver.connector) {
        configuration["logging"] = logging.clone();
    }
    let unconfigured = catalogue.unconfigured.contains(&receiver.connector);
    EntrypointEntity {
        kind: &receiver.connector,
        qos: receiver.qos,
        dlq: receiver.dlq.as_ref(),
        configuration: (!unconfigured).then_some(configuration),
    }
}

/// The endpoint groups of an API.
pub(super) fn groups<'a>(api: &'a EventApi, catalogue: &ApiCatalogue) -> Vec<GroupEntity<'a>> {
    let mut groups: Vec<GroupEntity<'a>> = Vec::new();
    for broker in &api.brokers {
        let endpoint = endpoint(broker, catalogue);
        match groups.iter_mut().find(|group| group.name == broker.group) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(GroupEntity {
                name: &broker.group,
                kind: &broker.connector,
                load_balancer: api
                    .balancing
                    .get(&broker.group)
                    .map(|kind| LoadBalancerEntity { kind: *kind }),
                endpoints: vec![endpoint],
            }),
        }
    }
    groups
}

fn endpoint<'a>(broker: &'a Broker, catalogue: &ApiCatalogue) -> EndpointEntity<'a> {
    EndpointEntity {
        name: &broker.name,
        kind: &broker.connector,
        secondary: broker.secondary,
        weight: broker.weight,
        inherit_configuration: false,
        tenants: catalogue.tenants.get(&broker.name).cloned(),
        configuration: broker.configuration.to_value(),
    }
}
