//! Requests that are not settled, in the order in which they came: one line for each callback and channel, whose first
//! is dealt with and stays at its place meanwhile. So a subscription and its end are never verified side by side.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::gauge::Gauge;
use sluice_api::ApiId;
use tokio::sync::OwnedSemaphorePermit;

use crate::{HubRequest, Mode};

/// What a line is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    api: ApiId,
    channel: String,
    callback: String,
}

/// A request in its line.
pub(crate) struct Pending {
    request: Arc<HubRequest>,
    /// Its room in the queue of its API; of one from before a restart that is not asked.
    _room: Option<OwnedSemaphorePermit>,
    unsettled: Gauge,
}

/// All lines.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<Key, VecDeque<Pending>>>);

impl Key {
    pub(crate) fn new(api: &ApiId, channel: &str, callback: &str) -> Self {
        Self { api: api.clone(), channel: channel.to_owned(), callback: callback.to_owned() }
    }

    pub(crate) fn of(request: &HubRequest) -> Self {
        Self::new(&request.api, &request.channel, &request.callback)
    }
}

impl Pending {
    pub(crate) fn new(request: HubRequest, room: Option<OwnedSemaphorePermit>, unsettled: &Gauge) -> Self {
        unsettled.inc();
        Self { request: Arc::new(request), _room: room, unsettled: unsettled.clone() }
    }

    /// Its line.
    pub(crate) fn key(&self) -> Key {
        Key::of(&self.request)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.unsettled.dec();
    }
}

impl Lines {
    /// Puts a request at the end of its line. Whether the line was empty, so that somebody has to begin with it.
    pub(crate) fn join(&self, key: Key, pending: Pending) -> bool {
        let mut lines = self.lock();
        let line = lines.entry(key).or_default();
        line.push_back(pending);
        line.len() == 1
    }

    /// The first of a line.
    pub(crate) fn first(&self, key: &Key) -> Option<Arc<HubRequest>> {
        self.lock().get(key)?.front().map(|pending| Arc::clone(&pending.request))
    }

    /// Lets the first of a line go. Whether there is another.
    pub(crate) fn advance(&self, key: &Key) -> bool {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(key) else { return false };
        line.pop_front();
        let more = !line.is_empty();
        if !more {
            lines.remove(key);
        }
        more
    }

    /// Whether somebody waits to be subscribed.
    pub(crate) fn will_subscribe(&self, key: &Key) -> bool {
        let lines = self.lock();
        lines.get(key).is_some_and(|line| line.iter().any(|pending| pending.request.mode == Mode::Subscribe))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, VecDeque<Pending>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
