//! A `WebBrokerApi` as an event API: WebSocket and SSE in front of the topics that its channels name.

use serde_json::{Map, Value};
use sluice_api::{ApiChannel, EventApi, Problem, Receiver as ApiReceiver, SlowClients, from_value};
use sluice_policy::Hook;

use super::{
    broker,
    policy::{Group, flow},
    resource::{PolicyGroup, Receiver, WebBrokerApi},
    topics,
};

/// The hooks by their names here and in the model.
pub(super) const HOOKS: [(&str, Hook); 3] =
    [("on_connection_init", Hook::Connect), ("on_produce", Hook::Publish), ("on_consume", Hook::Deliver)];

/// Fills in what the kind has: paths, receivers, broker, channels, flows.
pub(super) fn translate(spec: &WebBrokerApi, api: &mut EventApi, problems: &mut Vec<Problem>) {
    let common = spec.common();
    api.paths = common.paths(common.context);
    for (index, written) in spec.receiver.iter().enumerate() {
        let path = format!("spec.receiver[{index}]");
        match receiver(written, api) {
            Ok(receiver) => api.receivers.push(receiver),
            Err(problem) => problems.push(problem.within(&path)),
        }
    }
    match broker::read(&spec.broker) {
        Ok(broker) => api.brokers.push(broker),
        Err(found) => problems.extend(found.into_iter().map(|problem| problem.within("spec.broker"))),
    }
    // The notation has no word for slow clients, and its messages go out in frames of their own, between which nobody
    // could be told what is missing.
    api.guarantees.slow_clients = Some(SlowClients::Hold);
    let all = &spec.all_channels;
    let all = groups([&all.on_connection_init, &all.on_produce, &all.on_consume]);
    api.flows.extend(flow("spec.allChannels", None, &all, problems));
    for (name, channel) in &spec.channels {
        let topic = |written: &Option<super::resource::TopicRef>| {
            Some(written.as_ref().map_or_else(|| topics::of_channel(name), |written| written.topic.clone()))
        };
        let topics = ApiChannel {
            produce_to: topic(&channel.produce_to),
            consume_from: topic(&channel.consume_from),
            content_url: None,
        };
        api.channels.insert(name.clone(), topics);
        let own = groups([&channel.on_connection_init, &channel.on_produce, &channel.on_consume]);
        api.flows.extend(flow(&format!("spec.channels.{name}"), Some(name), &own, problems));
    }
}

fn groups(groups: [&PolicyGroup; 3]) -> [Group<'_>; 3] {
    let [(one, connect), (two, produce), (three, consume)] = HOOKS;
    let [init, published, delivered] = groups;
    [(one, connect, init), (two, produce, published), (three, consume, delivered)]
}

/// A receiver of the model. Of its properties three have names of their own here; all others are those of the model.
fn receiver(written: &Receiver, api: &mut EventApi) -> Result<ApiReceiver, Problem> {
    let mut properties = written.properties.clone().unwrap_or_default();
    let ping = match &*written.kind {
        "websocket" => {
            // Text stays text, and what came as bytes goes out as bytes.
            properties.entry("frames").or_insert_with(|| "auto".into());
            if let Some(bytes) = properties.remove("maxMessageSize") {
                api.limits.max_body_bytes =
                    from_value(bytes).map_err(|it| it.within("properties.maxMessageSize"))?;
            }
            "pingIntervalMs"
        }
        "sse" => "heartbeatIntervalInMs",
        other => {
            let message = format!("There is no receiver '{other}' for this kind. Known are: websocket, sse.");
            return Err(Problem::new("type", "connector.unknown", message));
        }
    };
    if let Some(interval) = properties.remove("pingInterval") {
        let interval = milliseconds(&interval).ok_or_else(|| {
            let message = "Write seconds as a number, or a time as \"30s\", \"500ms\" or \"2m\".";
            Problem::new("properties.pingInterval", "document.field", message)
        })?;
        set_once(&mut properties, ping, interval)?;
    }
    let qos =
        properties.remove("qos").map(from_value).transpose().map_err(|it| it.within("properties.qos"))?;
    let read = ApiReceiver::parse(&written.kind, qos.unwrap_or_default(), Some(Value::Object(properties)));
    read.map_err(|problem| Problem {
        path: problem.path.replacen("configuration", "properties", 1),
        ..problem
    })
}

fn set_once(properties: &mut Map<String, Value>, name: &str, value: u64) -> Result<(), Problem> {
    match properties.insert(name.to_owned(), value.into()) {
        None => Ok(()),
        Some(_) => {
            let message = format!("This is '{name}' in other words; write one of them.");
            Err(Problem::new("properties.pingInterval", "resource.invalid", message))
        }
    }
}

/// A time: seconds as a number, or a number and its unit.
fn milliseconds(time: &Value) -> Option<u64> {
    if let Some(seconds) = time.as_u64() {
        return seconds.checked_mul(1000);
    }
    let text = time.as_str()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_a_unit() {
        for (time, ms) in [
            (json!(30), Some(30_000)),
            (json!("30s"), Some(30_000)),
            (json!("500ms"), Some(500)),
            (json!("2m"), Some(120_000)),
            (json!("1h"), Some(3_600_000)),
            (json!("30"), None),
            (json!("s"), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!("99999999999999999999s"), None),
            (json!(u64::MAX), None),
        ] {
            assert_eq!(milliseconds(&time), ms, "{time}");
        }
    }
}
