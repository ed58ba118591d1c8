//! Which topics a message goes to and comes from: those of the broker's settings, or those that a policy has
//! chosen for this client or this message by an attribute.
//!
//! The names of the attributes are those of the contract, in its older and its newer form; which of them a policy
//! may set is checked when an API is deployed.

use std::borrow::Cow;

use serde_json::Value;
use sluice_api::is_topic_name;
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
}

impl ChosenBy {
    /// Those for this kind of broker, such as `kafka`.
    pub fn new(kind: &str) -> Self {
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
        }
    }
}

/// A policy has chosen a topic that no broker can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A policy of this API chose a topic that can not exist. Its publisher has to act.")]
pub struct NoTopic;

impl ChosenBy {
    /// The topics that a message is published to. What was noted on the message goes before what was noted on
    /// the client.
    ///
    /// # Errors
    /// A chosen topic that cannot be.
    pub fn publish<'t>(
        &self,
        configured: &'t [Topic],
        client: &Attributes,
        message: &Message,
    ) -> Result<Cow<'t, [Topic]>, NoTopic> {
        chosen(&self.publish, &[message.attributes(), client], configured)
    }

    /// The topics that a client is sent.
    ///
    /// # Errors
    /// A chosen topic that cannot be.
    pub fn deliver<'t>(
        &self,
        configured: &'t [Topic],
        client: &Attributes,
    ) -> Result<Cow<'t, [Topic]>, NoTopic> {
        chosen(&self.deliver, &[client], configured)
    }

    /// The message with the record key that a policy has chosen for it, if one has.
    pub fn with_key(&self, client: &Attributes, message: Message) -> Message {
        match attribute(&self.key, &[message.attributes(), client]) {
            None | Some(Value::Null) => message,
            Some(Value::String(key)) => message.to_builder().key(key.clone()).build(),
            Some(key) => message.to_builder().key(key.to_string()).build(),
        }
    }
}

fn attribute<'a>(names: &[String], places: &[&'a Attributes]) -> Option<&'a Value> {
    let mut filled = places.iter().filter(|place| !place.is_empty());
    filled.find_map(|place| names.iter().find_map(|name| place.get(name)))
}

fn chosen<'t>(
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
    if sound && topics.iter().all(|topic| is_topic_name(topic.as_str())) {
        return Ok(Cow::Owned(topics));
    }
    Err(NoTopic)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn publish(client: &[(&str, Value)], message: &[(&str, Value)]) -> Result<Vec<String>, NoTopic> {
        let attributes = |pairs: &[(&str, Value)]| {
            let mut attributes = Attributes::default();
            pairs.iter().for_each(|(name, value)| attributes.set(*name, value.clone()));
            attributes
        };
        let (client, message) = (attributes(client), attributes(message));
        let set = [Topic::from("set")];
        let topics = chosen(&ChosenBy::new("kafka").publish, &[&message, &client], &set);
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
}
