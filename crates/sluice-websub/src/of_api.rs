//! What the hub has of one API: its settings, and its share of what all have in common, so that the flood of one keeps
//! no other waiting.

use std::sync::Arc;

use sluice_api::WebsubConfig;
use tokio::sync::{Semaphore, watch};

use crate::HubOptions;

/// One API at the hub.
pub(crate) struct OfApi {
    /// `None` where it was not deployed yet in this run.
    settings: watch::Sender<Option<Arc<WebsubConfig>>>,
    /// A permit for each request that may wait.
    pub(crate) room: Arc<Semaphore>,
    /// A permit for each call to a callback that may be under way.
    pub(crate) turns: Semaphore,
    /// A permit for each of these that may go to one host, by its number.
    of_hosts: Box<[Semaphore]>,
}

/// How many hosts are told apart; the others share their turns with one of them.
const HOSTS: usize = 256;

impl OfApi {
    pub(crate) fn new(options: &HubOptions) -> Self {
        let turns = (options.verifications / 4).max(1);
        Self {
            settings: watch::Sender::new(None),
            room: Arc::new(Semaphore::new(options.queue.min(Semaphore::MAX_PERMITS))),
            turns: Semaphore::new(turns),
            of_hosts: (0..HOSTS).map(|_| Semaphore::new((turns / 4).max(1))).collect(),
        }
    }

    /// The turns of a host of this number.
    pub(crate) fn turns_of_host(&self, place: u16) -> &Semaphore {
        &self.of_hosts[usize::from(place) % HOSTS]
    }

    /// Takes its settings as they are now.
    pub(crate) fn learn(&self, settings: &WebsubConfig) {
        self.settings.send_if_modified(|known| {
            let changed = known.as_deref() != Some(settings);
            if changed {
                *known = Some(Arc::new(settings.clone()));
            }
            changed
        });
    }

    /// Its settings, as soon as there are some.
    pub(crate) async fn settings(&self) -> Arc<WebsubConfig> {
        let mut changes = self.settings.subscribe();
        loop {
            if let Some(settings) = self.known_settings() {
                return settings;
            }
            // The sender lives as long as this.
            let _never_closed = changes.changed().await;
        }
    }

    /// Its settings, where there are some.
    pub(crate) fn known_settings(&self) -> Option<Arc<WebsubConfig>> {
        self.settings.borrow().clone()
    }
}
