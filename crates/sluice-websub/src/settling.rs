//! What becomes of a request that was answered: its callback is asked whether it means it, and then what it asks for is
//! done, or it is forgotten. What was there before stays until a request is confirmed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_api::WebsubConfig;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::{
    Desk, DeskError, HubRequest, Mode, Standing,
    accepting::is_full,
    hub::Shared,
    intent::{self, Doubt},
    lines::{Key, Pending},
    of_api::OfApi,
};

/// The waits before the desk is asked again; the last one stays.
const DESK_WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];

/// What the desk made of a verified request.
enum Fulfilled {
    Done,
    /// It cannot be; the subscriber is told why.
    Denied(&'static str),
}

impl Shared {
    /// Has a request settled when those before it in its line are.
    pub(crate) fn enqueue(self: &Arc<Self>, pending: Pending) {
        let key = pending.key();
        if self.lines.join(key.clone(), pending) {
            self.tasks.spawn(Arc::clone(self).serve(key));
        }
    }

    /// Settles the requests of a line, one after the other.
    async fn serve(self: Arc<Self>, key: Key) {
        while let Some(request) = self.lines.first(&key) {
            if self.settle(&request).await.is_none() || !self.lines.advance(&key) {
                return;
            }
        }
    }

    /// Settles a request; `None` when the hub stops before.
    async fn settle(&self, request: &HubRequest) -> Option<()> {
        let of_api = self.of_api(&request.api);
        let mut waits = self.options.retry_waits.iter();
        let doubt = loop {
            let left = self.left(request);
            let settings = self.unless_stopping(timeout(left, of_api.settings())).await?;
            let Some(settings) = settings.ok().filter(|_| !left.is_zero()) else {
                let text = "It could not be verified for too long.";
                break Doubt::new("hub.verification.expired", text);
            };
            let doubt = match self.verified(&of_api, &settings, request).await? {
                Ok(()) => return self.fulfil(&settings, request).await,
                Err(doubt) => doubt,
            };
            match waits.next() {
                Some(wait) if doubt.passes => {
                    debug!(
                        api = %request.api, request = request.id, code = doubt.code, reason = doubt.message,
                        "A callback could not be asked; it is asked again."
                    );
                    self.unless_stopping(sleep(*wait)).await?;
                }
                _ => break doubt,
            }
        };
        self.drop_request(request, &doubt).await;
        Some(())
    }

    /// For how much longer a request is worth anything. A clock that was put back makes none younger.
    fn left(&self, request: &HubRequest) -> Duration {
        let age = now_ms().saturating_sub(request.received_at_ms);
        self.options.longest.saturating_sub(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    async fn verified(
        &self,
        of_api: &OfApi,
        settings: &WebsubConfig,
        request: &HubRequest,
    ) -> Option<Result<(), Doubt>> {
        let _turns = self.turn(&request.api, of_api, &request.callback).await?;
        Some(intent::verify(&self.deliveries, settings, request).await)
    }

    /// Does what a verified request asks for, however often the desk has to be asked.
    async fn fulfil(&self, settings: &WebsubConfig, request: &HubRequest) -> Option<()> {
        self.metrics.verified.inc();
        let desk = self.desk()?;
        let mut waits = DESK_WAITS.iter().chain(std::iter::repeat(&DESK_WAITS[DESK_WAITS.len() - 1]));
        let fulfilled = loop {
            match self.fulfil_once(&**desk, settings, request).await {
                Ok(fulfilled) => break fulfilled,
                Err(error) => warn!(
                    api = %request.api, channel = request.channel, %error,
                    "What a verified request to the hub asks for could not be kept; trying again as long as it is of use."
                ),
            }
            match waits.next() {
                Some(wait) if !self.left(request).is_zero() => self.unless_stopping(sleep(*wait)).await?,
                _ => return Some(()),
            }
        };
        let (api, channel, mode) = (&request.api, &request.channel, request.mode.as_str());
        match fulfilled {
            Fulfilled::Done => info!(%api, channel, mode, "A request to the hub was verified."),
            Fulfilled::Denied(reason) => {
                info!(%api, channel, mode, reason, "A verified request to the hub cannot be fulfilled.");
                self.deny(api, (&request.callback, &request.terms.topic), reason).await;
            }
        }
        Some(())
    }

    async fn fulfil_once(
        &self,
        desk: &dyn Desk,
        settings: &WebsubConfig,
        request: &HubRequest,
    ) -> Result<Fulfilled, DeskError> {
        // Near the bound only one goes at a time, with all permits; elsewhere as many as there are fit below it.
        let all = self.options.verifications;
        let most = usize::try_from(settings.max_subscriptions).unwrap_or(usize::MAX);
        let mut permits = 1;
        let _permits = loop {
            let held = self.fulfilling.acquire_many(u32::try_from(permits).unwrap_or(u32::MAX)).await;
            if permits == all || desk.count(&request.api).saturating_add(all) < most {
                break held;
            }
            permits = all;
        };
        let is_new = request.mode == Mode::Subscribe
            && desk.standing(&request.api, &request.channel, &request.callback) == Standing::Unknown;
        let denied = if is_new && is_full(desk, request, settings) {
            Some("This API has as many subscriptions as it may.")
        } else if desk.fulfil(request).await?.is_some() {
            return Ok(Fulfilled::Done);
        } else {
            (request.mode == Mode::Subscribe).then_some("This topic is no longer offered.")
        };
        desk.drop_request(request).await?;
        Ok(denied.map_or(Fulfilled::Done, Fulfilled::Denied))
    }

    /// Forgets a request that was not confirmed. Its callback is not told: it did not want to hear of it.
    async fn drop_request(&self, request: &HubRequest, doubt: &Doubt) {
        self.metrics.not_verified.inc();
        let (api, channel, mode) = (&request.api, &request.channel, request.mode.as_str());
        info!(
            %api, channel, mode, code = doubt.code, reason = doubt.message,
            "A request to the hub was not confirmed by its callback."
        );
        let Some(desk) = self.desk() else { return };
        if let Err(error) = desk.drop_request(request).await {
            warn!(%api, channel, %error, "A request to the hub could not be forgotten; a restart asks again.");
        }
    }
}

/// The time of day, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
