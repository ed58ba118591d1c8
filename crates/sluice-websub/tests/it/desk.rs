//! A desk in memory, that outlives hubs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::{ApiId, SubscriptionId};
use sluice_websub::{Desk, DeskError, HubRequest, Mode, Standing};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::bench::PATIENCE;

/// What is on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Papers {
    pub(crate) requests: Vec<HubRequest>,
    /// By channel and callback, as it was agreed on last.
    pub(crate) subscriptions: BTreeMap<(String, String), HubRequest>,
    /// What was done, in order: `mode` or `dropped`.
    pub(crate) done: Vec<&'static str>,
    /// Writing fails so often.
    pub(crate) failing: usize,
    /// The API is not there any more.
    pub(crate) is_gone: bool,
}

pub(crate) struct MemoryDesk {
    papers: Mutex<Papers>,
    changes: watch::Sender<()>,
    /// A permit for each request that may be kept.
    pub(crate) keeping: Semaphore,
}

impl MemoryDesk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            papers: Mutex::default(),
            changes: watch::Sender::new(()),
            keeping: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Papers) -> T) -> T {
        let changed = change(&mut self.papers.lock().unwrap());
        self.changes.send_replace(());
        changed
    }

    pub(crate) fn papers(&self) -> Papers {
        self.papers.lock().unwrap().clone()
    }

    /// Waits until something holds of what is on it.
    pub(crate) async fn until(&self, condition: impl Fn(&Papers) -> bool) -> Papers {
        let mut changes = self.changes.subscribe();
        let holds = async {
            while !condition(&self.papers()) {
                changes.changed().await.unwrap();
            }
        };
        let held = timeout(PATIENCE, holds).await;
        held.unwrap_or_else(|_| panic!("it should have come to hold: {:?}", self.papers()));
        self.papers()
    }

    /// Waits until so many requests were settled.
    pub(crate) async fn settled(&self, count: usize) -> Papers {
        self.until(|papers| papers.done.len() >= count).await
    }

    fn write<T>(&self, write: impl FnOnce(&mut Papers) -> T) -> Result<T, DeskError> {
        self.change(|papers| {
            if papers.failing > 0 {
                papers.failing -= 1;
                return Err(DeskError("The disk is full.".to_owned()));
            }
            Ok(write(papers))
        })
    }
}

fn key(request: &HubRequest) -> (String, String) {
    (request.channel.clone(), request.callback.clone())
}

impl Desk for MemoryDesk {
    fn keep(&self, request: HubRequest) -> BoxFuture<'_, Result<(), DeskError>> {
        async move {
            self.keeping.acquire().await.unwrap().forget();
            self.write(|papers| papers.requests.push(request))
        }
        .boxed()
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<HubRequest>, DeskError>> {
        async { self.write(|papers| papers.requests.clone()) }.boxed()
    }

    fn fulfil<'a>(
        &'a self,
        request: &'a HubRequest,
    ) -> BoxFuture<'a, Result<Option<SubscriptionId>, DeskError>> {
        async move {
            self.write(|papers| {
                if papers.is_gone {
                    return None;
                }
                papers.requests.retain(|kept| kept.id != request.id);
                papers.done.push(request.mode.as_str());
                match request.mode {
                    Mode::Subscribe => drop(papers.subscriptions.insert(key(request), request.clone())),
                    Mode::Unsubscribe => drop(papers.subscriptions.remove(&key(request))),
                }
                Some(SubscriptionId(request.id.clone()))
            })
        }
        .boxed()
    }

    fn drop_request<'a>(&'a self, request: &'a HubRequest) -> BoxFuture<'a, Result<(), DeskError>> {
        async move {
            self.write(|papers| {
                papers.requests.retain(|kept| kept.id != request.id);
                papers.done.push("dropped");
            })
        }
        .boxed()
    }

    fn standing(&self, _: &ApiId, channel: &str, callback: &str) -> Standing {
        let key = (channel.to_owned(), callback.to_owned());
        if self.papers().subscriptions.contains_key(&key) { Standing::Subscribed } else { Standing::Unknown }
    }

    fn count(&self, _: &ApiId) -> usize {
        self.papers().subscriptions.len()
    }
}
