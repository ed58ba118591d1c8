//! What a client is told that a policy turns away.

use std::{borrow::Cow, collections::BTreeMap};

use sluice_message::Headers;

/// A refused connection or message, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status, from 400 to 599.
    pub status: u16,
    /// The stable code of the rule, as in docs/errors.md.
    pub code: &'static str,
    /// The key by which an API's response templates name the error.
    pub key: Cow<'static, str>,
    /// One sentence that says what is wrong and what would be right.
    pub message: String,
    /// What the error says about itself, for response templates.
    pub parameters: BTreeMap<String, String>,
    /// Headers that belong on the answer in any case.
    pub headers: Headers,
    /// The answer that the API has written for this error; the message is told where there is none.
    pub response: Option<Box<Rendered>>,
}

impl Rejection {
    /// A rejection of which no more is known.
    pub fn new(
        status: u16,
        code: &'static str,
        key: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            key: key.into(),
            message: message.into(),
            parameters: BTreeMap::new(),
            headers: Headers::new(),
            response: None,
        }
    }
}

/// An answer made from a response template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: String,
    /// Other headers.
    pub headers: Headers,
    /// The body.
    pub body: String,
}
