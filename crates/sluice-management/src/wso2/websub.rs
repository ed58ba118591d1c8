//! A `WebSubApi` as an event API: a hub and a webhook receiver, with a topic of its own for each channel.

use std::collections::BTreeMap;

use sluice_api::{
    ApiChannel, Broker, EventApi, Problem, Qos, Receiver, ReceiverConfig, WebhookReceiverConfig, WebsubConfig,
};
use sluice_policy::Hook;

use super::{
    policy::{Group, flow},
    resource::{WebSubApi, WebSubHooks},
    topics,
};

/// The hooks by their names here and in the model.
pub(super) const HOOKS: [(&str, Hook); 4] = [
    ("on_subscription", Hook::Subscribe),
    ("on_unsubscription", Hook::Unsubscribe),
    ("on_message_received", Hook::Publish),
    ("on_message_delivery", Hook::Deliver),
];

/// Fills in what the kind has: paths, receivers, broker, channels, flows.
pub(super) fn translate(spec: &WebSubApi, broker: &Broker, api: &mut EventApi, problems: &mut Vec<Problem>) {
    let common = spec.common();
    api.paths = common.paths(&base_path(common.context, common.version));
    api.receivers = receivers();
    api.brokers = vec![broker.clone()];
    api.channels = channels(spec, &api.id.0);
    api.flows.extend(flow("spec.allChannels", None, &groups(&spec.all_channels), problems));
    for (name, hooks) in &spec.channels {
        let path = format!("spec.channels.{name}");
        api.flows.extend(flow(&path, Some(name), &groups(hooks), problems));
    }
}

/// The hub delivers at least once, in the order of the topic.
fn receivers() -> Vec<Receiver> {
    let receiver = |configuration: ReceiverConfig, qos| Receiver {
        connector: configuration.kind().to_owned(),
        qos,
        dlq: None,
        configuration,
    };
    vec![
        receiver(ReceiverConfig::Websub(Box::<WebsubConfig>::default()), Qos::AtLeastOnce),
        receiver(ReceiverConfig::WebhookReceiver(Box::<WebhookReceiverConfig>::default()), Qos::Auto),
    ]
}

fn channels(spec: &WebSubApi, handle: &str) -> BTreeMap<String, ApiChannel> {
    let version = spec.common().version;
    let channel = |name: &String| {
        let topic = Some(topics::of_hub(handle, version, name));
        (name.clone(), ApiChannel { produce_to: topic.clone(), consume_from: topic, content_url: None })
    };
    spec.channels.keys().map(channel).collect()
}

fn groups(hooks: &WebSubHooks) -> [Group<'_>; 4] {
    let [(one, subscribe), (two, unsubscribe), (three, publish), (four, deliver)] = HOOKS;
    [
        (one, subscribe, &hooks.on_subscription),
        (two, unsubscribe, &hooks.on_unsubscription),
        (three, publish, &hooks.on_message_received),
        (four, deliver, &hooks.on_message_delivery),
    ]
}

/// The context with the version where `$version` stands, or behind it unless it ends with it already.
fn base_path(context: &str, version: &str) -> String {
    if context.contains("$version") {
        return context.replace("$version", version);
    }
    let context = context.trim_end_matches('/');
    if context.ends_with(&format!("/{version}")) {
        context.to_owned()
    } else {
        format!("{context}/{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_the_path_once() {
        for (context, path) in [
            ("/orders", "/orders/v1.0"),
            ("/orders/v1.0", "/orders/v1.0"),
            ("/orders/$version", "/orders/v1.0"),
            ("/$version/orders", "/v1.0/orders"),
            ("/xv1.0", "/xv1.0/v1.0"),
            ("/", "/v1.0"),
        ] {
            assert_eq!(base_path(context, "v1.0"), path);
        }
    }
}
