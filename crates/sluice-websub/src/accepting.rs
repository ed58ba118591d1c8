//! The answer to a request to subscribe or unsubscribe: what it says is judged, where it begins is fixed, it is kept.
//! None of that depends on what the callback will say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde_json::Value;
use sluice_api::{HubTerms, PlanId, PlanSecurity, WebsubConfig};
use sluice_message::Position;
use sluice_policy::Caller;
use sluice_receiver::{Binding, Body, Refusal};
use tracing::warn;
use url::Url;
use uuid::Uuid;

use crate::{
    Addresses, Asked, AskedMode, Begins, Desk, Fields, Hub, HubRequest, Mode, ModeLabel, Standing,
    form::{invalid, missing},
    hub::Shared,
    lines::{Key, Pending},
    settling::now_ms,
};

/// A secret is shorter, in bytes (WebSub section 5.1).
const SECRET_BOUND: usize = 200;

/// Bounds on what policies may note about a subscriber: those of every subscription.
const MAX_METADATA: usize = 64;
const MAX_METADATA_NAME: usize = 128;
const MAX_METADATA_VALUE: usize = 4096;

/// Attributes of these names are the gateway's own.
const OWN_ATTRIBUTES: &str = "gravitee.";

/// How long a client should stay away that comes to a full queue, in seconds.
const WHEN_FULL: u8 = 30;

impl Hub {
    /// Answers a request after all policies have met the caller: 202 with an empty body once it is durable, and for
    /// content that comes along to be published once the broker has acknowledged it. `binding` is that of the channel.
    ///
    /// # Errors
    /// 400 for what a parameter says, 404 for a subscription to end that there is not, 429 where the callback's host
    /// had as many requests in this minute as it may, 503 with `Retry-After` where the hub or the broker cannot take
    /// it now; for content what publishing it ended with.
    pub async fn accept(
        &self,
        binding: &Arc<Binding>,
        settings: &WebsubConfig,
        caller: &Arc<Caller>,
        asked: Asked,
        channel: &str,
        addresses: &Addresses,
    ) -> Result<Response<Body>, Refusal> {
        let shared = &self.0;
        shared.metrics.requests.get_or_create(&ModeLabel { mode: asked.mode().as_str() }).inc();
        shared.of_api(&binding.api).learn(settings);
        let mode = match asked.mode() {
            AskedMode::Subscribe => Mode::Subscribe,
            AskedMode::Unsubscribe => Mode::Unsubscribe,
            AskedMode::Publish => {
                shared.publish(binding, settings, caller, asked, channel).await?;
                return Ok(accepted());
            }
        };
        let request = HubRequest {
            id: Uuid::new_v4().to_string(),
            api: binding.api.clone(),
            channel: channel.to_owned(),
            plan: plan(binding, caller)?,
            mode,
            callback: shared.callback(&asked.fields)?,
            terms: terms(&asked.fields, mode, settings, addresses, channel)?,
            metadata: metadata(caller)?,
            begins: None,
            received_at_ms: now_ms(),
        };
        shared.admit(&request, settings)?;
        // In a task of its own: a client that goes away in the middle leaves nothing half done.
        let keeping = shared.tasks.spawn(keep(Arc::clone(shared), Arc::clone(binding), request));
        keeping.await.unwrap_or_else(|_| Err(unavailable("The hub was interrupted. Send it again.")))?;
        Ok(accepted())
    }
}

/// Fixes where a subscription begins, keeps the request, and has it settled.
async fn keep(shared: Arc<Shared>, binding: Arc<Binding>, mut request: HubRequest) -> Result<(), Refusal> {
    let desk = shared.desk().ok_or_else(not_open)?;
    let room = Arc::clone(&shared.of_api(&request.api).room)
        .try_acquire_owned()
        .map_err(|_| full("The hub has as many requests to settle as it may. Send it again later."))?;
    if request.mode == Mode::Subscribe {
        request.begins = Some(begins(&binding, shared.options.place_timeout).await?);
    }
    if let Err(error) = desk.keep(request.clone()).await {
        warn!(api = %request.api, %error, "A request to the hub could not be kept.");
        return Err(unavailable("The gateway cannot keep this request. Its operator has to act."));
    }
    shared.enqueue(Pending::new(request, Some(room), &shared.metrics.unsettled));
    Ok(())
}

impl Shared {
    /// Whether a request may be taken now, as things stand.
    fn admit(&self, request: &HubRequest, settings: &WebsubConfig) -> Result<(), Refusal> {
        let desk = self.desk().ok_or_else(not_open)?;
        let (api, channel, callback) = (&request.api, &*request.channel, &*request.callback);
        let is_there = desk.standing(api, channel, callback) == Standing::Subscribed;
        match request.mode {
            Mode::Unsubscribe if !is_there && !self.lines.will_subscribe(&Key::of(request)) => {
                let text = "This callback is not subscribed to this topic.";
                return Err(Refusal::new(StatusCode::NOT_FOUND, "hub.subscription.unknown", text));
            }
            Mode::Subscribe if !is_there && is_full(&**desk, request, settings) => {
                return Err(full("This API has as many subscriptions as it may."));
            }
            _ => {}
        }
        self.hosts.admit(api, callback, settings.requests_per_host).map_err(|wait| {
            self.metrics.rate_limited.inc();
            let seconds = u8::try_from(wait.as_secs() + 1).unwrap_or(u8::MAX);
            let text = "The host of this callback has had as many requests in this minute as it may.";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "hub.host.limited", text).with_retry_after(seconds)
        })
    }

    /// The callback, where it may be one.
    fn callback(&self, fields: &Fields) -> Result<String, Refusal> {
        let callback = fields.callback.as_deref().ok_or_else(|| missing("hub.callback"))?;
        let refused = |code, text: String| {
            Err(Refusal::new(StatusCode::BAD_REQUEST, code, format!("hub.callback: {text}")))
        };
        let url = Url::parse(callback).ok();
        if url.is_some_and(|url| {
            !url.username().is_empty() || url.password().is_some() || url.fragment().is_some()
        }) {
            let text = "Must have no name, no password and no fragment.";
            return refused("hub.callback.invalid", text.to_owned());
        }
        if let Err(problem) = self.deliveries.check_url(callback) {
            let is_address = problem.code == "subscription.address.refused";
            let code = if is_address { "hub.callback.refused" } else { "hub.callback.invalid" };
            return refused(code, problem.message);
        }
        Ok(callback.to_owned())
    }
}

/// Whether no further subscription is allowed.
pub(crate) fn is_full(desk: &dyn Desk, request: &HubRequest, settings: &WebsubConfig) -> bool {
    desk.count(&request.api) >= usize::try_from(settings.max_subscriptions).unwrap_or(usize::MAX)
}

/// The end of the channel's topics now: whatever is published after the answer lies behind it.
async fn begins(binding: &Binding, within: Duration) -> Result<Begins, Refusal> {
    let ends = async {
        let broker = binding.driver.identity().await?;
        let mut position = Position::new();
        for ((topic, partition), range) in binding.driver.bounds(&binding.deliver_topics).await? {
            position.set_next(&topic, partition, range.end);
        }
        Ok(Begins { broker, position: position.to_string() })
    };
    match tokio::time::timeout(within, ends).await {
        Ok(ends) => ends.map_err(|error: sluice_broker::DriverError| {
            warn!(api = %binding.api, %error, "The hub cannot say where a subscription begins.");
            error.into()
        }),
        Err(_) => Err(unavailable("The broker behind this API did not answer in time. Send it again.")),
    }
}

/// What will be agreed on with a subscriber.
fn terms(
    fields: &Fields,
    mode: Mode,
    settings: &WebsubConfig,
    addresses: &Addresses,
    channel: &str,
) -> Result<HubTerms, Refusal> {
    let mut terms = HubTerms {
        topic: fields.topic.clone().ok_or_else(|| missing("hub.topic"))?,
        hub_url: addresses.hub(),
        self_url: addresses.topic(channel),
        lease_seconds: 0,
        secret: None,
        signature: settings.signature,
    };
    // Who unsubscribes has neither (WebSub section 5.1).
    if mode == Mode::Subscribe {
        terms.lease_seconds = settings.lease(lease(fields.lease_seconds.as_deref())?);
        terms.secret = fields.secret.clone();
        if terms.secret.as_ref().is_some_and(|secret| secret.expose().len() >= SECRET_BOUND) {
            return Err(invalid(format!("hub.secret must be shorter than {SECRET_BOUND} bytes.")));
        }
    }
    Ok(terms)
}

/// The seconds that a subscriber asks for; however many digits they have.
fn lease(text: Option<&str>) -> Result<Option<u64>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.then(|| text.parse().unwrap_or(u64::MAX)).filter(|seconds| *seconds > 0);
    seconds.map(Some).ok_or_else(|| invalid("hub.lease_seconds must be a whole number of seconds from 1."))
}

/// The plan by which a caller was admitted. Where no policy could ask for it the caller has not kept it; then it is
/// the first that admits everybody.
fn plan(binding: &Binding, caller: &Caller) -> Result<PlanId, Refusal> {
    let open = || {
        let plans = binding.definition.plans.iter();
        let mut plans = plans.filter(|plan| plan.status.admits() && plan.security == PlanSecurity::KeyLess);
        plans.next().map(|plan| &plan.id)
    };
    caller.plan().or_else(open).cloned().ok_or_else(|| {
        let text = "This API has no published plan that admits requests without a credential.";
        Refusal::new(StatusCode::UNAUTHORIZED, "plan.none", text)
    })
}

/// What policies have noted about the subscriber, for filters. Text stays text; anything else is written as JSON.
fn metadata(caller: &Caller) -> Result<BTreeMap<String, String>, Refusal> {
    let noted = caller.attributes().iter().filter(|(name, _)| !name.starts_with(OWN_ATTRIBUTES));
    let metadata: BTreeMap<_, _> = noted
        .map(|(name, value)| match value {
            Value::String(text) => (name.to_owned(), text.clone()),
            other => (name.to_owned(), other.to_string()),
        })
        .collect();
    let fits = |(name, value): (&String, &String)| {
        (1..=MAX_METADATA_NAME).contains(&name.len()) && value.len() <= MAX_METADATA_VALUE
    };
    if metadata.len() <= MAX_METADATA && metadata.iter().all(fits) {
        return Ok(metadata);
    }
    let text = "The policies of this API note more about this request than can be kept with a subscription.";
    Err(Refusal::new(StatusCode::BAD_REQUEST, "hub.metadata", text))
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

pub(crate) fn full(text: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "hub.full", text).with_retry_after(WHEN_FULL)
}

pub(crate) fn unavailable(text: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "hub.unavailable", text)
}

fn not_open() -> Refusal {
    unavailable("The hub does not take requests at the moment. Send it again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_number_of_seconds_from_one() {
        for text in ["", "-1", "0", "000", "ten", "1.5", "+5", " 5", "1e3", "0x10", "\u{664}"] {
            assert_eq!(lease(Some(text)).unwrap_err().code, "hub.parameter.invalid", "{text}");
        }
        assert_eq!(lease(None).unwrap(), None);
        assert_eq!(lease(Some("0060")).unwrap(), Some(60));
        assert_eq!(lease(Some(&"9".repeat(100))).unwrap(), Some(u64::MAX));
    }
}
