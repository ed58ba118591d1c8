//! Who a client has proved to be, and where it brings the proof. Policies that ask for credentials note here what
//! those that come later read: on the client where they meet it, on the message where they see one.

use futures_util::future::{self, BoxFuture, FutureExt};
use serde_json::{Value, json};
use sluice_expression::{EvalContext, Request};
use sluice_message::{Attributes, Headers, Message};

use crate::{Caller, Rejection, Rendered, Verdict};

/// The attribute for who it is: a text.
pub(crate) const SUBJECT: &str = "auth.subject";
/// The attribute for what it is: a list of texts.
pub(crate) const ROLES: &str = "auth.roles";

/// Who somebody is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    subject: Value,
    roles: Value,
}

impl Identity {
    pub(crate) fn new(subject: &str, roles: &[String]) -> Self {
        Self { subject: subject.into(), roles: roles.into() }
    }

    fn note(self, attributes: &mut Attributes) {
        attributes.set(SUBJECT, self.subject);
        attributes.set(ROLES, self.roles);
    }

    /// Lets a client on, known by this identity if there is one.
    pub(crate) fn met<'f>(
        caller: &mut Caller,
        identified: Result<Option<Self>, Box<Rejection>>,
    ) -> BoxFuture<'f, Result<(), Rejection>> {
        let met = identified.map_err(|rejection| *rejection).map(|identity| {
            if let Some(identity) = identity {
                identity.note(&mut caller.attributes);
            }
        });
        future::ready(met).boxed()
    }

    /// Lets a message on, known to be by this identity if there is one.
    pub(crate) fn seen(message: Message, identified: Result<Option<Self>, Box<Rejection>>) -> Verdict {
        match identified {
            Ok(None) => Verdict::Continue(message),
            Ok(Some(identity)) => {
                let mut attributes = message.attributes().clone();
                identity.note(&mut attributes);
                Verdict::Continue(message.to_builder().attributes(attributes).build())
            }
            Err(rejection) => Verdict::Reject(*rejection),
        }
    }
}

/// Who is at work: who sent the message if that was asked, else the client.
pub(crate) fn subject<'a>(context: &EvalContext<'a>, message: Option<&'a Message>) -> Option<&'a str> {
    places(context, message).find_map(|attributes| attributes.get(SUBJECT)?.as_str())
}

/// What it is: as who sent the message and as the client.
pub(crate) fn roles<'a>(
    context: &EvalContext<'a>,
    message: Option<&'a Message>,
) -> impl Iterator<Item = &'a str> {
    let lists = places(context, message).filter_map(|attributes| attributes.get(ROLES)?.as_array());
    lists.flatten().filter_map(Value::as_str)
}

fn places<'a>(
    context: &EvalContext<'a>,
    message: Option<&'a Message>,
) -> impl Iterator<Item = &'a Attributes> {
    message.map(Message::attributes).into_iter().chain(context.attributes())
}

/// Where a client brings what it proves itself with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brought<'a> {
    pub(crate) headers: &'a Headers,
    /// Query parameters.
    pub(crate) params: &'a [(String, String)],
}

impl<'a> Brought<'a> {
    /// The client's request; for one that is called, and so makes none, the message.
    pub(crate) fn with(request: Option<&'a Request>, message: Option<&'a Message>) -> Option<Self> {
        let by_request = request.map(|request| Self { headers: &request.headers, params: &request.params });
        by_request.or_else(|| message.map(|message| Self { headers: message.headers(), params: &[] }))
    }

    /// The first header of this name, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.headers.get(name)?).ok().map(str::trim)
    }

    /// The first query parameter of this name.
    pub(crate) fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// Turns somebody away who has not proved who it is.
pub(crate) fn unauthorized(code: &'static str, message: impl Into<String>) -> Box<Rejection> {
    turned_away(401, "Unauthorized", "UNAUTHORIZED", code, message.into())
}

/// Turns somebody away who may not do this.
pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Box<Rejection> {
    turned_away(403, "Forbidden", "FORBIDDEN", code, message.into())
}

/// The body is that of the contract from which these policies come.
fn turned_away(
    status: u16,
    error: &str,
    key: &'static str,
    code: &'static str,
    message: String,
) -> Box<Rejection> {
    let body = json!({"error": error, "message": message, "code": code}).to_string();
    let content_type = "application/json".to_owned();
    let answer = Rendered { status, content_type, headers: Headers::new(), body };
    let response = Some(Box::new(answer));
    Box::new(Rejection { response, ..Rejection::new(status, code, key, message) })
}
