//! Listeners with their entrypoints: where the API is reached, and its receivers. One of type `http` for those
//! that clients come to, one of type `subscription` for those that call their clients.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_api::{
    BrokerConfig, Cors, DeadLetter, HttpPath, LogConfig, Problem, Qos, Receiver, ReceiverConfig, from_value,
};

use super::{catalogue::ApiCatalogue, read::unsupported, word};

/// A listener as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewListener")]
pub(super) struct Listener {
    #[serde(rename = "type")]
    kind: Option<String>,
    paths: Option<Vec<ListenerPath>>,
    entrypoints: Option<Vec<Entrypoint>>,
    path_mappings: Option<Vec<String>>,
    cors: Option<WrittenCors>,
    logging: Option<Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewPath")]
struct ListenerPath {
    host: Option<String>,
    path: Option<String>,
    override_access: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewEntrypoint")]
struct Entrypoint {
    #[serde(rename = "type")]
    kind: Option<String>,
    qos: Option<String>,
    configuration: Option<Value>,
    dlq: Option<Dlq>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewDeadLetter")]
struct Dlq {
    endpoint: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewCors")]
struct WrittenCors {
    enabled: Option<bool>,
    allow_credentials: Option<bool>,
    allow_origin: Option<Vec<String>>,
    allow_headers: Option<Vec<String>>,
    allow_methods: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<i64>,
    run_policies: Option<bool>,
}

/// What listeners say about an API.
#[derive(Default)]
pub(super) struct Reached {
    pub(super) paths: Vec<HttpPath>,
    pub(super) cors: Option<Cors>,
    pub(super) receivers: Vec<Receiver>,
}

/// Reads the listeners of an API, one of each type.
pub(super) fn read_listeners(
    listeners: Option<Vec<Listener>>,
    catalogue: &mut ApiCatalogue,
    problems: &mut Vec<Problem>,
) -> Reached {
    let mut reached = Reached::default();
    let mut kinds = Vec::new();
    for (index, listener) in listeners.unwrap_or_default().into_iter().enumerate() {
        let path = format!("listeners[{index}]");
        let kind = word(listener.kind.as_deref().unwrap_or_default());
        if kinds.contains(&kind) {
            let message = format!("There is more than one listener of type '{kind}'.");
            problems.push(Problem::new(format!("{path}.type"), "api.listeners.type.duplicated", message));
            continue;
        }
        match &*kind {
            "http" => read_http(&listener, &path, catalogue, &mut reached, problems),
            "subscription" => {}
            "tcp" => problems.push(unsupported(format!("{path}.type"), "A listener of type 'tcp'")),
            _ => {
                let message = format!("'{kind}' is no type of listener; write 'http' or 'subscription'.");
                problems.push(Problem::new(format!("{path}.type"), "listeners.type.invalid", message));
            }
        }
        if matches!(&*kind, "http" | "subscription") {
            let calls_clients = kind == "subscription";
            let entrypoints = listener.entrypoints.unwrap_or_default();
            let found = read_entrypoints(entrypoints, calls_clients, &path, catalogue, problems);
            reached.receivers.extend(found);
        }
        kinds.push(kind);
    }
    if kinds.is_empty() && problems.is_empty() {
        problems.push(Problem::new("listeners", "listeners.missing", "At least one listener is needed."));
    }
    reached
}

fn read_http(
    listener: &Listener,
    path: &str,
    catalogue: &mut ApiCatalogue,
    reached: &mut Reached,
    problems: &mut Vec<Problem>,
) {
    match listener.cors.as_ref().filter(|cors| cors.enabled == Some(true)).map(read_cors) {
        Some(Ok(cors)) => reached.cors = Some(cors),
        Some(Err(problem)) => problems.push(problem.within(&format!("{path}.cors"))),
        None => {}
    }
    catalogue.path_mappings = listener.path_mappings.clone().unwrap_or_default();
    catalogue.logging = listener.logging.clone().filter(|logging| !logging.is_null());
    for (index, written) in listener.paths.iter().flatten().enumerate() {
        if written.override_access == Some(true) {
            problems
                .push(unsupported(format!("{path}.paths[{index}].overrideAccess"), "Another access path"));
        }
        let host = written.host.clone().filter(|host| !host.is_empty());
        let written = HttpPath { host, path: written.path.clone().unwrap_or_default() };
        reached.paths.push(HttpPath { path: written.normalized(), ..written });
    }
    if reached.paths.is_empty() {
        let message = "At least one path is needed.";
        problems.push(Problem::new(format!("{path}.paths"), "listeners.http.paths.missing", message));
    }
}

fn read_cors(written: &WrittenCors) -> Result<Cors, Problem> {
    if written.run_policies == Some(true) {
        return Err(unsupported("runPolicies", "Policies on the question of a browser"));
    }
    // Names of headers have no case; the contract shows them in small letters.
    let small = |names: &Option<Vec<String>>| -> Vec<String> {
        names.iter().flatten().map(|name| name.to_ascii_lowercase()).collect()
    };
    let max_age = written.max_age.filter(|seconds| *seconds >= 0);
    let mut fields = json!({
        "allowOrigin": written.allow_origin.as_deref().unwrap_or_default(),
        "allowHeaders": small(&written.allow_headers),
        "exposeHeaders": small(&written.expose_headers),
        "allowCredentials": written.allow_credentials.unwrap_or_default(),
        "maxAge": max_age,
    });
    if let Some(methods) = &written.allow_methods {
        fields["allowMethods"] = methods.iter().map(|method| method.to_ascii_uppercase()).collect();
    }
    from_value(fields)
}

fn read_entrypoints(
    entrypoints: Vec<Entrypoint>,
    calls_clients: bool,
    path: &str,
    catalogue: &mut ApiCatalogue,
    problems: &mut Vec<Problem>,
) -> Vec<Receiver> {
    if entrypoints.is_empty() {
        let message = "At least one entrypoint is needed, for example http-post, sse or webhook.";
        problems.push(Problem::new(format!("{path}.entrypoints"), "listeners.entrypoints.missing", message));
    }
    let mut receivers = Vec::new();
    for (index, entrypoint) in entrypoints.into_iter().enumerate() {
        match read_entrypoint(entrypoint, calls_clients, catalogue) {
            Ok(receiver) => receivers.push(receiver),
            Err(problem) => problems.push(problem.within(&format!("{path}.entrypoints[{index}]"))),
        }
    }
    receivers
}

fn read_entrypoint(
    entrypoint: Entrypoint,
    calls_clients: bool,
    catalogue: &mut ApiCatalogue,
) -> Result<Receiver, Problem> {
    let kind = entrypoint.kind.ok_or_else(|| {
        Problem::new("type", "listeners.entrypoints.type.missing", "Name the type, for example http-post.")
    })?;
    let qos = match entrypoint.qos.as_deref().map(word).as_deref() {
        None | Some("auto") => Qos::Auto,
        Some("none") => Qos::None,
        Some("at-most-once") => Qos::AtMostOnce,
        Some("at-least-once") => Qos::AtLeastOnce,
        Some(other) => {
            let message = format!("'{other}' is none of none, auto, at-most-once, at-least-once.");
            return Err(Problem::new("qos", "listeners.entrypoints.qos.invalid", message));
        }
    };
    let mut configuration = entrypoint.configuration.filter(|settings| !settings.is_null());
    match &mut configuration {
        Some(Value::Object(settings)) => {
            read_numbers(settings);
            if let Some(logging) = settings.remove("logging").filter(|_| calls_clients) {
                catalogue.call_logging.insert(kind.clone(), logging);
            }
        }
        Some(_) => {}
        None => catalogue.unconfigured.push(kind.clone()),
    }
    let receiver = Receiver::parse(&kind, qos, configuration)?;
    let levels = levels(&receiver.configuration);
    if !levels.contains(&qos) {
        let levels: Vec<_> = levels.iter().map(|qos| qos.as_str()).collect();
        let message = format!("The entrypoint '{kind}' offers qos {}.", levels.join(", "));
        return Err(Problem::new("qos", "listeners.entrypoints.qos.unsupported", message));
    }
    if receiver.configuration.has_path() == calls_clients {
        let right = if calls_clients { "http" } else { "subscription" };
        let message = format!("The entrypoint '{kind}' belongs to a listener of type '{right}'.");
        return Err(Problem::new("type", "listeners.entrypoints.type.invalid", message));
    }
    let dlq = match entrypoint.dlq.map(|dlq| dlq.endpoint.unwrap_or_default()) {
        Some(endpoint) if endpoint.trim().is_empty() => {
            let message = "Name the endpoint that takes what a subscriber does not take.";
            return Err(Problem::new("dlq.endpoint", "field.required", message));
        }
        endpoint => endpoint.map(|endpoint| DeadLetter { endpoint }),
    };
    Ok(Receiver { dlq, ..receiver })
}

/// The levels of delivery that an entrypoint can be given. What the API's broker can keep of them is asked for each
/// request, as the contract has it. The contract knows no more than acknowledgements for publishers.
pub(super) fn levels(receiver: &ReceiverConfig) -> &'static [Qos] {
    match receiver {
        ReceiverConfig::HttpPost(_) => &[Qos::None, Qos::Auto],
        other => other.offered_qos(&BrokerConfig::Log(LogConfig::default())),
    }
}

/// Clients of this contract write a number of milliseconds as a number or as text.
fn read_numbers(settings: &mut Map<String, Value>) {
    for (_, value) in settings.iter_mut().filter(|(name, _)| name.ends_with("Ms")) {
        if let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
            *value = number.into();
        }
    }
}
