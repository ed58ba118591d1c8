//! Which topics a message goes to and comes from, under which record key, and which group of clients shares it: what the broker's settings say, in
//! which expressions may stand, or what a policy has chosen for this client or this message by an attribute.
//!
//! Which attributes there are, and which texts may come in from outside, stands in `steering`. Both are judged at each
//! use: a client may have chosen them, and the embedded log is shared by all APIs and has no permissions of its own.

use std::{borrow::Cow, sync::Arc};

use serde_json::Value;
use sluice_api::{BrokerConfig, Problem, Side, has_expression, is_group_name};
use sluice_expression::{Environment, EvalContext, EvalError, Expression, Piece};
use sluice_message::{Attributes, Message, Topic};

use crate::{
    Caller,
    site::{Needs, Site},
    steering::{Names, may_come_in},
};

/// The metadata of a message by which its driver knows where it is to be answered.
const RESPONSE_TOPIC: &str = "responseTopic";

/// As many as a definition may name.
const MAX_TOPICS: usize = 64;

/// What chooses topics and keys at one broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChosenBy(Arc<Choices>);

#[derive(Debug)]
struct Choices {
    /// The attributes that choose.
    names: Names,
    /// The settings as they are written, where an expression stands in one of them; otherwise empty.
    publish: Vec<Expression>,
    deliver: Vec<Expression>,
    key: Option<Expression>,
    group: Option<Expression>,
    /// Knows what a topic is.
    broker: BrokerConfig,
    /// The topics that the settings name outright.
    named: Vec<Topic>,
}

/// A client or a message has no topic or key that this API can use. Nobody is told the value itself: it may be
/// another's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misled {
    /// No broker can have it.
    #[error("A policy of this API chose a topic that can not exist. Its publisher has to act.")]
    Impossible,
    /// It may be another API's, or more topics than one.
    #[error(
        "A policy of this API chose a topic that the settings of its broker do not name, and that it may not choose \
         without. Choose another, or its publisher has to add it to them."
    )]
    NotNamed,
    /// A group came to something that is no name of one.
    #[error(
        "The group that this API puts the client into has a name that it may not have: 1 to 128 letters, digits, '.', '_' or '-' are needed."
    )]
    NoGroupName,
    /// A client is in a group that cannot be in one.
    #[error(
        "A policy or the settings of this API put the client into a group, and this receiver serves none: its clients \
         have positions of their own. Leave out the group, or use 'sse' or 'websocket' with the qos 'none' or 'auto'."
    )]
    NotShared,
    /// An expression of the settings has no value.
    #[error("The {of} in the broker settings of this API has no value here: {reason}")]
    NoValue {
        /// `topic`, `key` or `group`, or the path of a setting of the connection.
        of: &'static str,
        /// A sentence.
        reason: String,
    },
    /// An expression of the settings came to something that may be no topic of this API.
    #[error(
        "The topic in the broker settings of this API came to one that it may not have here, by a wildcard, a separator \
         or a name that is not among those in the settings."
    )]
    Unfit,
    /// A setting of the connection came to something that it can not be.
    #[error(
        "The {path} in the broker settings of this API came to a value for this client that can not stand there."
    )]
    UnfitSetting {
        /// The path of the setting.
        path: &'static str,
    },
}

impl Misled {
    /// The stable code of docs/errors.md.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Impossible | Self::NotNamed => "policy.topic.invalid",
            Self::NoGroupName => "group.invalid",
            Self::NotShared => "qos.incompatible",
            Self::NoValue { .. } | Self::Unfit | Self::UnfitSetting { .. } => "endpoint.expression.invalid",
        }
    }
}

impl ChosenBy {
    /// What chooses at this broker. Of the log, which is shared with other APIs, and of the mock only topics can be
    /// chosen that these settings name, in whichever direction; of others all that they permit.
    ///
    /// # Errors
    /// An expression that cannot stand there; paths are relative to the settings.
    pub fn new(broker: &BrokerConfig, environment: &Environment) -> Result<Self, Vec<Problem>> {
        let (credentials, needs) = (Arc::default(), Needs::default());
        Self::compile(
            broker,
            &Site { environment, credentials: &credentials, has_message: false, needs: &needs },
        )
    }

    /// The same, as part of an API.
    pub(crate) fn compile(broker: &BrokerConfig, site: &Site<'_>) -> Result<Self, Vec<Problem>> {
        let templates = |path, topics: Option<Vec<&str>>, has_message| {
            let topics = topics.unwrap_or_default();
            let dynamic = topics.iter().any(|topic| has_expression(topic));
            let topics = if dynamic { topics } else { Vec::new() };
            crate::site::all(topics.iter().map(|topic| site.with_messages(has_message).text(path, topic)))
        };
        let group = broker.group_id();
        let group = group.map(|group| site.with_messages(false).text("consumer.groupId", group)).transpose();
        let key = broker.key().map(|key| site.with_messages(true).text("producer.key", key)).transpose();
        Ok(Self(Arc::new(Choices {
            names: Names::of(broker),
            publish: templates("producer", broker.publish_topics(), true)?,
            deliver: templates("consumer", broker.deliver_topics(), false)?,
            key: key.map_err(|problem| vec![problem])?,
            group: group.map_err(|problem| vec![problem])?,
            broker: broker.connection(),
            named: named(broker),
        })))
    }

    /// Whether settings of this broker differ from client to client, or from message to message.
    pub fn differs(&self) -> bool {
        !self.0.publish.is_empty() || !self.0.deliver.is_empty() || self.0.key.is_some()
    }

    /// Whether topics of this direction are made by expressions, where none are configured.
    pub fn makes_topics(&self, side: Side) -> bool {
        match side {
            Side::Publish => !self.0.publish.is_empty(),
            Side::Deliver => !self.0.deliver.is_empty(),
        }
    }

    /// The topics that a message of a client is published to. What was noted on the message goes before what was noted
    /// on the client, and that before the settings; `configured` are those, where no expression stands in them.
    ///
    /// # Errors
    /// A topic that this API cannot use, or none.
    pub fn publish<'t>(
        &self,
        configured: &'t [Topic],
        caller: &Caller,
        message: &Message,
    ) -> Result<Cow<'t, [Topic]>, Misled> {
        let places = [message.attributes(), caller.attributes()];
        if let Some(topics) = self.0.noted(&self.0.names.publish, Side::Publish, &places)? {
            return Ok(Cow::Owned(topics));
        }
        if self.0.publish.is_empty() {
            return Ok(Cow::Borrowed(configured));
        }
        let context = caller.context().with_message(message);
        self.0.evaluated(&self.0.publish, Side::Publish, &context).map(Cow::Owned)
    }

    /// Whether the group of a client is another one for each.
    pub fn makes_groups(&self) -> bool {
        self.0.group.as_ref().is_some_and(|group| !group.is_plain())
    }

    /// The group whose messages a client shares with others, if it is in one. What a policy has noted goes before the
    /// settings; null and an empty text are none.
    ///
    /// # Errors
    /// An expression without a value, or a group that can be none.
    pub fn group(&self, caller: &Caller) -> Result<Option<String>, Misled> {
        let group = match (attribute(&self.0.names.group, &[caller.attributes()]), &self.0.group) {
            (Some(Value::Null), _) | (None, None) => None,
            (Some(Value::String(noted)), _) => Some(noted.clone()),
            (Some(_), _) => return Err(Misled::NoGroupName),
            (None, Some(group)) => whole(group, caller)?,
        };
        let group = group.filter(|group| !group.is_empty());
        match group {
            Some(group) if !is_group_name(&group) => Err(Misled::NoGroupName),
            group => Ok(group),
        }
    }

    /// The topics that a client is sent whose receiver serves no groups.
    ///
    /// # Errors
    /// A topic that this API cannot use, or none; a client that is in a group.
    pub fn deliver<'t>(&self, configured: &'t [Topic], caller: &Caller) -> Result<Cow<'t, [Topic]>, Misled> {
        if self.group(caller)?.is_some() {
            return Err(Misled::NotShared);
        }
        self.deliver_shared(configured, caller)
    }

    /// The topics that a client is sent, whether it is in a group or not.
    ///
    /// # Errors
    /// A topic that this API cannot use, or none.
    pub fn deliver_shared<'t>(
        &self,
        configured: &'t [Topic],
        caller: &Caller,
    ) -> Result<Cow<'t, [Topic]>, Misled> {
        if let Some(topics) = self.0.noted(&self.0.names.deliver, Side::Deliver, &[caller.attributes()])? {
            return Ok(Cow::Owned(topics));
        }
        if self.0.deliver.is_empty() {
            return Ok(Cow::Borrowed(configured));
        }
        self.0.evaluated(&self.0.deliver, Side::Deliver, &caller.context()).map(Cow::Owned)
    }

    /// The message with the record key that a policy has chosen for it, if one has, or else the settings.
    ///
    /// # Errors
    /// The expression in the settings has no value for this message.
    pub fn with_key(&self, caller: &Caller, message: Message) -> Result<Message, Misled> {
        let key = match attribute(&self.0.names.key, &[message.attributes(), caller.attributes()]) {
            Some(Value::String(key)) => Some(key.clone()),
            Some(key) if !key.is_null() => Some(key.to_string()),
            _ => match &self.0.key {
                Some(key) => {
                    let context = caller.context().with_message(&message);
                    let text = key.text(&context).map_err(|error| no_value("key", &error))?;
                    text.map(Cow::into_owned)
                }
                None => None,
            },
        };
        Ok(match key {
            Some(key) => message.to_builder().key(key).build(),
            None => message,
        })
    }

    /// The message with the topic at which a policy wants it to be answered, if one does. The driver judges it.
    pub fn with_response_topic(&self, caller: &Caller, message: Message) -> Message {
        match attribute(&self.0.names.response, &[message.attributes(), caller.attributes()]) {
            Some(Value::String(topic)) => {
                message.to_builder().metadata(RESPONSE_TOPIC, topic.clone()).build()
            }
            _ => message,
        }
    }
}

impl Choices {
    /// What an attribute says.
    fn noted(
        &self,
        names: &[String],
        side: Side,
        places: &[&Attributes],
    ) -> Result<Option<Vec<Topic>>, Misled> {
        let Some((name, value)) = entry(names, places) else { return Ok(None) };
        let topics: Vec<Topic> = match value {
            Value::Null => return Ok(None),
            Value::String(list) if name.ends_with('s') => {
                list.split(',').map(|topic| Topic::from(topic.trim())).collect()
            }
            Value::String(topic) => vec![Topic::from(&**topic)],
            Value::Array(list) => {
                list.iter().map(|topic| Topic::from(topic.as_str().unwrap_or_default())).collect()
            }
            _ => Vec::new(),
        };
        let sound = (1..=MAX_TOPICS).contains(&topics.len());
        if !sound || !topics.iter().all(|topic| self.broker.is_topic(topic.as_str(), side)) {
            return Err(Misled::Impossible);
        }
        let free = |topic: &Topic| self.is_free() && self.may_come_in(topic.as_str());
        if !topics.iter().all(|topic| self.named.contains(topic) || free(topic)) {
            return Err(Misled::NotNamed);
        }
        Ok(Some(topics))
    }

    /// What the expressions of the settings come to.
    fn evaluated(
        &self,
        templates: &[Expression],
        side: Side,
        context: &EvalContext<'_>,
    ) -> Result<Vec<Topic>, Misled> {
        let mut topics = Vec::with_capacity(templates.len());
        for template in templates {
            let pieces = template.pieces(context).map_err(|error| no_value("topic", &error))?;
            let alone = pieces.len() == 1;
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Written(plain) => text.push_str(plain),
                    Piece::Evaluated(Some(value)) if may_come_in(&self.broker, &value, alone) => {
                        text.push_str(&value);
                    }
                    Piece::Evaluated(Some(value)) if !value.is_empty() => return Err(Misled::Unfit),
                    Piece::Evaluated(_) => {
                        let reason = "What it is made of is missing.".to_owned();
                        return Err(Misled::NoValue { of: "topic", reason });
                    }
                }
            }
            let topic = Topic::from(text);
            let permitted = self.is_free() || self.named.contains(&topic);
            if !permitted || !self.broker.is_topic(topic.as_str(), side) {
                return Err(Misled::Unfit);
            }
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        Ok(topics)
    }

    /// Whether the permissions of the broker itself judge which topics there are for this API.
    const fn is_free(&self) -> bool {
        !matches!(self.broker, BrokerConfig::Log(_) | BrokerConfig::Mock(_))
    }

    /// Whether a policy may choose this, which may be a client's text from its first character to its last. A scheme
    /// that says nothing new may stand before it.
    fn may_come_in(&self, topic: &str) -> bool {
        let bare = match &self.broker {
            BrokerConfig::Solace(_) | BrokerConfig::Amqp(_) => {
                topic.strip_prefix("topic://").unwrap_or(topic)
            }
            _ => topic,
        };
        may_come_in(&self.broker, bare, true)
    }
}

/// The topics that settings name outright.
pub(crate) fn named(broker: &BrokerConfig) -> Vec<Topic> {
    let mut topics: Vec<&str> =
        [broker.publish_topics(), broker.deliver_topics()].into_iter().flatten().flatten().collect();
    if let BrokerConfig::Log(log) = broker {
        let all = log.topics.iter().chain(&log.producer.topics).chain(&log.consumer.topics);
        topics = all.map(String::as_str).collect();
    }
    let outright = topics.into_iter().filter(|topic| !has_expression(topic));
    outright.map(Topic::from).collect()
}

/// What the setting for the group comes to; `None` where a part of it that is evaluated comes to nothing.
fn whole(group: &Expression, caller: &Caller) -> Result<Option<String>, Misled> {
    let pieces = group.pieces(&caller.context()).map_err(|error| no_value("group", &error))?;
    let texts = pieces.into_iter().map(|piece| match piece {
        Piece::Written(plain) => Some(plain.to_owned()),
        Piece::Evaluated(value) => value.filter(|value| !value.is_empty()).map(|value| value.to_string()),
    });
    Ok(texts.collect())
}

fn no_value(of: &'static str, error: &EvalError) -> Misled {
    Misled::NoValue { of, reason: error.to_string() }
}

fn attribute<'a>(names: &[String], places: &[&'a Attributes]) -> Option<&'a Value> {
    entry(names, places).map(|(_, value)| value)
}

fn entry<'n, 'a>(names: &'n [String], places: &[&'a Attributes]) -> Option<(&'n str, &'a Value)> {
    let mut filled = places.iter().filter(|place| !place.is_empty());
    filled.find_map(|place| names.iter().find_map(|name| Some((&**name, place.get(name)?))))
}

#[cfg(test)]
mod tests;
