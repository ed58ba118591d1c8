//! The rules that every event API obeys, whichever way it came in.

mod answers;
mod brokers;
mod callback;
mod channels;
mod groups;
mod receivers;
#[cfg(test)]
mod tests;

pub use brokers::{is_group_name, is_topic_name};
pub(crate) use receivers::is_token;

use crate::{EventApi, HttpPath, Limits, Problem};

/// Bounds on what a definition may hold, so that no definition is a load by itself.
const MAX_PATHS: usize = 64;
const MAX_PATH_LENGTH: usize = 1024;
const MAX_FLOWS: usize = 64;
const MAX_STEPS: usize = 64;
const MAX_PROPERTIES: usize = 256;

impl HttpPath {
    /// Every rule that these paths of one API break. What depends on other APIs is judged where those are known.
    pub fn problems(paths: &[Self]) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_paths(paths, true, &mut problems);
        problems
    }
}

impl EventApi {
    /// Every rule that this definition breaks; nothing when it may be deployed. What depends on other APIs
    /// (a path already taken) or on the policies at hand is judged where those are known.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_id("id", &self.id.0, &mut problems);
        required("name", &self.name, &mut problems);
        required("version", &self.version, &mut problems);
        let comes_by_path = |receiver: &crate::Receiver| receiver.configuration.has_path();
        check_paths(&self.paths, self.receivers.iter().any(comes_by_path), &mut problems);
        receivers::check(self, &mut problems);
        brokers::check(self, &mut problems);
        channels::check(self, &mut problems);
        self.check_flows(&mut problems);
        for (index, plan) in self.plans.iter().enumerate() {
            check_id(&format!("plans[{index}].id"), &plan.id.0, &mut problems);
            required(&format!("plans[{index}].name"), &plan.name, &mut problems);
        }
        self.check_properties(&mut problems);
        answers::check(self, &mut problems);
        if !(1..=Limits::MAX_BODY_BYTES).contains(&self.limits.max_body_bytes) {
            let message = format!("Must be from 1 to {} bytes.", Limits::MAX_BODY_BYTES);
            problems.push(Problem::new("limits.maxBodyBytes", "limits.range", message));
        }
        if !(1..=Limits::MAX_CLIENT_CONNECTIONS).contains(&self.limits.client_connections) {
            let message = format!("Must be from 1 to {}.", Limits::MAX_CLIENT_CONNECTIONS);
            problems.push(Problem::new("limits.clientConnections", "limits.range", message));
        }
        let guarantees = self.guarantees.problems();
        problems.extend(guarantees.into_iter().map(|problem| problem.within("guarantees")));
        problems
    }

    /// The promises of receivers that cannot be kept with the API's broker. Not part of [`validate`](Self::validate):
    /// one dialect takes such a definition, and answers each request with an error.
    pub fn unkept_promises(&self) -> Vec<Problem> {
        receivers::unkept(self)
    }

    fn check_flows(&self, problems: &mut Vec<Problem>) {
        let own = std::iter::once((String::new(), &self.flows));
        let plans = self.plans.iter().enumerate();
        let plans = plans.map(|(index, plan)| (format!("plans[{index}]."), &plan.flows));
        for (prefix, flows) in own.chain(plans) {
            if flows.len() > MAX_FLOWS {
                let message = format!("At most {MAX_FLOWS} flows are allowed.");
                problems.push(Problem::new(format!("{prefix}flows"), "flows.count", message));
            }
            for (index, flow) in flows.iter().enumerate() {
                let hooks = [
                    &flow.connect,
                    &flow.respond,
                    &flow.subscribe,
                    &flow.unsubscribe,
                    &flow.publish,
                    &flow.deliver,
                ];
                if hooks.iter().any(|steps| steps.len() > MAX_STEPS) {
                    let message = format!("At most {MAX_STEPS} policies are allowed at each hook.");
                    problems.push(Problem::new(format!("{prefix}flows[{index}]"), "flows.count", message));
                }
            }
        }
    }

    fn check_properties(&self, problems: &mut Vec<Problem>) {
        if self.properties.len() > MAX_PROPERTIES {
            let message = format!("At most {MAX_PROPERTIES} properties are allowed.");
            problems.push(Problem::new("properties", "properties.invalid", message));
        }
        for (index, property) in self.properties.iter().enumerate() {
            let path = format!("properties[{index}].key");
            required(&path, &property.key, problems);
            if self.properties[..index].iter().any(|earlier| earlier.key == property.key) {
                let message = format!("There is more than one property '{}'.", property.key);
                problems.push(Problem::new(path, "properties.invalid", message));
            }
        }
    }
}

fn required(path: &str, text: &str, problems: &mut Vec<Problem>) {
    if text.trim().is_empty() {
        problems.push(Problem::new(path, "field.required", "Must not be empty."));
    }
}

fn check_id(path: &str, id: &str, problems: &mut Vec<Problem>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        let message =
            "An id has 1 to 64 letters, digits, '-', '_' or '.'; give the id or a name it can be made from.";
        problems.push(Problem::new(path, "id.invalid", message));
    }
}

fn check_paths(paths: &[HttpPath], needed: bool, problems: &mut Vec<Problem>) {
    if (needed && paths.is_empty()) || paths.len() > MAX_PATHS {
        let message = format!("From 1 to {MAX_PATHS} paths are needed.");
        problems.push(Problem::new("paths", "listeners.http.paths.missing", message));
    }
    for (index, path) in paths.iter().enumerate() {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\');
        let bad_segment = path.path.split('/').any(|segment| matches!(segment, "." | ".."));
        if !path.path.starts_with('/')
            || path.path.len() > MAX_PATH_LENGTH
            || !path.path.bytes().all(allowed)
            || bad_segment
        {
            let message = format!(
                "A path begins with '/', has at most {MAX_PATH_LENGTH} visible ASCII characters without ?, #, \
                 %, \\ and no segment '.' or '..'."
            );
            problems.push(Problem::new(format!("paths[{index}].path"), "path.invalid", message));
        }
        if path.host.as_deref().is_some_and(|host| !is_host(host)) {
            let message = "A host has letters, digits, '-' and '.', without a port.";
            problems.push(Problem::new(format!("paths[{index}].host"), "path.host.invalid", message));
        }
        if paths[..index].iter().any(|earlier| earlier.conflicts_with(path)) {
            let message = format!("The path [{}] is already covered by another path of this API.", path.path);
            problems.push(Problem::new(
                format!("paths[{index}].path"),
                "api.listener.paths.path.exists",
                message,
            ));
        }
    }
}

fn is_host(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
}
