//! The parameters of a request to the hub: from its form, its query or both, each at most once. Pure; what they mean is
//! found out elsewhere.

use http::StatusCode;
use sluice_api::Secret;
use sluice_receiver::{Refusal, parameters};

/// The longest topic that is looked for, in bytes: as long as a callback may be.
const MAX_TOPIC: usize = 2048;

/// What the `hub.*` parameters of a request say. One that is empty is as if it were not there.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Fields {
    pub(crate) mode: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) callback: Option<String>,
    pub(crate) lease_seconds: Option<String>,
    pub(crate) secret: Option<Secret>,
}

impl Fields {
    /// Reads a query and a form, both as the WHATWG URL standard has them. Parameters that the hub does not know are
    /// passed over, as the Recommendation lets others extend it.
    ///
    /// # Errors
    /// 400 that names the parameter: one that is there twice, is no UTF-8, or is a topic longer than 2048 bytes.
    pub fn read(query: &str, form: &str) -> Result<Self, Refusal> {
        let mut found = [const { None }; NAMES.len()];
        for (name, value) in parameters(query).chain(parameters(form)) {
            let Some(index) = NAMES.iter().position(|known| *known == name) else { continue };
            // What stands in the place of bytes that are no UTF-8: a secret would be another one than was meant.
            if value.contains('\u{fffd}') {
                return Err(invalid(format!("{name} is not UTF-8.")));
            }
            if found[index].replace(value).is_some() {
                let text =
                    format!("{name} is there twice; send each parameter once, in the form or in the query.");
                return Err(refused("hub.parameter.repeated", text));
            }
        }
        let [mode, topic, url, callback, lease_seconds, secret] =
            found.map(|value| value.filter(|value| !value.is_empty()));
        for (name, topic) in [("hub.topic", &topic), ("hub.url", &url)] {
            if topic.as_ref().is_some_and(|topic| topic.len() > MAX_TOPIC) {
                return Err(invalid(format!("{name} is longer than {MAX_TOPIC} bytes.")));
            }
        }
        Ok(Self { mode, topic, url, callback, lease_seconds, secret: secret.map(Secret::new) })
    }
}

/// In the order in which they are taken apart.
const NAMES: [&str; 6] =
    ["hub.mode", "hub.topic", "hub.url", "hub.callback", "hub.lease_seconds", "hub.secret"];

fn refused(code: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, text)
}

/// A parameter that says what cannot be.
pub(crate) fn invalid(text: impl Into<String>) -> Refusal {
    refused("hub.parameter.invalid", text)
}

/// A parameter that has to be there.
pub(crate) fn missing(name: &str) -> Refusal {
    refused("hub.parameter.missing", format!("{name} is missing."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded::Serializer;

    use super::*;

    fn code(query: &str, form: &str) -> (&'static str, String) {
        let refusal = Fields::read(query, form).unwrap_err();
        (refusal.code, refusal.message)
    }

    #[test]
    fn form_and_query_are_read_alike_and_together() {
        let fields = Fields::read("hub.mode=subscribe&x=1", "hub.topic=a%2Fb+c&hub.extension=2").unwrap();
        assert_eq!((fields.mode.as_deref(), fields.topic.as_deref()), (Some("subscribe"), Some("a/b c")));
        assert_eq!(Fields::read("", "hub.secret=&hub.lease_seconds=").unwrap(), Fields::default());
    }

    #[test]
    fn a_repeated_parameter_is_refused_by_name() {
        for (query, form) in
            [("hub.topic=a", "hub.topic=a"), ("", "hub.topic=a&hub.topic=b"), ("hub.topic=&hub.topic=a", "")]
        {
            let (code, message) = code(query, form);
            assert_eq!(code, "hub.parameter.repeated");
            assert!(message.starts_with("hub.topic "), "{message}");
        }
        assert!(Fields::read("x=1&x=2", "hub.x=1&hub.x=2").is_ok());
    }

    #[test]
    fn a_parameter_that_is_no_utf_8_is_refused_by_name() {
        let (code, message) = code("", "hub.secret=%ff");
        assert_eq!((code, &*message), ("hub.parameter.invalid", "hub.secret is not UTF-8."));
    }

    #[test]
    fn a_topic_of_2048_bytes_is_read_and_a_longer_one_is_not() {
        let topic = |length| format!("hub.topic={}", "x".repeat(length));
        assert!(Fields::read("", &topic(2048)).is_ok());
        assert_eq!(code("", &topic(2049)).0, "hub.parameter.invalid");
    }

    proptest! {
        #[test]
        fn what_a_form_says_is_read_as_it_was_written(values in prop::array::uniform6("[^\u{fffd}]{1,40}"), split in 0..7_usize) {
            let written = |from: usize, to: usize| {
                let pairs = NAMES.iter().zip(&values).skip(from).take(to - from);
                Serializer::new(String::new()).extend_pairs(pairs).finish()
            };
            let fields = Fields::read(&written(0, split), &written(split, 6)).unwrap();
            let secret = fields.secret.as_ref().map(|secret| secret.expose().to_owned());
            let read = [fields.mode, fields.topic, fields.url, fields.callback, fields.lease_seconds, secret];
            prop_assert_eq!(read, values.map(Some));
        }

        #[test]
        fn nothing_that_is_written_breaks_the_reader(query in ".{0,200}", form in "(hub\\.(mode|topic|secret)=|&|%|.){0,80}") {
            let _read_or_refused = Fields::read(&query, &form);
        }
    }
}
