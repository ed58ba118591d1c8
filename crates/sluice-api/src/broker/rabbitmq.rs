//! Settings of the `rabbitmq` broker, by AMQP 0-9-1.
//!
//! What other brokers call a topic is a routing key here: to publish with, or to bind a queue of the gateway by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BrokerSettings, Side, group_problem, security, yes};
use crate::{BrokerSecurity, Problem, Secret};

/// AMQP 0-9-1 says names in short strings, and those have a byte for their length.
const MAX_NAME_BYTES: usize = 255;
/// RabbitMQ keeps names that begin so for itself.
const RESERVED: &str = "amq.";
/// What the queues begin with in which the gateway keeps messages for readers that are away, of any API.
const KEPT: &str = "sluice/";

/// Settings of `rabbitmq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitmqConfig {
    /// The broker's host; required.
    pub server_host: String,
    /// Its port; required.
    pub server_port: u16,
    /// The virtual host. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// A connection on which nothing was heard for twice so many seconds counts as lost, 1 to 3600. Default 10.
    #[serde(default = "heartbeat")]
    pub heartbeat: u16,
    /// Reading.
    #[serde(default)]
    pub consumer: RabbitmqConsumer,
    /// Publishing.
    #[serde(default)]
    pub producer: RabbitmqProducer,
    /// Encryption and credentials. Without `auth`, a client certificate logs in (EXTERNAL); without that either,
    /// RabbitMQ's own `guest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<BrokerSecurity>,
}

/// How RabbitMQ is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitmqConsumer {
    /// Whether receivers may read. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The binding key. On an exchange of type `topic`, `*` stands for one word and `#` for any number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Several binding keys, in place of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_keys: Vec<String>,
    /// The exchange that queues are bound to; the broker's `amq.topic` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<RabbitmqExchange>,
    /// A queue that is there already, read as it is in place of binding one. It has one reader at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The group that web clients are members of, at the broker a durable queue: each message goes to one of them. It may
    /// hold expressions of the client. Without it, and where it comes to nothing, clients are in no group and get every
    /// message. Not with `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Messages of one reader that are on their way and not acknowledged, 1 to 65535. Default 1000.
    #[serde(default = "prefetch")]
    pub prefetch: u16,
    /// The durable queues that the gateway makes: one for each group.
    #[serde(default)]
    pub durable_queue: RabbitmqQueue,
}

impl Default for RabbitmqConsumer {
    fn default() -> Self {
        Self {
            enabled: true,
            routing_key: None,
            routing_keys: Vec::new(),
            exchange: None,
            queue: None,
            group_id: None,
            prefetch: prefetch(),
            durable_queue: RabbitmqQueue::default(),
        }
    }
}

/// How RabbitMQ is published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitmqProducer {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The routing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Several routing keys, in place of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_keys: Vec<String>,
    /// The exchange; the broker's `amq.topic` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<RabbitmqExchange>,
    /// Whether a message that reaches no queue is an error. RabbitMQ acknowledges and forgets it otherwise. Slower:
    /// few such messages are under way at a time. Default false.
    #[serde(default)]
    pub mandatory: bool,
}

impl Default for RabbitmqProducer {
    fn default() -> Self {
        Self { enabled: true, routing_key: None, routing_keys: Vec::new(), exchange: None, mandatory: false }
    }
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitmqExchange {
    /// Its name.
    pub name: String,
    /// `topic`, `direct`, `fanout`, `headers`, or the type of a plugin, which begins with `x-`. Default `topic`.
    #[serde(rename = "type", default = "topic")]
    pub kind: String,
    /// Whether it outlives a restart of the broker. Default true.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Whether it goes when nothing is bound to it any more. Default false.
    #[serde(default)]
    pub auto_delete: bool,
    /// Whether the gateway declares it as said here, and so makes it where it is missing. Without, it must be there,
    /// and the gateway needs no permission to configure it. Default true.
    #[serde(default = "yes")]
    pub declare: bool,
}

/// How the gateway declares its durable queues. A queue that is there keeps what it was declared with: RabbitMQ refuses
/// another declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RabbitmqQueue {
    /// The type. Default `classic`.
    #[serde(rename = "type", default)]
    pub kind: RabbitmqQueueType,
    /// After how many seconds without a reader RabbitMQ deletes a queue with all it holds, so that the queue of an API
    /// that was removed goes away; 0 for never, 4,000,000 at the most. Default 86400, a day.
    #[serde(default = "day")]
    pub expires_seconds: u32,
    /// How many messages it holds at the most; the oldest go first. Without limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
}

impl Default for RabbitmqQueue {
    fn default() -> Self {
        Self { kind: RabbitmqQueueType::default(), expires_seconds: day(), max_length: None }
    }
}

/// Types of queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RabbitmqQueueType {
    /// On one node of a cluster.
    #[default]
    Classic,
    /// On a majority of nodes.
    Quorum,
}

const fn heartbeat() -> u16 {
    10
}

const fn prefetch() -> u16 {
    1000
}

const fn day() -> u32 {
    24 * 60 * 60
}

fn topic() -> String {
    "topic".to_owned()
}

impl RabbitmqExchange {
    /// Whether `*` and `#` are wildcards of its binding keys.
    pub fn has_wildcards(exchange: Option<&Self>) -> bool {
        exchange.is_none_or(|exchange| exchange.kind == "topic")
    }

    fn problem(&self, reads: bool) -> Option<(&'static str, &'static str)> {
        let known = ["topic", "direct", "fanout", "headers"].contains(&&*self.kind);
        if !is_name(&self.name) && !self.name.is_empty() {
            return Some(("exchange.name", "The name of an exchange has 255 bytes at the most."));
        }
        if self.name.is_empty() && reads {
            let text =
                "Nothing can be bound to the exchange without a name; say which 'queue' to read instead.";
            return Some(("exchange.name", text));
        }
        if self.name.is_empty() && self.kind != "direct" {
            return Some(("exchange.type", "The exchange without a name is of type 'direct'."));
        }
        let plugin = self.kind.starts_with("x-") && is_name(&self.kind);
        (!known && !plugin).then_some((
            "exchange.type",
            "The type of an exchange is 'topic', 'direct', 'fanout', 'headers' or begins with 'x-'.",
        ))
    }
}

impl RabbitmqConsumer {
    /// The rules of what the gateway reads.
    fn check(&self, mut refuse: impl FnMut(&str, &str)) {
        if let Some(queue) = &self.queue {
            if !is_name(queue) || is_of_others(queue) {
                refuse(
                    "consumer.queue",
                    "The name of a queue has 1 to 255 bytes and does not begin with 'amq.' or 'sluice/'.",
                );
            }
            if self.routing_key.is_some() || !self.routing_keys.is_empty() || self.exchange.is_some() {
                refuse("consumer.queue", "A queue is read as it is: leave out routing keys and exchange.");
            }
        }
        if self.prefetch == 0 {
            refuse("consumer.prefetch", "At least one message must be on its way at a time: 1 to 65535.");
        }
        if self.durable_queue.expires_seconds > 4_000_000 {
            refuse(
                "consumer.durableQueue.expiresSeconds",
                "RabbitMQ counts 4,000,000 seconds at the most; 0 is never.",
            );
        }
        if self.durable_queue.max_length == Some(0) {
            refuse("consumer.durableQueue.maxLength", "A queue that holds no message delivers none.");
        }
    }
}

/// Whether a queue is the broker's own, or one of the gateway's, which may be another API's.
fn is_of_others(queue: &str) -> bool {
    [RESERVED, KEPT].iter().any(|prefix| queue.starts_with(prefix))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn keys<'a>(enabled: bool, several: &'a [String], one: Option<&'a String>) -> Option<Vec<&'a str>> {
    enabled.then(|| match several {
        [] => one.into_iter().map(String::as_str).collect(),
        several => several.iter().map(String::as_str).collect(),
    })
}

impl BrokerSettings for RabbitmqConfig {
    fn publish_topics(&self) -> Option<Vec<&str>> {
        keys(self.producer.enabled, &self.producer.routing_keys, self.producer.routing_key.as_ref())
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        let consumer = &self.consumer;
        match &consumer.queue {
            Some(queue) => consumer.enabled.then(|| vec![queue.as_str()]),
            None => keys(consumer.enabled, &consumer.routing_keys, consumer.routing_key.as_ref()),
        }
    }

    fn address(&self) -> String {
        let host = self.virtual_host.as_deref().unwrap_or("/");
        format!("rabbitmq {}:{} virtual host {host}", self.server_host, self.server_port)
    }

    fn keep_connection(&mut self) {
        (self.consumer.enabled, self.producer.enabled) = (true, true);
        (self.consumer.routing_key, self.producer.routing_key) = (None, None);
        self.consumer.routing_keys.clear();
        self.consumer.group_id = None;
        self.producer.routing_keys.clear();
    }

    fn group_id(&self) -> Option<&str> {
        self.consumer.group_id.as_deref()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn is_topic(&self, topic: &str, side: Side) -> bool {
        let is_wildcard = |word: &str| matches!(word, "*" | "#");
        let publishes_literally = || {
            RabbitmqExchange::has_wildcards(self.producer.exchange.as_ref())
                && topic.split('.').any(is_wildcard)
        };
        // Through the exchange without a name a routing key is the name of a queue.
        let names_queues =
            || self.producer.exchange.as_ref().is_some_and(|exchange| exchange.name.is_empty());
        let reaches_others = || names_queues() && is_of_others(topic);
        is_name(topic) && !(side == Side::Publish && (publishes_literally() || reaches_others()))
    }

    fn topic_rule(&self) -> &'static str {
        "a routing key of 1 to 255 bytes without control characters; the words '*' and '#' are for reading only; through \
         the exchange without a name, nothing that begins with 'amq.' or 'sluice/'"
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = security::problems_of(self.security.as_ref());
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem::new(field, "endpoints.configuration.invalid", message));
        };
        if self.server_host.is_empty() || self.server_port == 0 {
            refuse("serverHost", "Give the broker's serverHost and a serverPort from 1 to 65535.");
        }
        if self.virtual_host.as_deref().is_some_and(|name| !is_name(name)) {
            refuse("virtualHost", "The name of a virtual host has 1 to 255 bytes.");
        }
        if !(1..=3600).contains(&self.heartbeat) {
            refuse("heartbeat", "A heartbeat is a number of seconds from 1 to 3600.");
        }
        let (consumer, producer) = (&self.consumer, &self.producer);
        for (side, exchange, reads) in
            [("consumer", &consumer.exchange, true), ("producer", &producer.exchange, false)]
        {
            if let Some((field, message)) = exchange.as_ref().and_then(|exchange| exchange.problem(reads)) {
                refuse(&format!("{side}.{field}"), message);
            }
        }
        for (side, one, several) in [
            ("consumer", &consumer.routing_key, &consumer.routing_keys),
            ("producer", &producer.routing_key, &producer.routing_keys),
        ] {
            if one.is_some() && !several.is_empty() {
                refuse(&format!("{side}.routingKeys"), "Give either routingKey or routingKeys.");
            }
        }
        consumer.check(&mut refuse);
        let text = "A queue that is there already has one reader; leave out consumer.queue, and the group has its own.";
        problems.extend(group_problem(self.group_id(), consumer.queue.as_ref().map(|_| text)));
        problems
    }

    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        security::secrets_of(self.security.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> RabbitmqConfig {
        let mut whole = json!({"serverHost": "rabbit", "serverPort": 5672});
        let Value::Object(fields) = value else { panic!("settings are an object") };
        whole.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(whole).unwrap()
    }

    fn fields(value: Value) -> Vec<String> {
        config(value).problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn one_key_several_keys_or_a_queue_are_the_topics() {
        let one = config(json!({"consumer": {"routingKey": "a.#"}, "producer": {"routingKey": "a.b"}}));
        assert_eq!((one.deliver_topics(), one.publish_topics()), (Some(vec!["a.#"]), Some(vec!["a.b"])));
        let several =
            config(json!({"consumer": {"routingKeys": ["a", "b"]}, "producer": {"enabled": false}}));
        assert_eq!((several.deliver_topics(), several.publish_topics()), (Some(vec!["a", "b"]), None));
        assert_eq!(config(json!({"consumer": {"queue": "jobs"}})).deliver_topics(), Some(vec!["jobs"]));
    }

    #[test]
    fn queues_of_the_broker_and_of_the_gateway_are_out_of_reach() {
        let nameless = config(json!({"producer": {"exchange": {"name": "", "type": "direct"}}}));
        for queue in ["amq.gen-x", "sluice/api/1234"] {
            assert!(!nameless.is_topic(queue, Side::Publish), "{queue}");
            assert!(config(json!({})).is_topic(queue, Side::Publish), "elsewhere it is no queue");
            assert_eq!(fields(json!({"consumer": {"queue": queue}})), ["consumer.queue"]);
        }
        assert!(nameless.is_topic("jobs", Side::Publish));
    }

    #[test]
    fn wildcards_are_for_reading_only() {
        let plain = config(json!({}));
        assert!(plain.is_topic("a.*.#", Side::Deliver) && !plain.is_topic("a.*", Side::Publish));
        assert!(plain.is_topic("a.b*", Side::Publish), "no word of its own");
        let direct = config(json!({"producer": {"exchange": {"name": "x", "type": "direct"}}}));
        assert!(direct.is_topic("a.*", Side::Publish), "a direct exchange knows no wildcards");
        let longest = "k".repeat(255);
        assert!(
            plain.is_topic(&longest, Side::Deliver) && !plain.is_topic(&format!("{longest}k"), Side::Deliver)
        );
    }

    #[test]
    fn every_rule_names_its_field() {
        assert!(fields(json!({})).is_empty());
        let exchange = |kind: &str| json!({"name": "x", "type": kind});
        assert!(fields(json!({"producer": {"exchange": exchange("x-consistent-hash")}})).is_empty());
        for (broken, field) in [
            (json!({"serverPort": 0}), "serverHost"),
            (json!({"heartbeat": 0}), "heartbeat"),
            (json!({"virtualHost": ""}), "virtualHost"),
            (json!({"producer": {"exchange": exchange("tropic")}}), "producer.exchange.type"),
            (json!({"consumer": {"exchange": {"name": "", "type": "direct"}}}), "consumer.exchange.name"),
            (json!({"producer": {"exchange": {"name": ""}}}), "producer.exchange.type"),
            (json!({"producer": {"routingKey": "a", "routingKeys": ["b"]}}), "producer.routingKeys"),
            (json!({"consumer": {"queue": "jobs", "routingKey": "a"}}), "consumer.queue"),
            (json!({"consumer": {"queue": "amq.gen-1"}}), "consumer.queue"),
            (json!({"consumer": {"prefetch": 0}}), "consumer.prefetch"),
            (
                json!({"consumer": {"durableQueue": {"expiresSeconds": 4_000_001}}}),
                "consumer.durableQueue.expiresSeconds",
            ),
            (json!({"consumer": {"durableQueue": {"maxLength": 0}}}), "consumer.durableQueue.maxLength"),
        ] {
            assert_eq!(fields(broken), [field]);
        }
    }

    #[test]
    fn apis_with_other_keys_share_a_driver_and_those_with_another_exchange_do_not() {
        let connection = |value| {
            let mut config = config(value);
            config.keep_connection();
            config
        };
        let plain = connection(json!({}));
        assert_eq!(
            plain,
            connection(json!({"consumer": {"routingKey": "a"}, "producer": {"enabled": false}}))
        );
        assert_ne!(plain, connection(json!({"consumer": {"exchange": {"name": "x"}}})));
        assert_ne!(plain, connection(json!({"consumer": {"queue": "jobs"}})));
    }
}
