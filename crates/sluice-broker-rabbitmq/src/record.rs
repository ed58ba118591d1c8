//! Between our messages and AMQP's: headers, properties, and values of other types as text.

use std::borrow::Cow;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::Value;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Attributes, Headers, Message, Place};

/// Headers that are properties of their own in AMQP.
const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";
/// Headers by which a publisher makes RabbitMQ send a message elsewhere, too.
const ROUTING: [&str; 2] = ["CC", "BCC"];
/// Written to disk.
const PERSISTENT: u8 = 2;
/// What a header or a property takes in a frame beside its name and value, at the most.
const FIELD_BYTES: usize = 6;
/// Arrays and tables in each other are shown as far down as this.
const MAX_DEPTH: usize = 8;

/// The properties of a message that is to be published, and how many bytes they take in a frame, about.
///
/// # Errors
/// `Invalid`: what AMQP cannot carry, as a name that is too long.
pub(crate) fn properties(message: &Message) -> Result<(BasicProperties, usize), DriverError> {
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let mut table = FieldTable::default();
    let mut bytes = 0;
    for (at, header) in message.headers().iter().enumerate() {
        bytes += header.name.len() + header.value.len() + FIELD_BYTES;
        let is_same = |other: &&sluice_message::Header| other.name.eq_ignore_ascii_case(&header.name);
        if message.headers().iter().take(at).any(|other| is_same(&other)) {
            continue;
        }
        let value = joined(message.headers(), &header.name);
        if header.name.eq_ignore_ascii_case(CONTENT_TYPE) {
            properties = properties.with_content_type(short(&header.name, &text(&value))?);
        } else if header.name.eq_ignore_ascii_case(CONTENT_ENCODING) {
            properties = properties.with_content_encoding(short(&header.name, &text(&value))?);
        } else if ROUTING.contains(&&*header.name) {
            let text =
                format!("The header '{}' would make RabbitMQ send the message elsewhere.", header.name);
            return Err(DriverError::new(ErrorKind::Invalid, text));
        } else {
            let name = short("name of a header", &header.name)?;
            table.insert(name, AMQPValue::LongString(value.into_owned().into()));
        }
    }
    if !table.inner().is_empty() {
        properties = properties.with_headers(table);
    }
    if let Some(time) = message.timestamp_ms().and_then(|time| u64::try_from(time / 1000).ok()) {
        properties = properties.with_timestamp(time);
    }
    with_attributes(properties, message.attributes(), &mut bytes).map(|properties| (properties, bytes))
}

/// Properties that policies have left as attributes of the message.
fn with_attributes(
    mut properties: BasicProperties,
    attributes: &Attributes,
    bytes: &mut usize,
) -> Result<BasicProperties, DriverError> {
    if attributes.is_empty() {
        return Ok(properties);
    }
    for (name, value) in attributes.iter() {
        let Some(property) = name.strip_prefix("rabbitmq.") else { continue };
        let value = match value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.to_string()),
        };
        let invalid = |rule: &str| {
            let text = format!("The attribute '{name}' cannot be published: {rule}.");
            DriverError::new(ErrorKind::Invalid, text)
        };
        let text = || short(name, &value);
        properties = match property {
            "correlationId" => properties.with_correlation_id(text()?),
            "replyTo" => properties.with_reply_to(text()?),
            "messageId" => properties.with_message_id(text()?),
            "type" => properties.with_type(text()?),
            "expiration" => match value.parse::<u32>() {
                Ok(_) => properties.with_expiration(text()?),
                Err(_) => return Err(invalid("it is no number of milliseconds")),
            },
            "priority" => match value.parse() {
                Ok(priority) => properties.with_priority(priority),
                Err(_) => return Err(invalid("it is no number from 0 to 255")),
            },
            _ => continue,
        };
        *bytes += value.len() + FIELD_BYTES;
    }
    Ok(properties)
}

/// The values of a name, as one (RFC 9110 section 5.3).
fn joined<'a>(headers: &'a Headers, name: &'a str) -> Cow<'a, [u8]> {
    let mut values = headers.get_all(name);
    let mut value = values.next().map_or(Cow::Borrowed(&b""[..]), |first| Cow::Borrowed(&**first));
    for other in values {
        let value = value.to_mut();
        value.extend_from_slice(b", ");
        value.extend_from_slice(other);
    }
    value
}

fn short(what: &str, text: &str) -> Result<ShortString, DriverError> {
    ShortString::try_new(text).map_err(|_| {
        let text = format!("RabbitMQ takes 255 bytes for the {what}; here are {}.", text.len());
        DriverError::new(ErrorKind::Invalid, text)
    })
}

/// Whether the publisher named further routing keys, by any of which a message may have come.
pub(crate) fn came_by_copy(delivery: &Delivery) -> bool {
    delivery.properties.headers().as_ref().is_some_and(|table| table.contains_key("CC"))
}

/// The message of a delivery. The payload is not copied.
pub(crate) fn message(delivery: Delivery, place: Place) -> Message {
    let properties = &delivery.properties;
    let mut headers = Headers::new();
    if let Some(value) = properties.content_type() {
        headers.append(CONTENT_TYPE, value.as_str().to_owned());
    }
    if let Some(value) = properties.content_encoding() {
        headers.append(CONTENT_ENCODING, value.as_str().to_owned());
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        headers.append(name.as_str(), value_bytes(value));
    }
    let mut message = Message::builder()
        .place(place)
        .headers(headers)
        .metadata("topic", delivery.routing_key.as_str().to_owned())
        .metadata("exchange", delivery.exchange.as_str().to_owned())
        .metadata("redelivered", if delivery.redelivered { "true" } else { "false" });
    let texts = [
        ("contentType", properties.content_type()),
        ("correlationId", properties.correlation_id()),
        ("replyTo", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("messageId", properties.message_id()),
        ("type", properties.kind()),
        ("userId", properties.user_id()),
        ("appId", properties.app_id()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            message = message.metadata(name, value.as_str().to_owned());
        }
    }
    for (name, value) in [("deliveryMode", properties.delivery_mode()), ("priority", properties.priority())] {
        if let Some(value) = value {
            message = message.metadata(name, value.to_string());
        }
    }
    let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
    if let Some(time) = seconds.and_then(|seconds| seconds.checked_mul(1000)) {
        message = message.timestamp_ms(time);
    }
    message.payload(delivery.data).build()
}

/// The value of a header: text and bytes as they are, anything else as text; arrays and tables as JSON.
fn value_bytes(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        AMQPValue::Void => Bytes::new(),
        other => match json(other, 0) {
            Value::String(text) => text.into(),
            value => value.to_string().into(),
        },
    }
}

fn json(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::DecimalValue(decimal) => {
            (f64::from(decimal.value) / 10_f64.powi(i32::from(decimal.scale))).to_string().into()
        }
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(bytes) => text(bytes.as_bytes()).into(),
        AMQPValue::ByteArray(bytes) => text(bytes.as_slice()).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Void => Value::Null,
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth == MAX_DEPTH => "...".into(),
        AMQPValue::FieldArray(array) => {
            array.as_slice().iter().map(|value| json(value, depth + 1)).collect::<Vec<_>>().into()
        }
        AMQPValue::FieldTable(table) => {
            let fields = table.inner().iter();
            Value::Object(fields.map(|(name, value)| (name.to_string(), json(value, depth + 1))).collect())
        }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn with(headers: &[(&str, &str)]) -> Message {
        let headers = headers.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Message::builder().payload("x").headers(headers).build()
    }

    #[test]
    fn a_name_that_repeats_is_joined_in_its_first_spelling() {
        let message = with(&[("Accept", "one"), ("Content-Type", "text/plain"), ("accept", "two")]);
        let (properties, _) = properties(&message).unwrap();
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
        let table = properties.headers().clone().unwrap();
        assert_eq!(table.inner().len(), 1);
        assert_eq!(table.inner().get("Accept"), Some(&AMQPValue::LongString("one, two".into())));
    }

    #[test]
    fn what_amqp_cannot_carry_is_invalid() {
        let (long, longest) = ("n".repeat(256), "n".repeat(255));
        assert!(properties(&with(&[(&longest, "v")])).is_ok());
        for headers in
            [[(&*long, "v")], [("content-type", &*long)], [("CC", "elsewhere")], [("BCC", "elsewhere")]]
        {
            assert_eq!(properties(&with(&headers)).unwrap_err().kind, ErrorKind::Invalid);
        }
        for (name, value) in [("rabbitmq.priority", "256"), ("rabbitmq.expiration", "soon")] {
            let mut attributes = Attributes::default();
            attributes.set(name, value.into());
            let message = Message::builder().attributes(attributes).build();
            assert_eq!(properties(&message).unwrap_err().kind, ErrorKind::Invalid);
        }
    }

    #[test]
    fn values_of_any_type_become_text() {
        let nested = (0..20)
            .fold(AMQPValue::Boolean(true), |value, _| AMQPValue::FieldArray(FieldArray::from(vec![value])));
        let mut table = FieldTable::default();
        table.insert("n".into(), AMQPValue::LongInt(-3));
        for (value, expected) in [
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::LongLongInt(-7), "-7"),
            (AMQPValue::Double(0.5), "0.5"),
            (AMQPValue::Timestamp(1_700_000_000), "1700000000"),
            (AMQPValue::Void, ""),
            (AMQPValue::FieldTable(table), r#"{"n":-3}"#),
            (nested, r#"[[[[[[[["..."]]]]]]]]"#),
        ] {
            assert_eq!(value_bytes(&value), expected);
        }
    }
}
