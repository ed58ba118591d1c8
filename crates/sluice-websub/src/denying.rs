//! Telling a subscriber that it is not, or no longer, subscribed: once, as well as it goes. Only callbacks that have
//! confirmed a request before are told, and no more of one host than may ask, so that nobody can have a stranger
//! called by being denied.

use std::sync::Arc;

use sluice_api::ApiId;
use tokio::sync::SemaphorePermit;
use tracing::debug;

use crate::{
    Hub,
    hub::Shared,
    intent::{self, Doubt},
    of_api::OfApi,
};

impl Hub {
    /// Tells a subscriber that its subscription has been ended, by `hub.mode=denied` with a reason; in the background.
    /// `topic` is as the subscriber wrote it. For those that somebody else ends, as an operator; who unsubscribes or
    /// lets its lease end knows it.
    pub fn deny(&self, api: &ApiId, callback: &str, topic: &str, reason: &str) {
        let shared = Arc::clone(&self.0);
        let Ok(room) = Arc::clone(&shared.of_api(api).room).try_acquire_owned() else {
            shared.metrics.denials_failed.inc();
            return;
        };
        let [callback, topic, reason] = [callback, topic, reason].map(str::to_owned);
        let api = api.clone();
        self.0.tasks.spawn(async move {
            shared.deny(&api, (&callback, &topic), &reason).await;
            drop(room);
        });
    }
}

impl Shared {
    pub(crate) async fn deny(&self, api: &ApiId, (callback, topic): (&str, &str), reason: &str) {
        match self.try_deny(api, (callback, topic), reason).await {
            Ok(()) => drop(self.metrics.denied.inc()),
            Err(doubt) => {
                self.metrics.denials_failed.inc();
                debug!(%api, code = doubt.code, reason = doubt.message, "A subscriber could not be told of its denial.");
            }
        }
    }

    async fn try_deny(&self, api: &ApiId, told: (&str, &str), reason: &str) -> Result<(), Doubt> {
        let of_api = self.of_api(api);
        let settings = of_api.known_settings();
        let settings =
            settings.ok_or_else(|| Doubt::new("hub.unavailable", "The API was not deployed in this run."))?;
        if self.hosts.admit(api, told.0, settings.requests_per_host).is_err() {
            self.metrics.rate_limited.inc();
            return Err(Doubt::new(
                "hub.host.limited",
                "Its host has had as many calls in this minute as it may.",
            ));
        }
        let stopping = || Doubt::new("hub.unavailable", "The hub stops.");
        let _turns = self.turn(api, &of_api, told.0).await.ok_or_else(stopping)?;
        intent::deny(&self.deliveries, &settings, told, reason).await
    }

    /// Leave for a call to this address, in turn; `None` when the hub stops before. Of the turns of an API one host has a
    /// part, so that those of a host that is slow keep no other waiting.
    pub(crate) async fn turn<'t>(
        &'t self,
        api: &ApiId,
        of_api: &'t OfApi,
        address: &str,
    ) -> Option<[SemaphorePermit<'t>; 3]> {
        let of_host = of_api.turns_of_host(self.hosts.place(api, address));
        let turns = async {
            let of_host = of_host.acquire().await.ok()?;
            Some([of_host, of_api.turns.acquire().await.ok()?, self.turns.acquire().await.ok()?])
        };
        self.unless_stopping(turns).await.flatten()
    }
}
