//! What attributes and evaluated topics can do to each kind of broker: the one table of it. Which topic results from
//! them is found out in `topics`.

use sluice_api::{BrokerConfig, client_settings, is_topic_name};

/// What stands before the kind and the setting, as in `gravitee.attribute.kafka.topics`.
const FORMS: [&str; 2] = ["gravitee.attribute.", "gravitee.attributes.endpoint."];

/// The settings of one kind of broker whose place an attribute can take.
struct Steered {
    kind: &'static str,
    /// Where messages go.
    publish: &'static [&'static str],
    /// Where they come from.
    deliver: &'static [&'static str],
    /// Their record keys.
    key: &'static [&'static str],
    /// Where whoever gets them is to answer.
    response: &'static [&'static str],
    /// The group that a client is a member of.
    group: &'static [&'static str],
}

/// What most kinds have in common; each has a kind of its own.
const COMMON: Steered = Steered {
    kind: "",
    publish: &["producer.topics", "topics"],
    deliver: &["consumer.topics", "topics"],
    key: &[],
    response: &[],
    group: &["groupId", "consumer.groupId"],
};

/// A name in the plural takes several topics, as a list or separated by commas; any other takes one.
const STEERED: [Steered; 7] = [
    Steered { kind: "kafka", key: &["recordKey", "producer.key"], ..COMMON },
    Steered { kind: "log", key: &["recordKey", "producer.key"], ..COMMON },
    Steered {
        kind: "mqtt5",
        publish: &["producer.topic", "producer.topics", "topic", "topics"],
        deliver: &["consumer.topic", "consumer.topics", "topic", "topics"],
        response: &["responseTopic", "producer.responseTopic"],
        group: &["groupId", "consumer.groupId", "clientId"],
        ..COMMON
    },
    Steered { kind: "solace", ..COMMON },
    Steered { kind: "amqp", ..COMMON },
    Steered {
        kind: "rabbitmq",
        publish: &["producer.routingKey", "routingKey"],
        deliver: &["consumer.routingKey", "routingKey"],
        ..COMMON
    },
    Steered { kind: "mock", group: &[], ..COMMON },
];

/// The names of the attributes that steer a broker, those that count most first.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) publish: Vec<String>,
    pub(crate) deliver: Vec<String>,
    pub(crate) key: Vec<String>,
    pub(crate) response: Vec<String>,
    pub(crate) group: Vec<String>,
}

impl Names {
    pub(crate) fn of(broker: &BrokerConfig) -> Self {
        let kind = broker.kind();
        let steered = STEERED.iter().find(|steered| steered.kind == kind);
        let names = |settings: fn(&Steered) -> &'static [&'static str]| {
            let settings = steered.map(settings).unwrap_or_default();
            let of_form = |form| settings.iter().map(move |setting| format!("{form}{kind}.{setting}"));
            FORMS.iter().flat_map(of_form).collect()
        };
        Self {
            publish: names(|steered| steered.publish),
            deliver: names(|steered| steered.deliver),
            key: names(|steered| steered.key),
            response: names(|steered| steered.response),
            group: names(|steered| steered.group),
        }
    }
}

/// The one name that stands for a setting of both directions.
const OF_BOTH_DIRECTIONS: (&str, &str, [&str; 2]) =
    ("rabbitmq", "exchange", ["producer.exchange.name", "consumer.exchange.name"]);

/// The names of the attributes that choose a setting of a client's own connection.
pub(crate) fn setting_names(kind: &str, setting: &str) -> Vec<String> {
    let (of, short, settings) = OF_BOTH_DIRECTIONS;
    if !is_chosen_by_attribute(setting) {
        return Vec::new();
    }
    let short = (kind == of && settings.contains(&setting)).then_some(short);
    let named = |setting: &str| FORMS.map(|form| format!("{form}{kind}.{setting}"));
    std::iter::once(setting).chain(short).flat_map(named).collect()
}

/// Whether an attribute chooses a setting of a client's own connection.
pub(crate) fn chooses_setting(name: &str) -> bool {
    let steers = FORMS.iter().find_map(|form| name.strip_prefix(form));
    let Some((kind, setting)) = steers.and_then(|steers| steers.split_once('.')) else { return false };
    let (of, short, _) = OF_BOTH_DIRECTIONS;
    let is_one = client_settings(kind).contains(&setting) && is_chosen_by_attribute(setting);
    is_one || (kind, setting) == (of, short)
}

/// A line of options is its author's: what a policy makes of a client's text could be other options.
fn is_chosen_by_attribute(setting: &str) -> bool {
    !setting.ends_with("saslJaasConfig")
}

/// Whether an attribute names the group that a client is a member of.
pub(crate) fn chooses_group(name: &str) -> bool {
    let steers = FORMS.iter().find_map(|form| name.strip_prefix(form));
    let Some((kind, setting)) = steers.and_then(|steers| steers.split_once('.')) else { return false };
    STEERED.iter().any(|steered| steered.kind == kind && steered.group.contains(&setting))
}

/// Why an attribute that means to steer a broker would not be listened to; `None` where it is, or means nothing of
/// the kind.
pub(crate) fn unheard(name: &str) -> Option<String> {
    let newer = name.strip_prefix(FORMS[1]);
    let (kind, setting) = newer.or_else(|| name.strip_prefix(FORMS[0]))?.split_once('.').unwrap_or_default();
    let Some(steered) = STEERED.iter().find(|steered| steered.kind == kind) else {
        let kinds: Vec<_> = STEERED.iter().map(|steered| steered.kind).collect();
        return newer.map(|_| {
            format!("'{name}' steers no kind of broker that there is. Known are: {}.", kinds.join(", "))
        });
    };
    let mut heard = [steered.publish, steered.deliver, steered.key, steered.response, steered.group].concat();
    heard.extend(client_settings(kind).iter().filter(|setting| is_chosen_by_attribute(setting)));
    if heard.contains(&setting) || chooses_setting(name) {
        return None;
    }
    heard.sort_unstable();
    heard.dedup();
    Some(format!(
        "'{name}' would steer nothing: {} Of {kind} these can: {}.",
        reason(setting),
        heard.join(", ")
    ))
}

fn reason(setting: &str) -> &'static str {
    match setting.rsplit('.').next().unwrap_or_default() {
        "groupId" => {
            "this kind of broker makes its messages for each client, so that there is nothing to share."
        }
        "recordKey" | "key" => "this kind of broker has no record keys.",
        "responseTopic" => "this kind of broker has no response topics.",
        _ => {
            "it is the same for all clients. Write an expression of #properties, #dictionaries or #secrets in the setting \
             itself, which is worked out when the API is deployed; among brokers choose by \
             gravitee.attribute.request.endpoint."
        }
    }
}

/// Whether a text that came from outside may be a topic, where it is `alone`, or a part of one. It never brings a
/// wildcard, nor leads elsewhere than to a topic; and what the author has put between separators stays there.
pub(crate) fn may_come_in(broker: &BrokerConfig, text: &str, alone: bool) -> bool {
    let without = |reserved: &[char]| !text.is_empty() && !text.contains(reserved);
    let within = |separators: &[char]| alone || !text.contains(separators);
    let fits = match broker {
        BrokerConfig::Kafka(_) | BrokerConfig::Log(_) | BrokerConfig::Mock(_) => is_topic_name(text),
        BrokerConfig::Mqtt(_) => without(&['+', '#', '$']) && within(&['/']),
        BrokerConfig::Solace(_) => without(&['*', '>', '#', '+', ':', '?']) && within(&['/']),
        BrokerConfig::Amqp(_) => {
            without(&['*', '>', '#', '+', ':', '?', '%']) && within(&['/', '.']) && !text.starts_with('/')
        }
        BrokerConfig::Rabbitmq(_) => without(&['*', '#']) && within(&['.']),
    };
    fits && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use sluice_api::{Broker, Side, from_value};

    use super::*;

    pub(crate) fn broker(kind: &str) -> BrokerConfig {
        let settings: Value = match kind {
            "kafka" => json!({ "bootstrapServers": "k:9092" }),
            "mqtt5" | "rabbitmq" => json!({ "serverHost": "h", "serverPort": 1 }),
            "solace" => json!({ "url": "tcp://h:1" }),
            "amqp" => json!({ "url": "amqp://h:1" }),
            "mock" => json!({ "messageInterval": 1, "messageContent": "x" }),
            _ => json!({}),
        };
        let broker: Broker =
            from_value(json!({ "name": "b", "type": kind, "configuration": settings })).unwrap();
        broker.configuration
    }

    #[test]
    fn every_kind_of_broker_is_in_the_table() {
        for kind in BrokerConfig::KINDS {
            let names = Names::of(&broker(kind));
            assert!(!names.publish.is_empty() && !names.deliver.is_empty(), "{kind}");
            for name in names.publish.iter().chain(&names.deliver).chain(&names.key) {
                assert_eq!(unheard(name), None);
            }
        }
    }

    #[test]
    fn what_steers_nothing_is_told_why() {
        for (name, why) in [
            ("gravitee.attribute.mock.groupId", "nothing to share"),
            ("gravitee.attribute.mqtt5.recordKey", "no record keys"),
            ("gravitee.attribute.amqp.responseTopic", "no response topics"),
            ("gravitee.attributes.endpoint.kafka.bootstrapServers", "same for all clients"),
            ("gravitee.attributes.endpoint.kafka.security.ssl.keyStore.location", "same for all clients"),
            ("gravitee.attributes.endpoint.asb.topics", "no kind of broker"),
        ] {
            let told = unheard(name).unwrap_or_else(|| panic!("{name}"));
            assert!(told.contains(why), "{told}");
        }
        for own in ["mine", "gravitee.attribute.mine", "gravitee.attribute.mine.too"] {
            assert!(unheard(own).is_none() && !chooses_setting(own));
        }
    }

    #[test]
    fn what_chooses_a_connection_is_heard() {
        for (kind, setting) in
            [("kafka", "security.sasl.saslMechanism"), ("rabbitmq", "consumer.exchange.name")]
        {
            let names = setting_names(kind, setting);
            assert!(names.iter().all(|name| chooses_setting(name) && unheard(name).is_none()), "{names:?}");
        }
        let short = "gravitee.attribute.rabbitmq.exchange";
        assert!(setting_names("rabbitmq", "producer.exchange.name").iter().any(|name| name == short));
        assert!(chooses_setting(short) && unheard(short).is_none());
        assert!(!chooses_setting("gravitee.attribute.kafka.exchange"));
    }

    #[test]
    fn a_group_is_chosen_by_its_own_name_or_by_that_of_the_contract() {
        for name in [
            "gravitee.attribute.kafka.groupId",
            "gravitee.attributes.endpoint.log.consumer.groupId",
            "gravitee.attribute.mqtt5.clientId",
        ] {
            assert!(chooses_group(name) && unheard(name).is_none(), "{name}");
        }
        for other in ["gravitee.attribute.kafka.clientId", "gravitee.attribute.mock.groupId", "groupId"] {
            assert!(!chooses_group(other), "{other}");
        }
    }

    #[test]
    fn what_comes_in_stays_between_the_separators_of_the_author() {
        for (kind, alone, within) in [
            ("mqtt5", "a/b", "a.b"),
            ("solace", "a/b", "a.b"),
            ("amqp", "a/b", "a_b"),
            ("rabbitmq", "a.b", "a/b"),
            ("kafka", "a.b", "a.b"),
        ] {
            let broker = broker(kind);
            assert!(may_come_in(&broker, alone, true) && may_come_in(&broker, within, false), "{kind}");
            assert!(kind == "kafka" || !may_come_in(&broker, alone, false), "{kind}");
        }
        for (kind, text) in [
            ("solace", "queue://a"),
            ("amqp", "a::b"),
            ("amqp", "/queues/a"),
            ("mqtt5", "$SYS/x"),
            ("log", ".."),
        ] {
            assert!(!may_come_in(&broker(kind), text, true), "{kind} {text}");
        }
    }

    proptest! {
        /// Read back by the rule of the broker itself: with a wildcard in it, it would match another topic.
        #[test]
        fn a_text_that_may_come_in_has_no_wildcard(text in "[a-c+#*>$/.:]{1,8}") {
            for kind in BrokerConfig::KINDS {
                let broker = broker(kind);
                if may_come_in(&broker, &text, true) {
                    let wildcards: &[char] = if kind == "rabbitmq" { &['*', '#'] } else { &['+', '#', '*', '>'] };
                    let of_mqtt: &[char] = if kind == "mqtt5" { &['+', '#'] } else { wildcards };
                    prop_assert!(!text.contains(of_mqtt), "{kind} {text}");
                    prop_assert!(broker.is_topic(&text, Side::Deliver), "{kind} {text}");
                }
            }
        }
    }
}
