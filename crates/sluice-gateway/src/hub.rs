//! What stands below the path of an API beside its channels: its hub, and the way in for webhook senders. And how a
//! topic says where its hub is.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use sluice_api::{WebhookReceiverConfig, WebsubConfig};
use sluice_policy::Hook;
use sluice_receiver::{Binding, Body, Refusal, parameters, webhook_receiver};
use sluice_websub::{Addresses, Asked, AskedMode, Desk, DeskError, discovery};

use crate::{
    Ends, Gateway,
    deployment::Deployment,
    service::{Visit, described},
    target,
};

/// A place that is no channel.
pub(crate) enum Beside<'d> {
    /// The hub.
    Hub(&'d WebsubConfig),
    /// The way in for webhook senders.
    WebhookReceiver(&'d WebhookReceiverConfig),
}

/// The place of this name, where the API has it.
pub(crate) fn beside<'d>(deployment: &'d Deployment, below: &str) -> Option<Beside<'d>> {
    match below {
        "/hub" => deployment.api.websub().map(Beside::Hub),
        "/webhook-receiver" => deployment.api.webhook_receiver().map(Beside::WebhookReceiver),
        _ => None,
    }
}

/// Whether an error at this place is told in plain text: at the hub, as WebSub section 5.1.2 has it, unless the client
/// says that it wants JSON.
pub(crate) fn speaks_text(below: &str, headers: &HeaderMap) -> bool {
    let mut wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    below.trim_end_matches('/') == "/hub" && !wanted.any(|value| value.contains("json"))
}

impl Gateway {
    /// Gives the hubs the place where they keep what they are asked. Until then they answer 503.
    ///
    /// # Errors
    /// What an earlier run has left open cannot be read.
    pub async fn open_hub(&self, desk: Arc<dyn Desk>) -> Result<(), DeskError> {
        self.websub().open(desk).await
    }

    /// Answers a request to such a place.
    pub(crate) async fn answer_beside(
        &self,
        deployment: &Arc<Deployment>,
        beside: Beside<'_>,
        request: Request<Incoming>,
        below: usize,
        ends: &Ends,
    ) -> Result<Response<Body>, Refusal> {
        match beside {
            Beside::Hub(_) if request.method() != Method::POST => Err(Refusal::of_method("POST")),
            Beside::Hub(settings) => self.answer_at_hub(deployment, settings, request, below, ends).await,
            Beside::WebhookReceiver(settings) => {
                self.take_webhook(deployment, settings, request, below, ends).await
            }
        }
    }

    async fn answer_at_hub(
        &self,
        deployment: &Arc<Deployment>,
        settings: &WebsubConfig,
        request: Request<Incoming>,
        below: usize,
        ends: &Ends,
    ) -> Result<Response<Body>, Refusal> {
        let addresses = self.addresses(&request, below, ends);
        let visit = Visit::of("websub", &request, described(deployment, &request, below, ends));
        let asked = Asked::read(&deployment.binding, request).await?;
        let visit = visit.with_content(asked.body());
        let channel = asked.channel(&deployment.api, &addresses)?;
        let binding = bound(deployment, channel)?;
        let caller = self.admitted(deployment, &visit, &format!("/{channel}"))?;
        let caller = self.met(deployment, Hook::Connect, caller).await?;
        let caller = match asked.mode() {
            AskedMode::Subscribe => self.met(deployment, Hook::Subscribe, caller).await?,
            AskedMode::Unsubscribe => self.met(deployment, Hook::Unsubscribe, caller).await?,
            AskedMode::Publish => caller,
        };
        let (channel, answered) = (channel.to_owned(), deployment.to_answer(&caller));
        let caller = Arc::new(caller);
        let answer = self.websub().accept(binding, settings, &caller, asked, &channel, &addresses).await?;
        Ok(deployment.respond(answered, answer))
    }

    async fn take_webhook(
        &self,
        deployment: &Arc<Deployment>,
        settings: &WebhookReceiverConfig,
        request: Request<Incoming>,
        below: usize,
        ends: &Ends,
    ) -> Result<Response<Body>, Refusal> {
        if request.method() == Method::OPTIONS {
            return Ok(webhook_receiver::handshake(settings, &request.into_parts().0));
        }
        if request.method() != Method::POST {
            return Err(Refusal::of_method("POST, OPTIONS"));
        }
        let channel = topic(&request)?;
        let binding = bound(deployment, &channel)?;
        let visit = Visit::of("webhook-receiver", &request, described(deployment, &request, below, ends));
        let caller = self.admitted(deployment, &visit, &format!("/{channel}"))?;
        let caller = self.met(deployment, Hook::Connect, caller).await?;
        let (binding, _) = deployment.for_client(binding, &caller, self).await?;
        let answered = deployment.to_answer(&caller);
        let answer = webhook_receiver::serve(&binding, settings, &Arc::new(caller), request).await?;
        Ok(deployment.respond(answered, answer))
    }

    /// What a topic says of itself where no receiver answers at its address.
    pub(crate) fn discover(
        &self,
        deployment: &Deployment,
        request: &Request<Incoming>,
        below: usize,
        ends: &Ends,
    ) -> Option<Response<Body>> {
        let asks = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        let channel = path[path.len() - below..].trim_matches('/');
        let known = deployment.channels.contains_key(channel) && deployment.api.websub().is_some();
        (asks && known).then(|| discovery(&self.addresses(request, below, ends), channel))
    }

    /// The links to hub and topic, for an answer of another receiver at the address of a topic.
    pub(crate) fn links(
        &self,
        deployment: &Deployment,
        request: &Request<Incoming>,
        below: usize,
        ends: &Ends,
    ) -> Vec<HeaderValue> {
        self.discover(deployment, request, below, ends)
            .map(|found| found.headers().get_all(header::LINK).iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The public addresses of an API, as the client that asks knows them.
    fn addresses(&self, request: &Request<Incoming>, below: usize, ends: &Ends) -> Addresses {
        let path = request.uri().path();
        let context = path[..path.len() - below].trim_end_matches('/');
        let base = match (&self.options().public_url, target::host(request)) {
            (Some(public), _) => format!("{public}{context}"),
            (None, Some(host)) => format!("http://{host}{context}"),
            (None, None) => format!("http://{}{context}", ends.local),
        };
        Addresses { base }
    }
}

/// What is told at the address of a topic that an API with a hub does not have.
pub(crate) fn no_topic(deployment: &Deployment, below: &str) -> Option<Refusal> {
    let topic =
        Some(below.trim_matches('/')).filter(|topic| !topic.is_empty() && deployment.api.websub().is_some());
    topic.and_then(|topic| bound(deployment, topic).err())
}

/// What receivers are given for a channel.
pub(crate) fn bound<'d>(deployment: &'d Deployment, channel: &str) -> Result<&'d Arc<Binding>, Refusal> {
    deployment.channels.get(channel).ok_or_else(|| {
        let text = "This API has no channel of that name.";
        Refusal::new(StatusCode::NOT_FOUND, "channel.unknown", text)
    })
}

/// The channel that a webhook sender names.
fn topic(request: &Request<Incoming>) -> Result<String, Refusal> {
    let mut topics =
        parameters(request.uri().query().unwrap_or_default()).filter(|(name, _)| name == "topic");
    match (topics.next(), topics.next()) {
        (Some((_, topic)), None) if !topic.is_empty() => Ok(topic),
        _ => {
            let text = "Name one topic in the address: webhook-receiver?topic=NAME.";
            Err(Refusal::new(StatusCode::BAD_REQUEST, "channel.missing", text))
        }
    }
}
