//! The attributes of a CloudEvent in binary mode as a call has them. In messages they stand in headers that begin with
//! `ce_`, as the Kafka protocol binding has it; in HTTP with `ce-`, and what is no plain ASCII is escaped there (HTTP
//! protocol binding, section 3.1.3). An event in structured mode stands in the payload, which nothing here changes.

use std::fmt::Write as _;

use sluice_message::{Headers, Message};

const IN_MESSAGES: &str = "ce_";

/// The headers of a message, those of an event by their names in HTTP; `None` where it is no event in binary mode.
pub(crate) fn of_event(message: &Message) -> Option<Headers> {
    message.headers().get("ce_specversion")?;
    let headers = message.headers().iter().map(|header| match attribute(&header.name) {
        Some(attribute) => (format!("ce-{attribute}").into_boxed_str(), escaped(&header.value).into()),
        None => (Box::from(&*header.name), header.value.clone()),
    });
    Some(headers.collect())
}

fn attribute(name: &str) -> Option<&str> {
    let begin = name.get(..IN_MESSAGES.len())?;
    begin.eq_ignore_ascii_case(IN_MESSAGES).then(|| &name[IN_MESSAGES.len()..])
}

fn escaped(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_graphic() && !b"\"%".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<Vec<(String, String)>> {
        let headers: Headers = headers.iter().copied().collect();
        let message = Message::builder().payload("x").headers(headers).build();
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let found = of_event(&message)?;
        Some(found.iter().map(|header| (header.name.to_string(), text(&header.value))).collect())
    }

    #[test]
    fn attributes_of_an_event_are_renamed_and_escaped_and_nothing_else_is() {
        let headers =
            [("ce_specversion", "1.0"), ("CE_subject", "Grüße \"€\" 100%"), ("x_a", "ü"), ("ce", "b")];
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-subject", "Gr%C3%BC%C3%9Fe%20%22%E2%82%AC%22%20100%25"),
            ("x_a", "ü"),
            ("ce", "b"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(of(&headers).unwrap(), expected);
    }

    #[test]
    fn a_message_that_is_no_event_is_left_as_it_is() {
        assert_eq!(of(&[("ce_id", "1"), ("ce-specversion", "1.0")]), None);
    }
}
