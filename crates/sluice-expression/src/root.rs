//! The roots of the language, `#message` and `#subscription`, and their properties: the one table of what
//! can be read, from which names are resolved and errors list what is known.

use std::borrow::Cow;

use crate::{EvalContext, error::EvalError, tree::Kind, value::Value};

/// A property of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    MessageContent,
    MessageContentLength,
    MessageHeaders,
    MessageMetadata,
    MessageId,
    SubscriptionId,
    SubscriptionType,
    SubscriptionMetadata,
}

/// Every root with its properties.
const ROOTS: [(&str, &[(&str, Property)]); 2] = [
    (
        "message",
        &[
            ("content", Property::MessageContent),
            ("contentLength", Property::MessageContentLength),
            ("headers", Property::MessageHeaders),
            ("metadata", Property::MessageMetadata),
            ("id", Property::MessageId),
        ],
    ),
    (
        "subscription",
        &[
            ("id", Property::SubscriptionId),
            ("type", Property::SubscriptionType),
            ("metadata", Property::SubscriptionMetadata),
        ],
    ),
];

/// The properties of a root; `None` when there is no such root.
pub(crate) fn properties(root: &str) -> Option<&'static [(&'static str, Property)]> {
    ROOTS.into_iter().find(|(name, _)| *name == root).map(|(_, properties)| properties)
}

/// The names of all roots, as an error lists them.
pub(crate) fn names() -> String {
    ROOTS.map(|(name, _)| format!("#{name}")).join(", ")
}

impl Property {
    /// What its value will be; texts that may be null are not certain.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::MessageContent => Kind::Text,
            Self::MessageContentLength => Kind::Number,
            Self::MessageHeaders | Self::MessageMetadata | Self::SubscriptionMetadata => Kind::Map,
            Self::MessageId | Self::SubscriptionId | Self::SubscriptionType => Kind::Any,
        }
    }

    /// Whether it needs a message.
    pub(crate) const fn reads_message(self) -> bool {
        !matches!(self, Self::SubscriptionId | Self::SubscriptionType | Self::SubscriptionMetadata)
    }

    /// Its value in a context.
    pub(crate) fn read<'a>(self, context: &EvalContext<'a>) -> Result<Value<'a>, EvalError> {
        let message = || context.message().ok_or(EvalError::NoMessage);
        let text = |text: Option<&'a str>| text.map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text)));
        Ok(match self {
            Self::MessageContent => Value::Text(String::from_utf8_lossy(message()?.payload())),
            Self::MessageContentLength => {
                Value::Integer(i64::try_from(message()?.payload().len()).unwrap_or(i64::MAX))
            }
            Self::MessageHeaders => Value::Headers(message()?.headers()),
            Self::MessageMetadata => Value::Metadata(message()?),
            Self::MessageId => text(message()?.id()),
            Self::SubscriptionId => text(context.subscription().map(|subscription| subscription.id)),
            Self::SubscriptionType => {
                text(context.subscription().map(|subscription| subscription.kind.as_str()))
            }
            Self::SubscriptionMetadata => context
                .subscription()
                .map_or(Value::EmptyMap, |subscription| Value::Map(subscription.metadata)),
        })
    }
}
