//! Listeners with their entrypoints: where the API is reached, and its receivers.

use serde::Deserialize;
use serde_json::Value;
use sluice_api::{HttpPath, Problem, Qos, Receiver};

use super::{catalogue::ApiCatalogue, read::unsupported, word};

/// A listener as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listener {
    #[serde(rename = "type")]
    kind: Option<String>,
    paths: Option<Vec<ListenerPath>>,
    entrypoints: Option<Vec<Entrypoint>>,
    path_mappings: Option<Vec<String>>,
    cors: Option<Cors>,
    logging: Option<Logging>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerPath {
    host: Option<String>,
    path: Option<String>,
    override_access: Option<bool>,
}

#[derive(Deserialize)]
struct Entrypoint {
    #[serde(rename = "type")]
    kind: Option<String>,
    qos: Option<String>,
    configuration: Option<Value>,
    dlq: Option<Value>,
}

#[derive(Deserialize)]
struct Cors {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Logging {
    mode: Option<String>,
}

/// Reads the one HTTP listener that an API has.
pub(super) fn read_listeners(
    listeners: Option<Vec<Listener>>,
    catalogue: &mut ApiCatalogue,
    problems: &mut Vec<Problem>,
) -> (Vec<HttpPath>, Vec<Receiver>) {
    let mut read = None;
    for (index, listener) in listeners.unwrap_or_default().into_iter().enumerate() {
        let path = format!("listeners[{index}]");
        match &*word(listener.kind.as_deref().unwrap_or_default()) {
            "http" if read.is_some() => {
                let message = "There is more than one listener of type 'http'.";
                problems.push(Problem::new(format!("{path}.type"), "api.listeners.type.duplicated", message));
            }
            "http" => read = Some(read_listener(listener, &path, catalogue, problems)),
            kind @ ("subscription" | "tcp") => {
                problems.push(unsupported(format!("{path}.type"), &format!("A listener of type '{kind}'")));
            }
            kind => {
                let message = format!("'{kind}' is no type of listener; write 'http'.");
                problems.push(Problem::new(format!("{path}.type"), "listeners.type.invalid", message));
            }
        }
    }
    if read.is_none() && problems.is_empty() {
        problems.push(Problem::new("listeners", "listeners.missing", "At least one listener is needed."));
    }
    read.unwrap_or_default()
}

fn read_listener(
    listener: Listener,
    path: &str,
    catalogue: &mut ApiCatalogue,
    problems: &mut Vec<Problem>,
) -> (Vec<HttpPath>, Vec<Receiver>) {
    if listener.cors.is_some_and(|cors| cors.enabled == Some(true)) {
        problems.push(unsupported(format!("{path}.cors"), "CORS"));
    }
    if listener.logging.and_then(|logging| logging.mode).is_some_and(|mode| word(&mode) != "none") {
        problems.push(unsupported(format!("{path}.logging"), "Logging of requests"));
    }
    catalogue.path_mappings = listener.path_mappings.unwrap_or_default();
    let mut paths = Vec::new();
    for (index, written) in listener.paths.unwrap_or_default().into_iter().enumerate() {
        if written.override_access == Some(true) {
            problems
                .push(unsupported(format!("{path}.paths[{index}].overrideAccess"), "Another access path"));
        }
        let host = written.host.filter(|host| !host.is_empty());
        let written = HttpPath { host, path: written.path.unwrap_or_default() };
        paths.push(HttpPath { path: written.normalized(), ..written });
    }
    if paths.is_empty() {
        let message = "At least one path is needed.";
        problems.push(Problem::new(format!("{path}.paths"), "listeners.http.paths.missing", message));
    }
    let entrypoints = listener.entrypoints.unwrap_or_default();
    if entrypoints.is_empty() {
        let message = "At least one entrypoint is needed, for example http-post or sse.";
        problems.push(Problem::new(format!("{path}.entrypoints"), "listeners.entrypoints.missing", message));
    }
    let mut receivers = Vec::new();
    for (index, entrypoint) in entrypoints.into_iter().enumerate() {
        let path = format!("{path}.entrypoints[{index}]");
        match read_entrypoint(entrypoint) {
            Ok(receiver) => receivers.push(receiver),
            Err(problem) => problems.push(problem.within(&path)),
        }
    }
    (paths, receivers)
}

fn read_entrypoint(entrypoint: Entrypoint) -> Result<Receiver, Problem> {
    if entrypoint.dlq.is_some() {
        return Err(unsupported("dlq", "A dead letter endpoint"));
    }
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
    Receiver::parse(&kind, qos, entrypoint.configuration)
}
