//! What publishers tell the hub: content that they send along is published; of a channel whose content stands at an
//! address (`contentUrl`) it is fetched from there, once for everybody who told of it meanwhile.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use sluice_api::{ApiId, WebsubConfig};
use sluice_message::{Headers, Message};
use sluice_policy::Caller;
use sluice_receiver::{Binding, Refusal, publish};
use tracing::warn;

use crate::{Asked, accepting::unavailable, asked::Content, hub::Shared, intent::Doubt};

/// One telling of a publisher.
struct Told {
    binding: Arc<Binding>,
    settings: WebsubConfig,
    caller: Arc<Caller>,
    url: String,
}

/// The channels whose content is being fetched, each with the last telling that came meanwhile: the content may have
/// changed since, so it is fetched once more.
#[derive(Default)]
pub(crate) struct News(Mutex<HashMap<Key, Option<Told>>>);

type Key = (ApiId, String);

impl News {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Option<Told>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came meanwhile; where nothing did, the channel is done.
    fn next(&self, key: &Key) -> Option<Told> {
        let mut channels = self.lock();
        let next = channels.get_mut(key)?.take();
        if next.is_none() {
            channels.remove(key);
        }
        next
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
        match (asked.content, url) {
            (Some(Content { body, content_type, held }), None) => {
                let published = publish(binding, caller, message(body, content_type.as_ref())).await;
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
            Entry::Occupied(mut fetching) => drop(fetching.insert(Some(told))),
            Entry::Vacant(idle) => {
                idle.insert(None);
                self.tasks.spawn(Arc::clone(self).fetch_all(key, told));
            }
        }
        Ok(())
    }

    /// Fetches the content of a channel until nobody has told of it meanwhile.
    async fn fetch_all(self: Arc<Self>, key: Key, told: Told) {
        let mut next = Some(told);
        while let Some(told) = next {
            if let Err(doubt) = self.fetch(&told).await {
                self.metrics.fetches_failed.inc();
                warn!(
                    api = %key.0, channel = key.1, code = doubt.code, reason = doubt.message,
                    "What a publisher has told of could not be published."
                );
            }
            next = self.news.next(&key);
        }
    }

    async fn fetch(&self, told: &Told) -> Result<(), Doubt> {
        let Told { binding, settings, caller, url } = told;
        let of_api = self.of_api(&binding.api);
        let turns =
            self.turn(&of_api).await.ok_or_else(|| Doubt::new("hub.unavailable", "The hub stops."))?;
        let most = binding.max_body_bytes;
        let permits = u32::try_from(most).unwrap_or(u32::MAX);
        let _held = Arc::clone(&binding.body_bytes).try_acquire_many_owned(permits).map_err(|_| {
            Doubt::new("request.overloaded", "The gateway holds as many request bodies as it may.")
        })?;
        let within = Duration::from_millis(settings.delivery.http.read_timeout);
        let fetched = self.deliveries.fetcher(&settings.delivery)?.get(url, within, most).await?;
        drop(turns);
        if !fetched.status.is_success() {
            let text = format!("Where the content stands, the answer was {}.", fetched.status);
            return Err(Doubt::new("hub.content.status", text));
        }
        let message = message(fetched.body, fetched.headers.get(header::CONTENT_TYPE));
        let published = publish(binding, caller, message).await;
        published.map_err(|refusal| Doubt::new(refusal.code, refusal.detail()))
    }
}

fn message(content: Bytes, content_type: Option<&HeaderValue>) -> Message {
    let content_type = content_type.map(|kind| ("content-type", Bytes::copy_from_slice(kind.as_bytes())));
    Message::builder().payload(content).headers(Headers::from_iter(content_type)).build()
}
