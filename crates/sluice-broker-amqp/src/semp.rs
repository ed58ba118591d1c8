//! The management of a Solace broker, by SEMP v2: makes the queues that readers need, and what they subscribe to.
//!
//! AMQP has no means to subscribe a queue to a topic. Nothing is ever deleted or changed here: what is there already is
//! as good.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sluice_api::{Secret, SolaceSemp};
use sluice_broker::{DriverError, ErrorKind};
use url::Url;

use crate::address::Queue;

/// How long one request may take.
const TIME: Duration = Duration::from_secs(10);
/// What SEMP calls an object that is there already.
const ALREADY_EXISTS: &str = "ALREADY_EXISTS";
/// An answer is read up to so many bytes; those of a broker have a few hundred.
const LONGEST_ANSWER: usize = 64 << 10;

/// Access to one VPN's management.
pub(crate) struct Semp {
    client: Client,
    base: Url,
    vpn: String,
    username: String,
    password: Secret,
}

impl Semp {
    /// # Errors
    /// `Configuration`, for a url that is none.
    pub(crate) fn open(config: &SolaceSemp, vpn: &str) -> Result<Self, DriverError> {
        let invalid = |text: String| DriverError::new(ErrorKind::Configuration, text);
        let base = Url::parse(&config.url).map_err(|error| invalid(format!("semp.url: {error}.")))?;
        let client = Client::builder()
            .timeout(TIME)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| invalid(format!("semp cannot be used: {error}.")))?;
        Ok(Self {
            client,
            base,
            vpn: vpn.to_owned(),
            username: config.username.clone(),
            password: config.password.clone(),
        })
    }

    /// Makes a queue and its subscription, where they are not there yet.
    pub(crate) async fn provide(&self, queue: &Queue) -> Result<(), DriverError> {
        let access = if queue.exclusive { "exclusive" } else { "non-exclusive" };
        let made = json!({
            "queueName": queue.name,
            "accessType": access,
            "permission": "consume",
            "ingressEnabled": true,
            "egressEnabled": true,
        });
        self.create(&["queues"], &made).await?;
        if let Some(topic) = &queue.subscription {
            let path = ["queues", &*queue.name, "subscriptions"];
            self.create(&path, &json!({ "subscriptionTopic": topic })).await?;
        }
        Ok(())
    }

    async fn create(&self, path: &[&str], body: &Value) -> Result<(), DriverError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["SEMP", "v2", "config", "msgVpns", &self.vpn]).extend(path);
        }
        let doing = format!("Creating {} by {url}", body_name(body));
        let sent = self
            .client
            .post(url)
            .basic_auth(&self.username, Some(self.password.expose()))
            .json(body)
            .send()
            .await;
        let mut response = sent.map_err(|error| {
            let text = format!("{doing} failed: {}.", innermost(&error.without_url()));
            DriverError::new(ErrorKind::Unreachable, text)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let mut answer = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST_ANSWER {
                break;
            }
        }
        let error = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
        let said = |name| error.pointer(&format!("/meta/error/{name}")).and_then(Value::as_str);
        if said("status") == Some(ALREADY_EXISTS) {
            return Ok(());
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Refused,
            _ if said("status") == Some("NOT_FOUND") => ErrorKind::NoTopic,
            _ => ErrorKind::Other,
        };
        let why = said("description").unwrap_or("nothing more is said");
        Err(DriverError::new(kind, format!("{doing} was answered with {status}: {why}.")))
    }
}

/// What is created, for errors.
fn body_name(body: &Value) -> String {
    match (body.get("queueName"), body.get("subscriptionTopic")) {
        (Some(name), _) => format!("the queue {name}"),
        (_, Some(topic)) => format!("the subscription {topic}"),
        _ => "an object".to_owned(),
    }
}

/// The cause at the bottom, which says more than those above it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
