//! Messages as MQTT has them, and back: what becomes of payload, headers and content type, and what the driver tells
//! beside them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Headers, Message, Offset, Partition, Place, Topic};

use crate::{filters::is_name, protocol::Ack, settings::Producing};

/// The header that is a field of its own in MQTT 5.
const CONTENT_TYPE: &str = "content-type";
/// What is told of a message, and taken from one, about the answers to it.
const RESPONSE_TOPIC: &str = "responseTopic";
const CORRELATION_DATA: &str = "correlationData";
/// The longest text that MQTT holds, or other data, in bytes.
const MAX_TEXT: usize = 65_535;

/// A message to publish.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: Topic,
    pub(crate) payload: Bytes,
    pub(crate) exactly_once: bool,
    pub(crate) retained: bool,
    /// `None` in MQTT 3.1.1, which has none.
    pub(crate) properties: Option<Properties>,
}

/// What MQTT 5 says about a message.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Bytes>,
    /// In seconds.
    pub(crate) expiry: Option<u32>,
    pub(crate) user: Vec<(String, String)>,
    /// Of the subscriptions it was delivered for.
    pub(crate) identifiers: Vec<usize>,
}

/// A message that was delivered.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retained: bool,
    pub(crate) properties: Option<Properties>,
    /// `None` for QoS 0.
    pub(crate) ack: Option<Ack>,
}

impl Outgoing {
    /// The message as it is to be sent, with its payload as it is counted.
    ///
    /// # Errors
    /// `Invalid`, where a header is longer than MQTT can carry, or what the message says of its answers is nothing that
    /// MQTT has.
    pub(crate) fn new(
        topic: &Topic,
        message: &Message,
        payload: Bytes,
        producing: &Producing,
        has_properties: bool,
    ) -> Result<Self, DriverError> {
        Ok(Self {
            topic: topic.clone(),
            payload,
            exactly_once: producing.exactly_once,
            retained: producing.retained,
            properties: has_properties.then(|| properties(message, producing)).transpose()?,
        })
    }

    /// The bytes of its packet, at the most.
    pub(crate) fn packet_size(&self) -> usize {
        // The fixed header, the packet's number, the length of the properties, and a type and a length for each text.
        const FIXED: usize = 5 + 2 + 2 + 4 + 5;
        let texts = self.properties.as_ref().map_or(0, |properties| {
            let user =
                properties.user.iter().map(|(name, value)| name.len() + value.len() + 5).sum::<usize>();
            let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 3);
            let data = properties.correlation_data.as_ref().map_or(0, |data| data.len() + 3);
            user + text(&properties.content_type) + text(&properties.response_topic) + data
        });
        FIXED + self.topic.as_str().len() + self.payload.len() + texts
    }
}

fn properties(message: &Message, producing: &Producing) -> Result<Properties, DriverError> {
    let headers = message.headers();
    let (response_topic, correlation_data) = answers(message)?;
    let mut properties = Properties {
        content_type: None,
        response_topic: response_topic.or_else(|| producing.response_topic.clone()),
        correlation_data,
        expiry: producing.expiry,
        user: Vec::with_capacity(headers.len()),
        identifiers: Vec::new(),
    };
    for header in headers {
        let value = text(&header.name, &header.value)?;
        if properties.content_type.is_none() && header.name.eq_ignore_ascii_case(CONTENT_TYPE) {
            properties.content_type = Some(value);
        } else {
            properties.user.push((text(&header.name, header.name.as_bytes())?, value));
        }
    }
    Ok(properties)
}

/// Where the message wants its answers, and by what they are to be known: what a policy has chosen, or what it was read
/// with elsewhere.
fn answers(message: &Message) -> Result<(Option<String>, Option<Bytes>), DriverError> {
    let (mut topic, mut data) = (None, None);
    for (name, value) in message.added_metadata() {
        match name {
            RESPONSE_TOPIC if is_name(value) => topic = Some(value.to_owned()),
            RESPONSE_TOPIC => {
                let shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
                let text = format!(
                    "The message wants its answers at '{shown}', which is no topic without wildcards."
                );
                return Err(DriverError::new(ErrorKind::Invalid, text));
            }
            CORRELATION_DATA => match BASE64.decode(value) {
                Ok(bytes) if bytes.len() <= MAX_TEXT => data = Some(Bytes::from(bytes)),
                _ => {
                    let text = format!(
                        "The correlationData of the message are no Base64 of {MAX_TEXT} bytes at the most."
                    );
                    return Err(DriverError::new(ErrorKind::Invalid, text));
                }
            },
            _ => {}
        }
    }
    Ok((topic, data))
}

/// Whether a character is a control, or none that is meant for exchange.
fn is_strange(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// A header's value as text. Bytes that are no UTF-8 are taken for ISO 8859-1, which is as old as HTTP; characters that
/// end a connection with brokers that are strict (MQTT 5 section 1.5.4) become the sign for what cannot be shown.
fn text(name: &str, bytes: &[u8]) -> Result<String, DriverError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let text = if text.contains(is_strange) { text.replace(is_strange, "\u{fffd}") } else { text };
    if text.len() <= MAX_TEXT {
        return Ok(text);
    }
    let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    let text = format!("The header '{name}' is longer than MQTT can carry, which is {MAX_TEXT} bytes.");
    Err(DriverError::new(ErrorKind::Invalid, text))
}

impl Arrived {
    /// The message for whoever reads, at its number within the filter that it was wanted for.
    pub(crate) fn into_message(self, filter: Topic, number: u64) -> Message {
        let topic = String::from_utf8_lossy(&self.topic).into_owned();
        let qos = match self.qos {
            0 => "0",
            1 => "1",
            _ => "2",
        };
        let mut builder = Message::builder()
            .payload(self.payload)
            .place(Place { topic: filter, partition: Partition(0), offset: Offset(number) })
            .metadata("topic", topic)
            .metadata("qos", qos)
            .metadata("retain", if self.retained { "true" } else { "false" });
        let Some(properties) = self.properties else { return builder.build() };
        let mut headers = Headers::new();
        if let Some(content_type) = properties.content_type {
            builder = builder.metadata("contentType", content_type.clone());
            headers.append(CONTENT_TYPE, content_type);
        }
        if let Some(seconds) = properties.expiry {
            builder = builder.metadata("messageExpiryInterval", seconds.to_string());
        }
        if let Some(topic) = properties.response_topic {
            builder = builder.metadata(RESPONSE_TOPIC, topic);
        }
        if let Some(data) = properties.correlation_data {
            builder = builder.metadata(CORRELATION_DATA, BASE64.encode(data));
        }
        for (name, value) in properties.user {
            headers.append(name, value);
        }
        builder.headers(headers).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producing() -> Producing {
        Producing {
            exactly_once: false,
            retained: false,
            response_topic: Some("answers".to_owned()),
            expiry: Some(60),
            attempts: 0,
        }
    }

    fn outgoing(message: &Message) -> Result<Outgoing, DriverError> {
        Outgoing::new(&"t/1".into(), message, Bytes::from("x"), &producing(), true)
    }

    fn with_headers<const N: usize>(headers: [(&str, &[u8]); N]) -> Result<Outgoing, DriverError> {
        let headers = headers.into_iter().map(|(name, value)| (name, value.to_vec())).collect();
        outgoing(&Message::builder().headers(headers).build())
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_with_its_name() {
        let error = with_headers([("trace", &[b'x'; MAX_TEXT + 1])]).expect_err("MQTT cannot carry it");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("'trace'"), "{error}");
        assert!(with_headers([("trace", &[b'x'; MAX_TEXT])]).is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_become_text() {
        let value = |bytes: &[u8]| {
            let sent = with_headers([("trace", bytes)]).expect("it is short");
            sent.properties.map(|mut properties| properties.user.remove(0).1)
        };
        assert_eq!(value("größer".as_bytes()).as_deref(), Some("größer"));
        assert_eq!(value(b"gr\xf6\xdfer").as_deref(), Some("größer"));
        assert_eq!(value(b"a\0b\x80c").as_deref(), Some("a\u{fffd}b\u{fffd}c"));
        assert_eq!(value("\u{ffff}".as_bytes()).as_deref(), Some("\u{fffd}"));
    }

    /// The message as it is read where this is published.
    fn arrived(sent: Outgoing) -> Message {
        let properties = Some(sent.properties.expect("MQTT 5 has properties"));
        let topic = Bytes::from("t/1");
        let arrived = Arrived { topic, payload: sent.payload, qos: 1, retained: true, properties, ack: None };
        arrived.into_message("t/+".into(), 7)
    }

    fn told(message: &Message, name: &str) -> Option<String> {
        message.metadata().find(|(told, _)| *told == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn the_content_type_is_a_field_of_its_own_and_a_header_again() {
        let sent = with_headers([("a", b"1"), ("Content-Type", b"text/plain"), ("a", b"2")])
            .expect("all of it is text");
        let content_type = sent.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
        assert_eq!(content_type, Some("text/plain"));
        let message = arrived(sent);
        let headers: Vec<_> =
            message.headers().iter().map(|header| (&*header.name, &*header.value)).collect();
        assert_eq!(headers, [("content-type", &b"text/plain"[..]), ("a", b"1"), ("a", b"2")]);
        for (name, value) in [
            ("topic", "t/1"),
            ("qos", "1"),
            ("retain", "true"),
            ("contentType", "text/plain"),
            ("messageExpiryInterval", "60"),
            ("responseTopic", "answers"),
            ("offset", "7"),
        ] {
            assert_eq!(told(&message, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_a_message_says_of_its_answers_goes_along_before_the_settings() {
        let data = BASE64.encode([0, 255, b'a']);
        let message =
            Message::builder().metadata("responseTopic", "mine/1").metadata("correlationData", data.clone());
        let sent = outgoing(&message.build()).expect("both are MQTT's");
        let properties = sent.properties.as_ref().expect("MQTT 5 has properties");
        assert_eq!(properties.correlation_data.as_deref(), Some(&[0, 255, b'a'][..]));
        let message = arrived(sent);
        assert_eq!(told(&message, "responseTopic").as_deref(), Some("mine/1"));
        assert_eq!(told(&message, "correlationData"), Some(data));
        // The newest says what holds.
        let message = message.to_builder().metadata("responseTopic", "chosen").build();
        let sent = outgoing(&message).expect("it is a topic");
        assert_eq!(sent.properties.expect("MQTT 5").response_topic.as_deref(), Some("chosen"));
    }

    #[test]
    fn what_a_message_says_of_its_answers_and_mqtt_cannot_carry_is_refused() {
        let data = |length: usize| BASE64.encode(vec![b'x'; length]);
        for (name, value) in [
            ("responseTopic", "a/+".to_owned()),
            ("responseTopic", String::new()),
            ("correlationData", "no Base64".to_owned()),
            ("correlationData", data(MAX_TEXT + 1)),
        ] {
            let error = outgoing(&Message::builder().metadata(name, value).build()).expect_err(name);
            assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        }
        let edge = Message::builder().metadata("correlationData", data(MAX_TEXT)).build();
        assert!(outgoing(&edge).is_ok_and(|sent| sent.packet_size() > MAX_TEXT));
        let sent = Outgoing::new(&"t".into(), &edge, Bytes::new(), &producing(), false);
        assert!(sent.is_ok_and(|sent| sent.properties.is_none()), "3.1.1 has no place for it");
    }
}
