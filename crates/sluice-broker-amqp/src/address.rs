//! What an address of an event API is at each kind of broker: where a sender attaches, where a reader does, and what of
//! it outlives the reader. All that differs between brokers stands here.

use fe2o3_amqp::types::{
    messaging::{Source, Target, TerminusDurability, TerminusExpiryPolicy},
    primitives::{Array, Symbol},
};
use sluice_broker::{DriverError, ErrorKind};

/// How a kind of broker writes addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// ActiveMQ Artemis: bare names, capabilities say what is meant.
    Artemis,
    /// RabbitMQ before version 4: paths.
    Rabbitmq,
    /// Solace: prefixes, and capabilities where an endpoint of its own stands behind a topic.
    Solace {
        /// Whether queues and their subscriptions are made through the broker's management.
        provisions: bool,
    },
}

/// An address as event APIs write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    /// One copy of each message, for whoever takes it.
    Queue(&'a str),
    /// A copy for each subscription.
    Topic(&'a str),
}

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading<'a> {
    /// What comes while the reader is there.
    Live,
    /// On behalf of a group, for which the broker keeps messages.
    Group {
        /// Its name.
        name: &'a str,
        /// Whether it has one reader only.
        sole: bool,
    },
}

/// Where a reader attaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The name of the link, by which some brokers know a subscription again.
    pub(crate) link: String,
    /// What is read.
    pub(crate) source: Source,
    /// A queue that must be there first, where the broker's management can make it.
    pub(crate) queue: Option<Queue>,
}

/// A queue that a reader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// The topic whose messages it gets.
    pub(crate) subscription: Option<String>,
    /// Whether one reader gets all.
    pub(crate) exclusive: bool,
}

impl<'a> Address<'a> {
    /// Reads `queue://name`, `topic://name` or `name`, which is a topic.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text.strip_prefix("queue://") {
            Some(name) => Self::Queue(name),
            None => Self::Topic(text.strip_prefix("topic://").unwrap_or(text)),
        }
    }
}

impl Reading<'_> {
    /// Whether the broker keeps messages for who reads.
    pub(crate) const fn is_group(self) -> bool {
        matches!(self, Self::Group { .. })
    }
}

impl Flavour {
    /// Whether a group keeps the messages of topics while its readers are away.
    pub(crate) const fn keeps_topics(self) -> bool {
        !matches!(self, Self::Rabbitmq)
    }

    /// Whether several readers of one group can share the messages of topics.
    pub(crate) const fn shares_topics(self) -> bool {
        matches!(self, Self::Artemis | Self::Solace { provisions: true })
    }

    /// Whether credit must be used up before more is given: RabbitMQ forgets what is on its way when it reckons anew,
    /// and sends more than it may.
    pub(crate) const fn miscounts_credit(self) -> bool {
        matches!(self, Self::Rabbitmq)
    }

    /// What must be there before a sender attaches, where the broker acknowledges what no queue gets.
    pub(crate) fn probe(self, address: Address<'_>) -> Option<Source> {
        let is_asked = matches!((self, address), (Self::Rabbitmq, Address::Queue(_)));
        is_asked.then(|| Source::builder().address(self.written(address)).build())
    }

    /// Where a sender attaches.
    pub(crate) fn target(self, address: Address<'_>) -> Target {
        let mut target = Target::builder().address(self.written(address)).build();
        if self == Self::Artemis {
            target.capabilities = Some(Array(vec![Symbol::from(kind(address))]));
        }
        target
    }

    /// Where a reader attaches. `unique` is a text that no other reader has.
    ///
    /// # Errors
    /// `Unsupported` for what this kind of broker has no means for.
    pub(crate) fn attachment(
        self,
        address: Address<'_>,
        reading: Reading<'_>,
        unique: &str,
    ) -> Result<Attachment, DriverError> {
        let mut source = Source::builder().address(self.written(address)).build();
        let mut capabilities = Vec::new();
        let mut link = unique.to_owned();
        let mut queue = None;
        if reading.is_group() {
            source.durable = TerminusDurability::Configuration;
            source.expiry_policy = TerminusExpiryPolicy::Never;
        }
        match (self, address, reading) {
            (Self::Artemis, Address::Queue(_), _) => capabilities.push("queue"),
            (Self::Artemis, Address::Topic(_), Reading::Live) => capabilities.push("topic"),
            (Self::Artemis, Address::Topic(topic), Reading::Group { name, sole }) => {
                capabilities.push("topic");
                link = if sole { topic.to_owned() } else { format!("{}|{unique}", endpoint(name, topic)) };
                if !sole {
                    capabilities.extend(["shared", "global"]);
                }
            }
            (Self::Rabbitmq, Address::Topic(topic), Reading::Group { .. }) => {
                return Err(unsupported(&format!(
                    "RabbitMQ keeps nothing for readers of the topic '{topic}' over AMQP 1.0: read a queue \
                     (queue://name), or use the broker 'rabbitmq'."
                )));
            }
            (Self::Rabbitmq, ..) => {}
            (Self::Solace { provisions }, Address::Queue(name), _) => {
                capabilities.push("queue");
                source.durable = TerminusDurability::Configuration;
                source.expiry_policy = TerminusExpiryPolicy::Never;
                queue =
                    provisions.then(|| Queue { name: name.to_owned(), subscription: None, exclusive: false });
            }
            (Self::Solace { provisions: true }, Address::Topic(topic), Reading::Group { name, sole }) => {
                let endpoint = endpoint(name, topic);
                capabilities.push("queue");
                source.address = Some(format!("queue://{endpoint}"));
                queue = Some(Queue { name: endpoint, subscription: Some(topic.to_owned()), exclusive: sole });
            }
            (Self::Solace { provisions: false }, Address::Topic(topic), Reading::Group { name, sole }) => {
                if !sole {
                    return Err(unsupported(
                        "A topic endpoint of Solace has one reader; with 'semp' several readers share a queue.",
                    ));
                }
                capabilities.push("topic");
                link = endpoint(name, topic);
            }
            (Self::Solace { .. }, Address::Topic(_), Reading::Live) => capabilities.push("topic"),
        }
        if !capabilities.is_empty() {
            source.capabilities = Some(Array(capabilities.into_iter().map(Symbol::from).collect()));
        }
        Ok(Attachment { link, source, queue })
    }

    /// The container that a reader connects as. Artemis knows a subscription again by container and link.
    pub(crate) fn container(self, reading: Reading<'_>, unique: &str) -> String {
        match (self, reading) {
            (Self::Artemis, Reading::Group { name, sole: true }) => name.to_owned(),
            _ => format!("sluice-{unique}"),
        }
    }

    fn written(self, address: Address<'_>) -> String {
        match (self, address) {
            (Self::Artemis, Address::Queue(name) | Address::Topic(name)) => name.to_owned(),
            (Self::Rabbitmq, Address::Queue(name)) => format!("/amq/queue/{}", escaped(name, &['/', '%'])),
            (Self::Rabbitmq, Address::Topic(name)) => format!("/topic/{}", escaped(name, &['/', '%'])),
            (Self::Solace { .. }, Address::Queue(name)) => format!("queue://{name}"),
            (Self::Solace { .. }, Address::Topic(name)) => format!("topic://{name}"),
        }
    }
}

const fn kind(address: Address<'_>) -> &'static str {
    match address {
        Address::Queue(_) => "queue",
        Address::Topic(_) => "topic",
    }
}

fn unsupported(text: &str) -> DriverError {
    DriverError::new(ErrorKind::Unsupported, text)
}

/// The name of what the broker keeps for a group and a topic, without the characters that Solace allows in no name
/// of a queue, and without the one that ends a subscription's name at Artemis.
fn endpoint(group: &str, topic: &str) -> String {
    escaped(&format!("{group}:{topic}"), &['%', '*', '>', '<', '?', '&', ';', '\'', '|'])
}

fn escaped(text: &str, forbidden: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if forbidden.contains(&character) {
            escaped.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOLE: Reading<'static> = Reading::Group { name: "g", sole: true };
    const SHARED: Reading<'static> = Reading::Group { name: "g", sole: false };

    fn attached(flavour: Flavour, address: &str, reading: Reading<'_>) -> Option<(String, String, String)> {
        let attachment = flavour.attachment(Address::parse(address), reading, "u").ok()?;
        let capabilities = attachment.source.capabilities.map(|array| array.0).unwrap_or_default();
        let names: Vec<String> = capabilities.into_iter().map(|symbol| symbol.0).collect();
        Some((attachment.source.address.unwrap_or_default(), attachment.link, names.join(" ")))
    }

    fn is(address: &str, link: &str, capabilities: &str) -> Option<(String, String, String)> {
        Some((address.to_owned(), link.to_owned(), capabilities.to_owned()))
    }

    #[test]
    fn a_name_alone_is_a_topic() {
        assert_eq!(Address::parse("a/b"), Address::Topic("a/b"));
        assert_eq!(Address::parse("topic://a/b"), Address::Topic("a/b"));
        assert_eq!(Address::parse("queue://a/b"), Address::Queue("a/b"));
    }

    #[test]
    fn artemis_is_told_by_capabilities() {
        let artemis = Flavour::Artemis;
        assert_eq!(attached(artemis, "a.b", Reading::Live), is("a.b", "u", "topic"));
        assert_eq!(attached(artemis, "a.b", SOLE), is("a.b", "a.b", "topic"));
        assert_eq!(attached(artemis, "a.b", SHARED), is("a.b", "g:a.b|u", "topic shared global"));
        assert_eq!(attached(artemis, "queue://q", SHARED), is("q", "u", "queue"));
        assert_eq!(artemis.container(SOLE, "u"), "g");
        assert_eq!(artemis.container(SHARED, "u"), "sluice-u");
    }

    #[test]
    fn rabbitmq_is_told_by_paths_and_keeps_queues_only() {
        let rabbitmq = Flavour::Rabbitmq;
        assert_eq!(attached(rabbitmq, "a.b", Reading::Live), is("/topic/a.b", "u", ""));
        assert_eq!(attached(rabbitmq, "queue://a/b", SHARED), is("/amq/queue/a%2Fb", "u", ""));
        assert_eq!(attached(rabbitmq, "a.b", SOLE), None);
        assert!(
            rabbitmq.probe(Address::Queue("q")).is_some() && rabbitmq.probe(Address::Topic("t")).is_none()
        );
    }

    #[test]
    fn solace_binds_queues_and_topic_endpoints() {
        let solace = Flavour::Solace { provisions: false };
        assert_eq!(attached(solace, "a/b", Reading::Live), is("topic://a/b", "u", "topic"));
        assert_eq!(attached(solace, "a/*", SOLE), is("topic://a/*", "g:a/%2A", "topic"));
        assert_eq!(attached(solace, "a/b", SHARED), None, "a topic endpoint has one reader");
        assert_eq!(attached(solace, "queue://q", SHARED), is("queue://q", "u", "queue"));
        let source = |reading| solace.attachment(Address::Topic("a"), reading, "u").unwrap().source;
        assert_eq!(source(SOLE).durable, TerminusDurability::Configuration);
        assert_eq!(source(SOLE).expiry_policy, TerminusExpiryPolicy::Never);
        assert_eq!(source(Reading::Live).durable, TerminusDurability::None);
    }

    #[test]
    fn solace_with_management_puts_a_queue_behind_a_group() {
        let solace = Flavour::Solace { provisions: true };
        assert_eq!(attached(solace, "a/>", SHARED), is("queue://g:a/%3E", "u", "queue"));
        let queue = solace.attachment(Address::Topic("a/>"), SOLE, "u").unwrap().queue;
        let expected =
            Queue { name: "g:a/%3E".to_owned(), subscription: Some("a/>".to_owned()), exclusive: true };
        assert_eq!(queue, Some(expected));
        assert_eq!(solace.attachment(Address::Topic("a"), Reading::Live, "u").unwrap().queue, None);
    }
}
