//! The connections of an API as the contract answers them: listeners with entrypoints, groups with endpoints, in
//! the order in which they were written.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::{Balancing, Broker, Cors, DeadLetter, EventApi, HttpPath, Receiver};

use super::upper;
use crate::gravitee::{catalogue::ApiCatalogue, connections::listener_of};

/// The settings of each kind of broker that say where it is; the others say how it is used. Those of other kinds are
/// not kept apart.
const CONNECTIONS: [(&str, &[&str]); 5] = [
    ("kafka", &["bootstrapServers"]),
    ("mqtt5", &["serverHost", "serverPort"]),
    ("solace", &["url", "vpnName"]),
    ("amqp", &["url"]),
    ("rabbitmq", &["serverHost", "serverPort", "virtualHost"]),
];

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Listener")]
pub(super) struct ListenerEntity {
    /// `HTTP` or `SUBSCRIPTION`.
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<PathEntity>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path_mappings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<CorsEntity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logging: Option<Value>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointGroup")]
pub(super) struct GroupEntity {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<LoadBalancerEntity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_configuration: Option<Value>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<String>>,
    configuration: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_configuration_override: Option<Value>,
}

/// The listeners of an API.
pub(super) fn listeners(api: &EventApi, catalogue: &ApiCatalogue) -> Vec<ListenerEntity> {
    let mut listeners: Vec<ListenerEntity> = Vec::new();
    for receiver in &api.receivers {
        let (kind, entrypoint) = (upper(listener_of(receiver)), EntrypointEntity::of(receiver, catalogue));
        match listeners.iter_mut().find(|listener| listener.kind == kind) {
            Some(listener) => listener.entrypoints.push(entrypoint),
            None => listeners.push(ListenerEntity::of(kind, entrypoint, api, catalogue)),
        }
    }
    listeners
}

impl ListenerEntity {
    fn of(kind: String, first: EntrypointEntity, api: &EventApi, catalogue: &ApiCatalogue) -> Self {
        let http = kind == "HTTP";
        Self {
            paths: http.then(|| api.paths.iter().map(PathEntity::of).collect()),
            path_mappings: if http { catalogue.path_mappings.clone() } else { Vec::new() },
            cors: api.cors.as_ref().filter(|_| http).map(CorsEntity::of),
            logging: catalogue.logging.clone().filter(|_| http),
            entrypoints: vec![first],
            kind,
        }
    }
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
    fn of(receiver: &Receiver, catalogue: &ApiCatalogue) -> Self {
        let mut configuration = receiver.configuration.to_value();
        if let Some(logging) = catalogue.call_logging.get(&receiver.connector) {
            configuration["logging"] = logging.clone();
        }
        let unconfigured = catalogue.unconfigured.contains(&receiver.connector);
        Self {
            kind: receiver.connector.clone(),
            qos: upper(receiver.qos.as_str()),
            dlq: receiver.dlq.clone(),
            configuration: (!unconfigured).then_some(configuration),
        }
    }
}

impl LoadBalancerEntity {
    fn of(balancing: Balancing) -> Self {
        Self { kind: upper(balancing.as_str()) }
    }
}

/// The endpoint groups of an API.
pub(super) fn groups(api: &EventApi, catalogue: &ApiCatalogue) -> Vec<GroupEntity> {
    let mut groups: Vec<GroupEntity> = Vec::new();
    for broker in &api.brokers {
        let endpoint = EndpointEntity::of(broker, catalogue);
        match groups.iter_mut().find(|group| group.name == broker.group) {
            Some(group) => group.add(endpoint),
            None => {
                let mut group = GroupEntity {
                    name: broker.group.clone(),
                    kind: broker.connector.clone(),
                    load_balancer: api.balancing.get(&broker.group).copied().map(LoadBalancerEntity::of),
                    shared_configuration: None,
                    endpoints: Vec::new(),
                };
                group.add(endpoint);
                groups.push(group);
            }
        }
    }
    groups
}

impl GroupEntity {
    /// Adds an endpoint. What the first that was written with the settings of its group has is what the group shares.
    fn add(&mut self, mut endpoint: EndpointEntity) {
        if endpoint.inherit_configuration {
            let own = endpoint.shared_configuration_override.take();
            let shared = self.shared_configuration.get_or_insert_with(|| own.clone().unwrap_or_default());
            if own.as_ref() != Some(shared) {
                endpoint.inherit_configuration = false;
                endpoint.shared_configuration_override = own;
            }
        }
        self.endpoints.push(endpoint);
    }
}

impl EndpointEntity {
    fn of(broker: &Broker, catalogue: &ApiCatalogue) -> Self {
        let (configuration, shared) = split(broker);
        Self {
            name: broker.name.clone(),
            kind: broker.connector.clone(),
            secondary: broker.secondary,
            weight: broker.weight,
            inherit_configuration: shared.is_some() && catalogue.inheriting.contains(&broker.name),
            tenants: catalogue.tenants.get(&broker.name).cloned(),
            configuration,
            shared_configuration_override: shared,
        }
    }
}

/// This contract keeps apart where a broker is, and how it is used.
fn split(broker: &Broker) -> (Value, Option<Value>) {
    let kind = broker.configuration.kind();
    let connection = CONNECTIONS.iter().find(|(of, _)| *of == kind);
    match (connection, broker.configuration.to_value()) {
        (Some((_, names)), Value::Object(settings)) => {
            let is_connection = |name: &str| names.contains(&name);
            let (connection, shared): (Map<_, _>, Map<_, _>) =
                settings.into_iter().partition(|(name, _)| is_connection(name));
            (Value::Object(connection), Some(Value::Object(shared)))
        }
        (_, value) => (value, None),
    }
}
