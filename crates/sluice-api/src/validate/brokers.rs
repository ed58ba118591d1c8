//! The rules of brokers: topics, addresses, credentials.

use std::collections::HashSet;

use super::required;
use crate::{
    AutoOffsetReset, Broker, BrokerConfig, EventApi, Problem, Qos, ReceiverConfig, Side, has_expression,
};

/// Bounds on what a definition may hold. Topic names have room in the file names of the embedded log; Kafka
/// would take nine more characters.
const MAX_BROKERS: usize = 16;
const MAX_TOPICS: usize = 64;
const MAX_TOPIC_LENGTH: usize = 240;
const MAX_GROUP_LENGTH: usize = 128;

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    let Some(first) = api.brokers.first() else {
        problems.push(Problem::new("brokers", "endpoints.count", "A broker is needed."));
        return;
    };
    if api.brokers.len() > MAX_BROKERS {
        let message = format!("At most {MAX_BROKERS} brokers are allowed.");
        problems.push(Problem::new("brokers", "endpoints.count", message));
    }
    check_serving(api, first, problems);
    super::groups::check(api, problems);
    for (index, broker) in api.brokers.iter().enumerate() {
        let path = format!("brokers[{index}]");
        // Those of the first group have the topics of the first.
        if broker.group != first.group {
            super::groups::topics_of_others(&format!("{path}.configuration"), broker, problems);
        }
        check_settings(&path, broker, problems);
        check_group(api, &path, broker, problems);
    }
}

/// The members of a group have no position of their own, so only streams without one can share messages.
fn check_group(api: &EventApi, path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    if broker.configuration.group_id().is_none() {
        return;
    }
    let unfit = api.receivers.iter().find(|receiver| {
        let is_stream =
            matches!(receiver.configuration, ReceiverConfig::Sse(_) | ReceiverConfig::Websocket(_));
        let fits = is_stream && matches!(receiver.qos, Qos::None | Qos::Auto);
        receiver.configuration.delivers() && !fits
    });
    if let Some(receiver) = unfit {
        let message = format!(
            "The receiver '{}' with qos '{}' cannot share the messages of a group: only 'sse' and 'websocket' with \
             'none' or 'auto' can. Leave out the group, or put this receiver into an API of its own.",
            receiver.connector,
            receiver.qos.as_str()
        );
        let path = format!("{path}.configuration.consumer.groupId");
        problems.push(Problem::new(path, "endpoints.configuration.invalid", message));
    }
}

/// Ids are shown in one form only. Asking for the other one is told, not passed over.
fn check_ids(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    if !broker.configuration.encodes_ids() {
        let path = format!("{path}.configuration.consumer.encodeMessageId");
        let message = "Ids and cursors are always encoded in base64; leave it true.";
        problems.push(Problem::new(path, "endpoints.configuration.invalid", message));
    }
}

/// What the receivers need of the broker behind them.
fn check_serving(api: &EventApi, broker: &Broker, problems: &mut Vec<Problem>) {
    let path = "brokers[0].configuration";
    if !api.channels.is_empty() {
        channels_have_the_topics(path, broker, problems);
    } else if api.receivers.iter().any(|receiver| receiver.configuration.publishes()) {
        check_topics(path, Side::Publish, &broker.configuration, problems);
    }
    if api.receivers.iter().any(|receiver| receiver.configuration.delivers()) {
        if api.channels.is_empty() {
            check_topics(path, Side::Deliver, &broker.configuration, problems);
        }
        if broker.configuration.auto_offset_reset() == AutoOffsetReset::None {
            problems.push(Problem::new(
                format!("{path}.consumer.autoOffsetReset"),
                "endpoints.configuration.invalid",
                "'none' refuses every client that brings no position, and receivers of this API take none; use \
                 latest or earliest.",
            ));
        }
    }
}

/// Topics in two places would leave open which of them count.
fn channels_have_the_topics(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    let configuration = &broker.configuration;
    let topics = [configuration.publish_topics(), configuration.deliver_topics()];
    if let BrokerConfig::Mock(_) = configuration {
        let message = "The mock has one topic only; an API with channels needs a broker with several.";
        problems.push(Problem::new(path, "channels.invalid", message));
    } else if topics.iter().flatten().any(|topics| !topics.is_empty()) {
        let message =
            "The channels of this API have the topics (produceTo, consumeFrom); leave them out here.";
        problems.push(Problem::new(format!("{path}.topics"), "channels.invalid", message));
    }
}

fn check_settings(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    required(&format!("{path}.name"), &broker.name, problems);
    check_ids(path, broker, problems);
    // The rest is judged when it has values, as the API is deployed.
    if broker.configuration.waits_for_values() {
        return;
    }
    let found = broker.configuration.problems();
    problems.extend(found.into_iter().map(|problem| problem.within(&format!("{path}.configuration"))));
}

/// Whether a broker can have a topic of this name: 1 to 240 letters, digits, `.`, `_` or `-`, other than `.` and
/// `..`.
pub fn is_topic_name(topic: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_TOPIC_LENGTH).contains(&topic.len())
        && !matches!(topic, "." | "..")
        && topic.bytes().all(allowed)
}

/// Whether clients can share messages under this name: 1 to 128 letters, digits, `.`, `_` or `-`.
pub fn is_group_name(group: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_GROUP_LENGTH).contains(&group.len()) && group.bytes().all(allowed)
}

pub(super) fn check_topics(path: &str, side: Side, broker: &BrokerConfig, problems: &mut Vec<Problem>) {
    let (field, topics) = match side {
        Side::Publish => ("producer", broker.publish_topics()),
        Side::Deliver => ("consumer", broker.deliver_topics()),
    };
    let Some(topics) = topics else {
        let message = format!("A receiver of this API needs the {field}, but it is switched off.");
        problems.push(Problem::new(format!("{path}.{field}.enabled"), "endpoints.mode.disabled", message));
        return;
    };
    if topics.is_empty() || topics.len() > MAX_TOPICS {
        let message = format!("From 1 to {MAX_TOPICS} topics are needed.");
        problems.push(Problem::new(format!("{path}.topics"), "endpoints.configuration.invalid", message));
    }
    let mut seen = HashSet::new();
    for topic in topics {
        let may_be_one = has_expression(topic) || broker.is_topic(topic, side);
        if !may_be_one || !seen.insert(topic) {
            let rule = broker.topic_rule();
            let message = format!("The topic '{topic}' is no topic name ({rule}) or stands there twice.");
            problems.push(Problem::new(format!("{path}.topics"), "endpoints.configuration.invalid", message));
        }
    }
}
