//! Which topics a message goes to and comes from: those of the broker's settings, or those that a policy has
//! chosen for this client or this message by an attribute.
//!
//! The names of the attributes are those of the contract, in its older and its newer form; which of them a policy
//! may set is checked when an API is deployed. What they choose may come from a client, so it is judged at each
//! use: the embedded log is shared by all APIs and has no permissions of its own.

use std::borrow::Cow;

use serde_json::Value;
use sluice_api::{BrokerConfig, is_topic_name};
use sluice_message::{Attributes, Message, Topic};

/// What stands before the name of a setting, as in `gravitee.attribute.kafka.topics`.
const FORMS: [&str; 2] = ["gravitee.attribute.", "gravitee.attributes.endpoint."];

/// As many as a definition may name.
const MAX_TOPICS: usize = 64;

/// The attributes by which policies choose topics and keys, for brokers of one kind.
#[derive(Debug, Clone)]
pub struct ChosenBy {
    publish: Vec<String>,
    deliver: Vec<String>,
    key: Vec<String>,
    /// The topics that may be chosen; `None` where the broker's own permissions judge.
    allowed: Option<Vec<Topic>>,
}

impl ChosenBy {
    /// Those for this broker. Of the log, which is shared with other APIs, and of the mock only topics can be
    /// chosen that these settings name, in whichever direction; of Kafka all that it permits.
    pub fn new(broker: &BrokerConfig) -> Self {
        let kind = broker.kind();
        let names = |settings: &[&str]| {
            let forms = FORMS.iter();
            forms
                .flat_map(|form| settings.iter().map(move |setting| format!("{form}{kind}.{setting}")))
                .collect()
        };
        Self {
            publish: names(&["producer.topics", "topics"]),
            deliver: names(&["consumer.topics", "topics"]),
            key: names(&["recordKey"]),
            allowed: allowed(broker),
        }
    }
}

fn allowed(broker: &BrokerConfig) -> Option<Vec<Topic>> {
    match broker {
        BrokerConfig::Kafka(_) => None,
        BrokerConfig::Mock(_) => {
            Some(broker.deliver_topics().into_iter().flatten().map(Topic::from).collect())
        }
        BrokerConfig::Log(log) => {
            let named = log.topics.iter().chain(&log.producer.topics).chain(&log.consumer.topics);
            Some(named.map(|topic| Topic::from(topic.as_str())).collect())
        }
    }
}

/// A policy has chosen a topic that this API cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTopic {
    /// No broker can have it.
    #[error("A policy of this API chose a topic that can not exist. Its publisher has to act.")]
    Impossible,
    /// It may be another API's.
    #[error(
        "A policy of this API chose a topic that the settings of its broker do not name. \
         Choose one that they name, or its publisher has to add it to them."
    )]
    NotNamed,
}

impl ChosenBy {
    /// The topics that a message is published to. What was noted on the message goes before what was noted on
    /// the client.
    ///
    /// # Errors
    /// A chosen topic that this API cannot use.
    pub fn publish<'t>(
        &self,
        configured: &'t [Topic],
        client: &Attributes,
        message: &Message,
    ) -> Result<Cow<'t, [Topic]>, NoTopic> {
        self.chosen(&self.publish, &[message.attributes(), client], configured)
    }

    /// The topics that a client is sent.
    ///
    /// # Errors
    /// A chosen topic that this API cannot use.
    pub fn deliver<'t>(
        &self,
        configured: &'t [Topic],
        client: &Attributes,
    ) -> Result<Cow<'t, [Topic]>, NoTopic> {
        self.chosen(&self.deliver, &[client], configured)
    }

    /// The message with the record key that a policy has chosen for it, if one has.
    pub fn with_key(&self, client: &Attributes, message: Message) -> Message {
        match attribute(&self.key, &[message.attributes(), client]) {
            None | Some(Value::Null) => message,
            Some(Value::String(key)) => message.to_builder().key(key.clone()).build(),
            Some(key) => message.to_builder().key(key.to_string()).build(),
        }
    }

    fn chosen<'t>(
        &self,
        names: &[String],
        places: &[&Attributes],
        configured: &'t [Topic],
    ) -> Result<Cow<'t, [Topic]>, NoTopic> {
        let topics: Vec<Topic> = match attribute(names, places) {
            None | Some(Value::Null) => return Ok(Cow::Borrowed(configured)),
            Some(Value::String(list)) => list.split(',').map(|topic| Topic::from(topic.trim())).collect(),
            Some(Value::Array(list)) => {
                list.iter().map(|topic| Topic::from(topic.as_str().unwrap_or_default())).collect()
            }
            Some(_) => Vec::new(),
        };
        let sound = (1..=MAX_TOPICS).contains(&topics.len());
        if !sound || !topics.iter().all(|topic| is_topic_name(topic.as_str())) {
            return Err(NoTopic::Impossible);
        }
        match &self.allowed {
            Some(allowed) if !topics.iter().all(|topic| allowed.contains(topic)) => Err(NoTopic::NotNamed),
            _ => Ok(Cow::Owned(topics)),
        }
    }
}

fn attribute<'a>(names: &[String], places: &[&'a Attributes]) -> Option<&'a Value> {
    let mut filled = places.iter().filter(|place| !place.is_empty());
    filled.find_map(|place| names.iter().find_map(|name| place.get(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_api::from_value;

    use super::*;

    fn attributes(pairs: &[(&str, Value)]) -> Attributes {
        let mut attributes = Attributes::default();
        pairs.iter().for_each(|(name, value)| attributes.set(*name, value.clone()));
        attributes
    }

    fn of(kind: &str, settings: &Value) -> ChosenBy {
        let broker: sluice_api::Broker =
            from_value(json!({ "name": "b", "type": kind, "configuration": settings })).unwrap();
        ChosenBy::new(&broker.configuration)
    }

    fn kafka() -> ChosenBy {
        of("kafka", &json!({ "bootstrapServers": "k:9092", "topics": ["set"] }))
    }

    fn publish(client: &[(&str, Value)], message: &[(&str, Value)]) -> Result<Vec<String>, NoTopic> {
        let (client, message) = (attributes(client), attributes(message));
        let (set, by) = ([Topic::from("set")], kafka());
        let topics = by.chosen(&by.publish, &[&message, &client], &set);
        topics.map(|topics| topics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_choice_for_the_message_goes_before_one_for_the_client() {
        let both = "gravitee.attribute.kafka.topics";
        let newer = "gravitee.attributes.endpoint.kafka.producer.topics";
        assert_eq!(publish(&[], &[]).unwrap(), ["set"]);
        assert_eq!(publish(&[(both, json!("a, b"))], &[]).unwrap(), ["a", "b"]);
        assert_eq!(publish(&[(newer, json!(["a"]))], &[]).unwrap(), ["a"]);
        assert_eq!(publish(&[(both, json!("a"))], &[(both, json!("m"))]).unwrap(), ["m"]);
        assert_eq!(publish(&[(both, Value::Null)], &[]).unwrap(), ["set"]);
        assert_eq!(publish(&[("gravitee.attribute.mqtt5.topic", json!("x"))], &[]).unwrap(), ["set"]);
    }

    #[test]
    fn a_choice_that_is_no_topic_is_refused() {
        for bad in [json!("a b"), json!(""), json!(7), json!([]), json!(vec!["a"; 65]), json!("../a")] {
            assert!(publish(&[("gravitee.attribute.kafka.topics", bad.clone())], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_the_shared_log_only_topics_that_the_settings_name_can_be_chosen() {
        let by = of(
            "log",
            &json!({
                "topics": ["both"], "producer": { "topics": ["in"] }, "consumer": { "topics": ["out"] },
            }),
        );
        let set = [Topic::from("both")];
        let chosen = |topics: &str| {
            let client = attributes(&[("gravitee.attribute.log.topics", json!(topics))]);
            let message = Message::builder().build();
            let published = by.publish(&set, &client, &message).map(|topics| topics.len());
            assert_eq!(by.deliver(&set, &client).map(|topics| topics.len()), published);
            published
        };
        assert_eq!(chosen("both, in,out"), Ok(3));
        assert_eq!(chosen("another-api"), Err(NoTopic::NotNamed));
        assert_eq!(chosen("both,another-api"), Err(NoTopic::NotNamed));
        assert_eq!(chosen("../both"), Err(NoTopic::Impossible));
    }

    #[test]
    fn of_the_mock_its_one_topic_can_be_chosen_and_of_kafka_any() {
        let mock = of("mock", &json!({ "messageInterval": 1, "messageContent": "x" }));
        let deliver = |by: &ChosenBy, kind: &str, topic: &str| {
            let client = attributes(&[(&format!("gravitee.attribute.{kind}.topics"), json!(topic))]);
            by.deliver(&[], &client).map(|topics| topics.len())
        };
        assert_eq!(deliver(&mock, "mock", "mock"), Ok(1));
        assert_eq!(deliver(&mock, "mock", "other"), Err(NoTopic::NotNamed));
        assert_eq!(deliver(&kafka(), "kafka", "other"), Ok(1));
    }
}
