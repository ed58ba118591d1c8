//! The rules of brokers that stand together: names, and what the brokers of one group have in common.

use crate::{Broker, BrokerConfig, EventApi, Problem, Side};

/// A share beyond this says no more than this one does.
const MAX_WEIGHT: u32 = 1000;

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    for (index, broker) in api.brokers.iter().enumerate() {
        let mut found = Vec::new();
        check_name(api, index, broker, &mut found);
        if !(1..=MAX_WEIGHT).contains(&broker.weight) {
            let message = format!("A weight is from 1 to {MAX_WEIGHT}.");
            found.push(Problem::new("weight", "endpoints.weight.invalid", message));
        }
        if let Some((first, leader)) = api.group(&broker.group).next() {
            if first == index {
                only_secondaries(api, broker, &mut found);
            } else {
                check_alike(leader, broker, &mut found);
                is_another(api, index, broker, &mut found);
            }
        }
        problems.extend(found.into_iter().map(|problem| problem.within(&format!("brokers[{index}]"))));
    }
    for group in api.balancing.keys().filter(|group| api.group(group).next().is_none()) {
        let message = format!("There is no group '{group}'.");
        problems.push(Problem::new(format!("balancing.{group}"), "endpoints.loadBalancer.invalid", message));
    }
}

/// A name says one thing: policies and dead letters name brokers and groups alike.
fn check_name(api: &EventApi, index: usize, broker: &Broker, found: &mut Vec<Problem>) {
    let mut refuse = |message: String| found.push(Problem::new("name", "endpoint.name.invalid", message));
    if broker.name.contains(':') {
        refuse("The name of a broker has no ':'.".to_owned());
    }
    if api.brokers[..index].iter().any(|earlier| earlier.name == broker.name) {
        refuse(format!("There is more than one broker '{}'.", broker.name));
    }
    // One that is named like its own group goes before the group.
    if broker.group != broker.name && api.group(&broker.name).next().is_some() {
        refuse(format!("'{}' is the name of a group with other brokers.", broker.name));
    }
}

fn only_secondaries(api: &EventApi, broker: &Broker, found: &mut Vec<Problem>) {
    if api.group(&broker.group).all(|(_, broker)| broker.secondary) {
        let message =
            "A secondary broker stands in for others of its group, and this group has no other ones.";
        found.push(Problem::new("secondary", "endpoints.secondary.invalid", message));
    }
}

/// The brokers of a group are used as one: a message may go to any of them, and is read from all.
fn check_alike(leader: &Broker, broker: &Broker, found: &mut Vec<Problem>) {
    let (one, other) = (&leader.configuration, &broker.configuration);
    if one.kind() != other.kind() {
        let message = format!(
            "The broker is of the type '{}', its group of '{}'; put it in a group of its own.",
            other.kind(),
            one.kind()
        );
        found.push(Problem::new("type", "api.endpointsGroup.type.invalid", message));
        return;
    }
    let unlike = [
        ("topics", one.publish_topics() != other.publish_topics()),
        ("topics", one.deliver_topics() != other.deliver_topics()),
        ("consumer.autoOffsetReset", one.auto_offset_reset() != other.auto_offset_reset()),
        ("consumer.groupId", one.group_id() != other.group_id()),
        ("producer.key", one.key() != other.key()),
    ];
    if let Some((field, _)) = unlike.into_iter().find(|(_, unlike)| *unlike) {
        let message = format!(
            "This must be the same as of '{}': the brokers of a group are used as one. Put it in a group of its \
             own where it is to differ.",
            leader.name
        );
        let path = format!("configuration.{field}");
        found.push(Problem::new(path, "endpoints.configuration.invalid", message));
    }
}

/// A broker that is two of a group would be read twice, and never stand in for itself.
fn is_another(api: &EventApi, index: usize, broker: &Broker, found: &mut Vec<Problem>) {
    let same = |other: &BrokerConfig| match other {
        // It is made anew for each, and has no address.
        BrokerConfig::Mock(_) => *other == broker.configuration,
        _ => other.address() == broker.configuration.address(),
    };
    let twin = api.group(&broker.group).find(|(at, other)| *at < index && same(&other.configuration));
    if let Some((_, twin)) = twin {
        let message = format!("This is the same broker as '{}' of its group.", twin.name);
        found.push(Problem::new("configuration", "endpoints.configuration.invalid", message));
    }
}

/// Whether the names of these topics are any; how many there are is for receivers to need.
pub(super) fn topics_of_others(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    let configuration = &broker.configuration;
    for (side, topics) in
        [(Side::Publish, configuration.publish_topics()), (Side::Deliver, configuration.deliver_topics())]
    {
        if topics.is_some_and(|topics| !topics.is_empty()) {
            super::brokers::check_topics(path, side, configuration, problems);
        }
    }
}
