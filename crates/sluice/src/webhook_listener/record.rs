//! One received request, as a person and as a machine reads it.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{StatusCode, request::Parts};
use serde::Serialize;

/// A request with what was decided about it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    /// Counted from 1.
    number: u64,
    /// Milliseconds since 1970.
    received_at: u64,
    method: &'a str,
    /// With the query, as it was sent.
    path: String,
    /// Names in lower case; values of one name are joined by commas.
    headers: BTreeMap<&'a str, String>,
    /// Size of the body; absent, like the body, when that was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(flatten)]
    body: Option<Content<'a>>,
    /// `verified`, or `failed: ` and why; absent when nothing was to be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    /// What it is answered with.
    status: u16,
}

/// A body as text where it is text.
#[derive(Serialize)]
enum Content<'a> {
    #[serde(rename = "body")]
    Text(&'a str),
    #[serde(rename = "bodyBase64")]
    Binary(String),
}

impl<'a> Record<'a> {
    /// `body` is absent when it was not taken, `signature` when none was to be checked.
    pub(super) fn new(
        number: u64,
        head: &'a Parts,
        body: Option<&'a [u8]>,
        signature: Option<Result<(), String>>,
        status: StatusCode,
    ) -> Self {
        let mut headers = BTreeMap::<_, String>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str())
                .and_modify(|values| {
                    values.push_str(", ");
                    values.push_str(&value);
                })
                .or_insert_with(|| value.to_string());
        }
        let signature = signature.map(|checked| match checked {
            Ok(()) => "verified".to_owned(),
            Err(reason) => format!("failed: {reason}"),
        });
        let content = |body| match std::str::from_utf8(body) {
            Ok(text) => Content::Text(text),
            Err(_) => Content::Binary(BASE64_STANDARD.encode(body)),
        };
        Self {
            number,
            received_at: UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64),
            method: head.method.as_str(),
            path: head.uri.to_string(),
            headers,
            bytes: body.map(<[u8]>::len),
            body: body.map(content),
            signature,
            status: status.as_u16(),
        }
    }

    /// One line.
    pub(super) fn to_json(&self) -> String {
        // There is no key that is no text and no number that JSON lacks.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// A block that ends with an empty line.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("#{} {} {} -> {}\n", self.number, self.method, self.path, self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("  {name}: {}\n", harmless(value)));
        }
        if let Some(signature) = &self.signature {
            text.push_str(&format!("  Signature {}\n", harmless(signature)));
        }
        match &self.body {
            Some(Content::Text("")) | None => {}
            Some(Content::Text(body)) => text.push_str(&format!("\n{}\n", harmless(body))),
            Some(Content::Binary(body)) => text.push_str(&format!("\n(binary, as base64) {body}\n")),
        }
        text.push('\n');
        text
    }
}

/// Text that cannot steer a terminal, whoever wrote it.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !['\n', '\t'].contains(&character) {
            harmless.extend(character.escape_default());
        } else {
            harmless.push(character);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_cannot_steer_a_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{9b}"), "a\\u{1b}[2Jb\\r\n\tc\\u{9b}");
    }
}
