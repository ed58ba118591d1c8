//! What the attributes of a CloudEvent must be (CloudEvents 1.0 section 3), however the event is written.

use std::{borrow::Borrow, collections::BTreeMap};

/// An attribute that is not as it must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) attribute: String,
    /// The rest of a sentence that begins with the attribute.
    pub(super) what: &'static str,
}

impl Fault {
    pub(super) fn new(attribute: &str, what: &'static str) -> Self {
        Self { attribute: attribute.to_owned(), what }
    }
}

/// Whether an attribute is one of those that the specification knows, all of which are text. Others may be numbers
/// and truth values as well.
pub(super) fn is_text(attribute: &str) -> bool {
    matches!(
        attribute,
        "id" | "source" | "specversion" | "type" | "datacontenttype" | "dataschema" | "subject" | "time"
    )
}

/// Checks the attributes of an event.
pub(super) fn check<T: Borrow<str>>(found: &BTreeMap<&str, T>) -> Result<(), Fault> {
    for required in ["specversion", "id", "source", "type"] {
        if !found.contains_key(required) {
            return Err(Fault::new(required, "is missing"));
        }
    }
    for (name, value) in found {
        let value = value.borrow();
        if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')) {
            return Err(Fault::new(
                name,
                "is no name of an attribute: those have lower-case letters and digits",
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(Fault::new(name, "holds control characters"));
        }
        if is_text(name) && value.is_empty() {
            return Err(Fault::new(name, "is empty"));
        }
        check_form(name, value).map_err(|what| Fault::new(name, what))?;
    }
    Ok(())
}

fn check_form(name: &str, value: &str) -> Result<(), &'static str> {
    match name {
        "specversion" if value != "1.0" => Err("is not 1.0, the version that is known here"),
        "source" if !is_uri_reference(value) => Err("is no URI reference"),
        "dataschema" if !is_uri(value) => Err("is no URI with a scheme"),
        "time" if !is_time(value) => Err("is no time as RFC 3339 has it"),
        "datacontenttype" if !value.contains('/') => Err("is no media type"),
        _ => Ok(()),
    }
}

/// Whether it has only what a URI may have (RFC 3986 section 2).
fn is_uri_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
        byte => byte.is_ascii_graphic(),
    })
}

fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    is_uri_reference(text) && text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// The parser takes more forms than RFC 3339 has: the zone's name in brackets, a space in the middle.
fn is_time(text: &str) -> bool {
    matches!(text.as_bytes().get(10), Some(b'T' | b't'))
        && !text.contains('[')
        && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(more: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, &'a str> {
        let needed = [("id", "1"), ("source", "/a"), ("specversion", "1.0"), ("type", "t")];
        needed.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn an_event_has_its_four_attributes() {
        assert_eq!(check(&event(&[])), Ok(()));
        for name in ["id", "source", "specversion", "type"] {
            let mut found = event(&[]);
            found.remove(name);
            assert_eq!(check(&found), Err(Fault::new(name, "is missing")));
            found.insert(name, "");
            assert_eq!(check(&found).unwrap_err().attribute, name);
        }
    }

    #[test]
    fn an_attribute_has_the_form_of_its_type() {
        for (name, good, bad) in [
            ("specversion", "1.0", &["0.3", "1", "1.0 "][..]),
            ("source", "urn:a:b#c", &["a b", "a%zz", "<a>"]),
            ("dataschema", "https://a.example/s", &["/s", "1:a", "a b:c"]),
            (
                "time",
                "2018-04-05T17:31:00.5+02:00",
                &["2018-04-05", "now", "2018-04-05 17:31:00Z", "2018-13-05T17:31:00Z"],
            ),
            ("datacontenttype", "text/xml", &["xml"]),
            ("subject", "a", &["", "a\u{7}"]),
            ("comext1", "", &["a\nb"]),
        ] {
            assert_eq!(check(&event(&[(name, good)])), Ok(()), "{name}");
            for bad in bad {
                assert_eq!(check(&event(&[(name, bad)])).unwrap_err().attribute, name, "{name} {bad}");
            }
        }
        for name in ["", "Upper", "with-dash", "with_line"] {
            assert_eq!(check(&event(&[(name, "x")])).unwrap_err().attribute, name);
        }
    }
}
