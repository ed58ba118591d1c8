//! The calls that a hub makes to a callback for reasons of its own: to ask whether a request is meant (WebSub section
//! 5.3), and to tell a subscriber that it is not subscribed (section 5.2).

use std::time::Duration;

use sluice_api::{Problem, WebsubConfig};
use sluice_delivery::{Deliveries, Failure, Fetched};
use url::{Url, form_urlencoded::byte_serialize};
use uuid::Uuid;

use crate::{HubRequest, Mode};

/// How much of an answer is read, in bytes; a challenge is 64 long.
const MAX_ANSWER: usize = 4096;

/// Longer reasons are cut, in characters: they stand in an address.
const MAX_REASON: usize = 500;

/// Why a request is not confirmed.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// As in docs/errors.md.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Whether another call may come through.
    pub(crate) passes: bool,
}

impl Doubt {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), passes: false }
    }
}

impl From<Failure> for Doubt {
    fn from(failure: Failure) -> Self {
        let passes = !matches!(
            failure.code,
            "delivery.address.refused" | "delivery.address.invalid" | "delivery.answer.too-large"
        );
        Self { code: failure.code, message: failure.message, passes }
    }
}

impl From<Problem> for Doubt {
    fn from(problem: Problem) -> Self {
        Self::new(problem.code, problem.message)
    }
}

/// Asks a callback whether it means what was asked in its name.
///
/// # Errors
/// It did not say so, or could not be asked.
pub(crate) async fn verify(
    deliveries: &Deliveries,
    settings: &WebsubConfig,
    request: &HubRequest,
) -> Result<(), Doubt> {
    let challenge = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let lease = request.terms.lease_seconds.to_string();
    let mut parameters = vec![
        ("hub.mode", request.mode.as_str()),
        ("hub.topic", &*request.terms.topic),
        ("hub.challenge", &*challenge),
    ];
    if request.mode == Mode::Subscribe {
        parameters.push(("hub.lease_seconds", &*lease));
    }
    let answer = call(deliveries, settings, &request.callback, &parameters).await?;
    judge(&answer, &challenge)
}

/// Tells a callback that it is not, or no longer, subscribed to a topic.
///
/// # Errors
/// It could not be told.
pub(crate) async fn deny(
    deliveries: &Deliveries,
    settings: &WebsubConfig,
    (callback, topic): (&str, &str),
    reason: &str,
) -> Result<(), Doubt> {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let parameters = [("hub.mode", "denied"), ("hub.topic", topic), ("hub.reason", &*reason)];
    // What it says to that changes nothing.
    call(deliveries, settings, callback, &parameters).await.map(drop)
}

async fn call(
    deliveries: &Deliveries,
    settings: &WebsubConfig,
    callback: &str,
    parameters: &[(&str, &str)],
) -> Result<Fetched, Doubt> {
    let fetcher = deliveries.fetcher(&settings.delivery)?;
    let within = Duration::from_millis(settings.verification_timeout_ms);
    let address = with_parameters(callback, parameters)
        .ok_or_else(|| Doubt::new("delivery.address.invalid", "The callback is no address."))?;
    Ok(fetcher.get(&address, within, MAX_ANSWER).await?)
}

fn judge(answer: &Fetched, challenge: &str) -> Result<(), Doubt> {
    let status = answer.status;
    if status.is_redirection() {
        let text = format!("The callback answered {status}; redirects are not followed.");
        return Err(Doubt::new("hub.verification.redirect", text));
    }
    if !status.is_success() {
        let text = format!("The callback answered {status}, which does not confirm the request.");
        return Err(Doubt::new("hub.verification.status", text));
    }
    if answer.body != challenge {
        // Its words are not repeated: they may be those of a server that somebody else wants to read.
        let text = "The answer of the callback is not the challenge.";
        return Err(Doubt::new("hub.verification.challenge", text));
    }
    Ok(())
}

/// The address with these parameters behind those that it has. A space is written so that every reader takes it for
/// one.
fn with_parameters(callback: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let mut url = Url::parse(callback).ok()?;
    let mut query = url.query().unwrap_or_default().to_owned();
    for (name, value) in parameters {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.extend(byte_serialize(value.as_bytes()).map(|piece| if piece == "+" { "%20" } else { piece }));
    }
    url.set_query(Some(&query));
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_callback_is_kept_before_what_the_hub_adds() {
        let address =
            |callback| with_parameters(callback, &[("hub.topic", "a+b c&d"), ("hub.mode", "x")]).unwrap();
        let added = "hub.topic=a%2Bb%20c%26d&hub.mode=x";
        for (callback, expected) in [
            ("http://a/in", "http://a/in?"),
            ("http://a/in?", "http://a/in?"),
            ("http://a/in?k=%2F+1&k&hub.mode=y", "http://a/in?k=%2F+1&k&hub.mode=y&"),
        ] {
            assert_eq!(address(callback), format!("{expected}{added}"));
        }
    }
}
