//! What publishers tell the hub: content that they send along is published; of a channel whose content stands at an
//! address (`contentUrl`) it is fetched from there, once for everybody who told of it meanwhile.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use sluice_api::{ApiId, WebhookReceiverConfig, WebsubConfig};
use sluice_message::{Headers, Message};
use sluice_policy::{Caller, Hook};
use sluice_receiver::{Binding, Refusal, publish};
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use crate::{
    Asked,
    accepting::{full, unavailable},
    asked::Content,
    hub::Shared,
    intent::Doubt,
};

/// One telling of a publisher.
struct Told {
    binding: Arc<Binding>,
    settings: WebsubConfig,
    caller: Arc<Caller>,
    url: String,
}

/// The channels whose content is being fetched, each with those who told of it meanwhile, the last one last: the content
/// may have changed since, so it is fetched once more, and published for the last of them whom policies let publish. So
/// nobody who may not takes away the news of somebody who may.
#[derive(Default)]
pub(crate) struct News(Mutex<HashMap<Key, Vec<Told>>>);

/// How many whom policies judge may tell of one channel while its content is being fetched.
const MAX_TOLD: usize = 64;

type Key = (ApiId, String);

impl News {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who told of it meanwhile; where nobody did, the channel is done.
    fn next(&self, key: &Key) -> Vec<Told> {
        let mut channels = self.lock();
        let next = channels.get_mut(key).map(std::mem::take).unwrap_or_default();
        if next.is_empty() {
            channels.remove(key);
        }
        next
    }
}

impl Told {
    /// Whether no policy could keep this publisher from publishing.
    fn is_free(&self) -> bool {
        self.binding.chains.select(Hook::Publish, &self.caller).is_empty()
    }
}

impl Shared {
    /// Publishes what a publisher tells of; resolves when the broker has content that came along.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        binding: &Arc<Binding>,
        settings: &WebsubConfig,
        caller: &Arc<Caller>,
        asked: Asked,
        channel: &str,
    ) -> Result<(), Refusal> {
        let url = binding.definition.channels.get(channel).and_then(|channel| channel.content_url.clone());
        let refused = |code, text| Err(Refusal::new(StatusCode::BAD_REQUEST, code, text));
        let is_verified = |receiver: &WebhookReceiverConfig| receiver.sender.is_some();
        match (asked.content, url) {
            (Some(_), None) if binding.definition.webhook_receiver().is_some_and(is_verified) => {
                let text = "What this API publishes is verified. Push it, signed, to its webhook receiver.";
                Err(Refusal::new(StatusCode::FORBIDDEN, "hub.content.unverified", text))
            }
            (Some(Content { content_type, held }), None) => {
                let message = message(asked.body, content_type.as_ref());
                let published = publish(binding, caller, message).await;
                drop(held);
                published
            }
            (None, Some(url)) => {
                let told = Told {
                    binding: Arc::clone(binding),
                    settings: settings.clone(),
                    caller: Arc::clone(caller),
                    url,
                };
                self.tell(channel, told)
            }
            (Some(_), Some(_)) => {
                let text = "The content of this topic is fetched from where it stands. Send none along, only that it \
                            has changed.";
                refused("hub.content.unwanted", text)
            }
            (None, None) => {
                let text = "There is nothing to publish: send the content as the body, with its own content type and \
                            with hub.mode and hub.topic in the query, or have the API name a contentUrl for this \
                            channel.";
                refused("hub.content.missing", text)
            }
        }
    }

    fn tell(self: &Arc<Self>, channel: &str, told: Told) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(unavailable("The hub does not take requests at the moment. Send it again."));
        }
        let key = (told.binding.api.clone(), channel.to_owned());
        match self.news.lock().entry(key.clone()) {
            Entry::Occupied(mut fetching) => {
                let waiting = fetching.get_mut();
                if told.is_free() {
                    waiting.clear();
                } else if waiting.len() >= MAX_TOLD {
                    return Err(full(
                        "As many have told of this topic as may while it is fetched. Send it again.",
                    ));
                }
                waiting.push(told);
            }
            Entry::Vacant(idle) => {
                idle.insert(Vec::new());
                self.tasks.spawn(Arc::clone(self).fetch_all(key, told));
            }
        }
        Ok(())
    }

    /// Fetches the content of a channel until nobody has told of it meanwhile.
    async fn fetch_all(self: Arc<Self>, key: Key, told: Told) {
        let mut next = vec![told];
        while let Some(last) = next.last() {
            let published = match self.fetch(last).await {
                Ok((message, _held)) => publish_for(&next, message).await,
                Err(doubt) => Err(doubt),
            };
            if let Err(doubt) = published {
                self.metrics.fetches_failed.inc();
                warn!(
                    api = %key.0, channel = key.1, code = doubt.code, reason = doubt.message,
                    "What a publisher has told of could not be published."
                );
            }
            next = self.news.next(&key);
        }
    }

    /// The content, with the room that is taken for it until it is published.
    async fn fetch(&self, told: &Told) -> Result<(Message, OwnedSemaphorePermit), Doubt> {
        let Told { binding, settings, url, .. } = told;
        let of_api = self.of_api(&binding.api);
        let turns = self
            .turn(&binding.api, &of_api, url)
            .await
            .ok_or_else(|| Doubt::new("hub.unavailable", "The hub stops."))?;
        let most = binding.max_body_bytes;
        let permits = u32::try_from(most).unwrap_or(u32::MAX);
        let held = Arc::clone(&binding.body_bytes).try_acquire_many_owned(permits).map_err(|_| {
            Doubt::new("request.overloaded", "The gateway holds as many request bodies as it may.")
        })?;
        let within = Duration::from_millis(settings.delivery.http.read_timeout);
        let fetched = self.deliveries.fetcher(&settings.delivery)?.get(url, within, most).await?;
        drop(turns);
        if !fetched.status.is_success() {
            let text = format!("Where the content stands, the answer was {}.", fetched.status);
            return Err(Doubt::new("hub.content.status", text));
        }
        Ok((message(fetched.body, fetched.headers.get(header::CONTENT_TYPE)), held))
    }
}

/// Publishes for the last who may. A broker that does not take it now takes it of nobody else either.
async fn publish_for(told: &[Told], message: Message) -> Result<(), Doubt> {
    let mut doubt = Doubt::new("hub.unavailable", "Nobody has told of it.");
    for Told { binding, caller, .. } in told.iter().rev() {
        match publish(binding, caller, message.clone()).await {
            Ok(()) => return Ok(()),
            Err(refusal) => {
                doubt = Doubt::new(refusal.code, refusal.detail());
                if matches!(refusal.status.as_u16(), 502..=504) {
                    break;
                }
            }
        }
    }
    Err(doubt)
}

fn message(content: Bytes, content_type: Option<&HeaderValue>) -> Message {
    let content_type = content_type.map(|kind| ("content-type", Bytes::copy_from_slice(kind.as_bytes())));
    Message::builder().payload(content).headers(Headers::from_iter(content_type)).build()
}
