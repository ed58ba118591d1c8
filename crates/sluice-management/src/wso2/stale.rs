//! Shapes of resources that stand in older documents and examples. Each is known here, so that whoever writes one is told
//! what to write instead: passed over, it would be an API without its policies.

use serde_json::{Map, Value};
use sluice_api::Problem;

use super::resource::{API_VERSION, Kind};

const HOOK: &str = "<hook>: {policies: [{name, version, params}]}";

/// What of a resource has a shape that is not read any more, or is of another kind.
pub(super) fn problems(resource: &Value, kind: Kind) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    let Some(fields) = resource.as_object() else {
        found.say("", "A resource is an object with apiVersion, kind, metadata and spec.");
        return found.0;
    };
    if fields.get("channels").is_some_and(Value::is_array) && !fields.contains_key("spec") {
        let message = "A list of channels is the notation of static files; write one resource for each API, with \
                       apiVersion, kind, metadata and spec.";
        found.say("channels", message);
        return found.0;
    }
    head(fields, kind, &mut found);
    if let Some(spec) = fields.get("spec").and_then(Value::as_object) {
        self::spec(spec, kind, &mut found);
    }
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn say(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, "resource.shape.stale", message));
    }
}

fn head(fields: &Map<String, Value>, kind: Kind, found: &mut Found) {
    match fields.get("apiVersion").and_then(Value::as_str) {
        Some(API_VERSION) | None => {}
        Some(other) => found.say("apiVersion", format!("'{other}' is not served; write {API_VERSION}.")),
    }
    match fields.get("kind").and_then(Value::as_str) {
        Some(named) if named != kind.as_str() => {
            found.say("kind", format!("This is the place of kind {}, not of '{named}'.", kind.as_str()));
        }
        _ => {}
    }
}

fn spec(spec: &Map<String, Value>, kind: Kind, found: &mut Found) {
    let built_in = "The hub and the webhook receiver of a WebSubApi are always there; leave it out.";
    for field in spec.keys() {
        let message = match (&**field, kind) {
            ("policies", _) => {
                format!("Policies stand at hooks: spec.allChannels.{HOOK}, or spec.channels.<channel>.{HOOK}.")
            }
            ("allChannelPolicies", _) => format!("Write spec.allChannels.{HOOK}."),
            ("channelPolicies", _) => format!("Write spec.channels.<channel>.{HOOK}."),
            ("broker-driver" | "brokerDriver", Kind::WebBrokerApi) => {
                "Write spec.broker: {name, type, properties}.".to_owned()
            }
            ("broker-driver" | "brokerDriver" | "broker", Kind::WebSubApi) => {
                "The topics of a WebSubApi are at the gateway's own broker; leave it out, or write a WebBrokerApi."
                    .to_owned()
            }
            ("hub" | "receiver" | "delivery", Kind::WebSubApi) => built_in.to_owned(),
            ("hub" | "delivery", Kind::WebBrokerApi) => {
                "A WebBrokerApi has no hub; write a WebSubApi for that.".to_owned()
            }
            ("subscribe" | "unsubscribe" | "inbound" | "outbound", _) => directions(kind),
            _ => continue,
        };
        found.say(format!("spec.{field}"), message);
    }
    if let Some(all) = spec.get("allChannels").and_then(Value::as_object) {
        hooks(all, "spec.allChannels", kind, found);
    }
    match spec.get("channels") {
        Some(Value::Array(_)) => {
            let message =
                "Channels are a map: the name of each, then its hooks; {} for a channel without policies.";
            found.say("spec.channels", message);
        }
        Some(Value::Object(channels)) => {
            for (name, channel) in channels {
                let Some(fields) = channel.as_object() else { continue };
                hooks(fields, &format!("spec.channels.{name}"), kind, found);
            }
        }
        _ => {}
    }
}

/// Which hooks are meant by the directions of static files.
fn directions(kind: Kind) -> String {
    match kind {
        Kind::WebSubApi => {
            "Directions are called on_subscription, on_unsubscription, on_message_received and \
                            on_message_delivery now, each with {policies: […]}."
        }
        Kind::WebBrokerApi => {
            "Directions are called on_connection_init, on_produce and on_consume now, each with \
                               {policies: […]}."
        }
    }
    .to_owned()
}

/// The fields of `allChannels` or of a channel.
fn hooks(fields: &Map<String, Value>, path: &str, kind: Kind, found: &mut Found) {
    for (field, value) in fields {
        let at = format!("{path}.{field}");
        match &**field {
            "policies" => found.say(at, format!("Policies stand at hooks: {path}.{HOOK}.")),
            "produce_to" => found.say(at, "Write produceTo: {topic: name}."),
            "consume_from" => found.say(at, "Write consumeFrom: {topic: name}."),
            "subscribe" | "unsubscribe" | "inbound" | "outbound" => found.say(at, directions(kind)),
            "method" | "name" => {
                found.say(at, "A channel is named by its key in spec.channels and has no method.");
            }
            hook if hook.starts_with("on_") => group(value, &at, found),
            _ => {}
        }
    }
}

/// What stands at a hook.
fn group(value: &Value, path: &str, found: &mut Found) {
    match value {
        Value::Array(_) => found.say(path, "Put the list under 'policies': {policies: […]}."),
        Value::Object(group) => {
            for direction in ["request", "response"].into_iter().filter(|it| group.contains_key(*it)) {
                let message = "A hook has one list, 'policies'; there is no request and no response.";
                found.say(format!("{path}.{direction}"), message);
            }
            let policies = group.get("policies").and_then(Value::as_array);
            for (index, policy) in policies.into_iter().flatten().enumerate() {
                if policy.get("name").and_then(Value::as_str) == Some("map-topic") {
                    let message =
                        "There is no policy for topics; write produceTo and consumeFrom at the channel.";
                    found.say(format!("{path}.policies[{index}].name"), message);
                }
            }
        }
        _ => {}
    }
}
