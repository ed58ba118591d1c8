//! Settings of the `webhook-receiver`: what webhook senders push, how they are recognized, and what of a request
//! becomes part of the message. Data and its rules only; the receiver is in the crate `sluice-receiver`.

mod sender;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use sender::{HmacAlgorithm, SignatureEncoding, WebhookProvider, WebhookSender};

use crate::{JsonPath, Problem, Secret, is_credential, is_signature, is_withheld, validate::is_token};

const MAX_NAMES: usize = 64;

/// Headers that describe the body, which nobody could read without them.
pub(crate) const DESCRIBING: [&str; 2] = ["content-type", "content-encoding"];

/// Settings of `webhook-receiver`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookReceiverConfig {
    /// Who signs what is pushed, and how. Unsigned requests are taken when absent, as far as plans and policies let
    /// them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<WebhookSender>,
    /// The request headers that become message headers, by name or by the beginning of the name and `*`. At most 64.
    /// `content-type` and `content-encoding` always do; credentials, signatures and headers of the connection never.
    /// Default `ce-*`, `content-language`, `traceparent`, `tracestate`, `svix-id`, `x-github-*`, `x-gitlab-*`,
    /// `x-shopify-*`, `x-slack-*`.
    #[serde(default = "WebhookReceiverConfig::default_headers")]
    #[schemars(length(max = 64))]
    pub headers: Vec<String>,
    /// Where the id of a delivery stands. By default where the provider of `sender` puts it; with `hmac` and without
    /// a sender there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<RequestField>,
    /// Seconds for which a delivery that comes again is not published again. From 0, which is never, to 604,800;
    /// default 86,400 where deliveries have ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = Self::MAX_REPLAY_WINDOW_SECONDS))]
    pub replay_window_seconds: Option<u32>,
    /// Where the record key stands; a message of a request without it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RequestField>,
    /// Whether requests are read as CloudEvents. Default `off`.
    #[serde(default)]
    pub cloud_events: CloudEvents,
    /// What senders are told that ask beforehand whether they may push; they are not answered when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<WebhookHandshake>,
}

/// A value of a request: of a header, or of its JSON body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RequestField {
    /// The first header of this name.
    Header(String),
    /// The text, number or truth value at this path of the body.
    JsonPath(JsonPath),
}

/// Whether requests are read as CloudEvents 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloudEvents {
    /// They are not looked at: a body is a body.
    #[default]
    Off,
    /// What says that it is one must be sound; anything else is taken, too.
    Accept,
    /// Anything else is refused.
    Require,
}

/// What senders are told that ask beforehand whether they may push ("HTTP 1.1 Web Hooks for Event Delivery",
/// section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookHandshake {
    /// The senders that may, by the names that they ask with, as `eventemitter.example.com`; `*` is every sender.
    /// From 1 to 64.
    #[schemars(length(min = 1, max = 64))]
    pub allowed_origins: Vec<String>,
    /// Requests a minute that a sender is told it may push; any number when absent. It is told, not counted: that is
    /// the work of the policy `rate-limit`. From 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub allowed_rate: Option<u32>,
}

impl WebhookReceiverConfig {
    /// The longest `replayWindowSeconds`: seven days.
    pub const MAX_REPLAY_WINDOW_SECONDS: u32 = 604_800;

    const DEFAULT_REPLAY_WINDOW_SECONDS: u32 = 86_400;

    fn default_headers() -> Vec<String> {
        let names = [
            "ce-*",
            "content-language",
            "traceparent",
            "tracestate",
            "svix-id",
            "x-github-*",
            "x-gitlab-*",
            "x-shopify-*",
            "x-slack-*",
        ];
        names.map(str::to_owned).into()
    }

    /// Whether a request header of this name, in lower case, becomes a message header.
    pub fn carries(&self, name: &str) -> bool {
        if DESCRIBING.contains(&name) {
            return true;
        }
        let listed = self.headers.iter().any(|listed| match listed.strip_suffix('*') {
            Some(prefix) => name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)),
            None => name.eq_ignore_ascii_case(listed),
        });
        listed && !is_withheld(name) && !is_signature(name) && !self.is_signed_by(name)
    }

    /// Seconds for which a delivery that comes again is not published again; `None` where every one is published.
    pub fn replay_window_seconds(&self) -> Option<u32> {
        let default = if self.has_delivery_ids() { Self::DEFAULT_REPLAY_WINDOW_SECONDS } else { 0 };
        Some(self.replay_window_seconds.unwrap_or(default)).filter(|seconds| *seconds > 0)
    }

    fn has_delivery_ids(&self) -> bool {
        let preset = self.sender.as_ref().is_some_and(|sender| sender.provider.has_delivery_ids());
        preset || self.delivery_id.is_some()
    }

    fn is_signed_by(&self, name: &str) -> bool {
        let header = self.sender.as_ref().and_then(|sender| sender.header.as_deref());
        header.is_some_and(|header| header.eq_ignore_ascii_case(name))
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let secrets = self.sender.iter_mut().flat_map(|sender| sender.secrets.iter_mut().enumerate());
        secrets.map(|(index, secret)| (format!("sender.secrets[{index}]"), secret)).collect()
    }

    /// Every rule that these settings break, with paths relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(sender) = &self.sender {
            problems.extend(sender.problems().into_iter().map(|problem| problem.within("sender")));
        }
        self.check_headers(&mut problems);
        self.check_replays(&mut problems);
        if let Some(RequestField::Header(name)) = &self.key {
            let name = name.to_ascii_lowercase();
            if is_credential(&name) || is_signature(&name) || self.is_signed_by(&name) {
                let message =
                    "A credential or a signature cannot be a record key: every reader would learn it.";
                problems.push(invalid("key.header", message));
            } else if !is_token(&name) {
                problems.push(invalid("key.header", NO_NAME));
            }
        }
        if let Some(handshake) = &self.handshake {
            problems.extend(handshake.problems().into_iter().map(|problem| problem.within("handshake")));
        }
        problems
    }

    fn check_headers(&self, problems: &mut Vec<Problem>) {
        if self.headers.len() > MAX_NAMES {
            problems.push(invalid("headers", format!("At most {MAX_NAMES} headers are allowed.")));
        }
        for (index, listed) in self.headers.iter().enumerate() {
            let name = listed.to_ascii_lowercase();
            let begin = name.strip_suffix('*');
            let path = format!("headers[{index}]");
            if !is_token(begin.unwrap_or(&name)) && begin != Some("") || begin.unwrap_or(&name).contains('*')
            {
                problems.push(invalid(path, format!("{NO_NAME} A '*' may stand at its end.")));
                continue;
            }
            let name = begin.unwrap_or(&name);
            if !DESCRIBING.contains(&name)
                && (is_withheld(name) || is_signature(name) || self.is_signed_by(name))
            {
                let message = format!(
                    "'{listed}' is never carried on: it is a credential or a signature, or only about the way of \
                     the request."
                );
                problems.push(invalid(path, message));
            }
        }
    }

    fn check_replays(&self, problems: &mut Vec<Problem>) {
        if let Some(RequestField::Header(name)) = &self.delivery_id
            && !is_token(name)
        {
            problems.push(invalid("deliveryId.header", NO_NAME));
        }
        let longest = Self::MAX_REPLAY_WINDOW_SECONDS;
        match self.replay_window_seconds {
            Some(seconds) if seconds > longest => {
                problems.push(invalid("replayWindowSeconds", format!("Must be from 0 to {longest}.")));
            }
            Some(1..) if !self.has_delivery_ids() => {
                let message = "Deliveries are known again by an id: set deliveryId.";
                problems.push(invalid("replayWindowSeconds", message));
            }
            Some(0) if self.delivery_id.is_some() => {
                let message = "With a replayWindowSeconds of 0 no id is looked at; leave one of them out.";
                problems.push(invalid("deliveryId", message));
            }
            _ => {}
        }
    }
}

impl Default for WebhookReceiverConfig {
    fn default() -> Self {
        Self {
            sender: None,
            headers: Self::default_headers(),
            delivery_id: None,
            replay_window_seconds: None,
            key: None,
            cloud_events: CloudEvents::default(),
            handshake: None,
        }
    }
}

impl WebhookHandshake {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(1..=MAX_NAMES).contains(&self.allowed_origins.len()) {
            problems.push(invalid("allowedOrigins", format!("Must be from 1 to {MAX_NAMES} names.")));
        }
        for (index, origin) in self.allowed_origins.iter().enumerate() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            let is_name = (1..=253).contains(&origin.len()) && origin.bytes().all(allowed);
            if origin != "*" && !is_name {
                let message = "Must be a name as eventemitter.example.com, or *.";
                problems.push(invalid(format!("allowedOrigins[{index}]"), message));
            }
        }
        if self.allowed_rate.is_some_and(|rate| !(1..=1_000_000).contains(&rate)) {
            problems.push(invalid("allowedRate", "Must be from 1 to 1000000."));
        }
        problems
    }
}

const NO_NAME: &str = "Must be the name of a header: letters, digits, '-' and the like.";

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem::new(field, "listeners.entrypoints.configuration.invalid", message)
}

#[cfg(test)]
mod tests;
