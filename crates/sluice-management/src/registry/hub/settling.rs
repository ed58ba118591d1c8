//! What becomes of requests that the hub has verified. Those that are verified at the same time are written together:
//! ten thousand subscribers are not ten thousand syncs of the disk.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_api::{ApplicationId, Callback, SubscriptionId};
use sluice_message::Position;
use sluice_store::{
    ApplicationRecord, Catalogue, ConsumerConfiguration, ConsumerStatus, SubscriptionRecord,
    SubscriptionStatus, Timestamp,
};
use sluice_websub::{Begins, DeskError, HubRequest, Mode};
use tokio::sync::oneshot;

use super::{
    super::{
        Inner, Registry, RegistryError,
        subscriptions::{LEASE_OVER, end},
    },
    HUB, served_websub, told,
};

/// What the application of the subscribers is called.
const HUB_NAME: &str = "WebSub subscribers";

/// Why a subscriber's own request has closed its subscription.
const UNSUBSCRIBED: &str = "The subscriber has unsubscribed.";

/// Requests that are settled in one go, between which other changes have their turn.
const AT_ONCE: usize = 500;

/// What came of a request.
#[derive(Debug, Clone)]
enum Settled {
    /// It is about this subscription, or about none.
    About(Option<SubscriptionId>),
    /// A new subscription is to be made for which no beginning was stored; nothing is done yet.
    NotBegun,
}

/// Requests that wait to be settled.
#[derive(Default)]
pub(in super::super) struct Settling(Mutex<VecDeque<Waiting>>);

struct Waiting {
    request: HubRequest,
    /// Whether it is stored where a new subscription begins.
    begun: bool,
    done: oneshot::Sender<Result<Settled, DeskError>>,
}

impl Settling {
    fn add(&self, waiting: Waiting) {
        self.waiting().push_back(waiting);
    }

    /// The first of them, up to one that is about the same callback as an earlier one.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let mut seen = HashSet::new();
        let key =
            |it: &Waiting| (it.request.api.clone(), it.request.channel.clone(), it.request.callback.clone());
        let count = waiting.iter().take(AT_ONCE).take_while(|it| seen.insert(key(it))).count();
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // Whole after any panic: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Does what a verified request asks for. Where a new subscription begins is stored first, so that one is never
    /// served from elsewhere; that waits for the disk, and nobody else shall wait for it.
    pub(super) async fn fulfil(&self, request: &HubRequest) -> Result<Option<SubscriptionId>, DeskError> {
        let begins = request.begins.as_ref().filter(|_| request.mode == Mode::Subscribe);
        let mut begun = begins.is_none();
        loop {
            if let Some(begins) = begins.filter(|_| !begun && self.inner.renewed(request).is_none()) {
                self.inner.begin(request, begins).await?;
                begun = true;
            }
            let Settled::About(subscription) = self.settled(request, begun).await? else { continue };
            let own = SubscriptionId(request.id.clone());
            if begins.is_some() && begun && subscription.as_ref() != Some(&own) {
                // What was stored for it is of no use.
                self.inner.gateway.remove_subscription(&own, true);
            }
            return Ok(subscription);
        }
    }

    async fn settled(&self, request: &HubRequest, begun: bool) -> Result<Settled, DeskError> {
        let (done, mut settled) = oneshot::channel();
        self.inner.settling.add(Waiting { request: request.clone(), begun, done });
        loop {
            let turn = self.exclusively(async move |inner| {
                inner.settle_some().await;
                Ok(())
            });
            turn.await.map_err(told)?;
            match settled.try_recv() {
                Ok(settled) => return settled,
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(DeskError("The request was not settled.".to_owned()));
                }
            }
        }
    }
}

impl Inner {
    async fn begin(&self, request: &HubRequest, begins: &Begins) -> Result<(), DeskError> {
        let position: Position = begins.position.parse().map_err(told)?;
        let id = SubscriptionId(request.id.clone());
        self.gateway.begin_at(&id, &begins.broker, &position).await.map_err(DeskError)
    }

    /// The open subscription of the callback and channel of a request, where its lease was not over when that came:
    /// it goes on where it is, although it may have ended meanwhile.
    fn renewed(&self, request: &HubRequest) -> Option<Arc<SubscriptionRecord>> {
        let known = self.at_hub(request)?;
        let received_at = Timestamp(request.received_at_ms);
        Some(known).filter(|known| known.ending_at.is_none_or(|end| end > received_at))
    }

    fn at_hub(&self, request: &HubRequest) -> Option<Arc<SubscriptionRecord>> {
        let state = self.read();
        state.subscriptions.at_hub(&request.api, &request.channel, &request.callback).cloned()
    }

    /// Settles requests that wait, and tells who waits for them.
    async fn settle_some(&self) {
        let taken = self.settling.take();
        if taken.is_empty() {
            return;
        }
        let settled = self.settle_all(&taken).await.map_err(told);
        for (index, waiting) in taken.into_iter().enumerate() {
            let outcome = settled.as_ref().map(|settled| settled[index].clone());
            // One who has gone away does not mind.
            let _told = waiting.done.send(outcome.map_err(|error| DeskError(error.0.clone())));
        }
    }

    /// Settles these requests, no two of which are about the same callback and channel.
    async fn settle_all(&self, requests: &[Waiting]) -> Result<Vec<Settled>, RegistryError> {
        let (mut outcomes, mut changed, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for Waiting { request, begun, .. } in requests {
            let outcome = self.outcome(request, *begun, &mut changed);
            if matches!(outcome, Settled::About(_)) {
                ids.push(request.id.as_str());
            }
            outcomes.push(outcome);
        }
        if !changed.is_empty() {
            self.keep_hub_application().await?;
        }
        let forgotten = self.read().subscriptions.superfluous(&changed);
        self.store.settle_hub_requests(&ids, &changed, &forgotten).await?;
        self.show_subscriptions(changed, &forgotten);
        Ok(outcomes)
    }

    /// What comes of a request: the subscriptions that it changes, and which one it is about.
    fn outcome(&self, request: &HubRequest, begun: bool, changed: &mut Vec<SubscriptionRecord>) -> Settled {
        let known = self.at_hub(request);
        let id = known.as_ref().map(|known| known.id.clone());
        let closed = |known: Arc<SubscriptionRecord>, cause| {
            let mut record = (*known).clone();
            end(&mut record, cause);
            record
        };
        match request.mode {
            Mode::Unsubscribe => changed.extend(known.map(|known| closed(known, UNSUBSCRIBED))),
            Mode::Subscribe if !self.offers(request) => return Settled::About(None),
            Mode::Subscribe => {
                if let Some(known) = self.renewed(request) {
                    changed.push(renewed(&known, request));
                    return Settled::About(id);
                }
                if !begun {
                    return Settled::NotBegun;
                }
                changed.extend(known.map(|known| closed(known, LEASE_OVER)));
                changed.push(subscription(request));
                return Settled::About(Some(SubscriptionId(request.id.clone())));
            }
        }
        Settled::About(id)
    }

    /// Whether an API has what is asked for, and lets it be used by the plan of the request.
    fn offers(&self, request: &HubRequest) -> bool {
        let Ok(api) = self.get(&request.api) else { return false };
        let definition = api.record.deployed.as_ref().unwrap_or(&api.record.draft);
        served_websub(&api.record).is_some()
            && definition.channels.contains_key(&request.channel)
            && api.plan(&request.plan).is_ok_and(|plan| plan.plan.status.admits())
    }

    async fn keep_hub_application(&self) -> Result<(), RegistryError> {
        let id = ApplicationId(HUB.to_owned());
        if self.application(&id).is_ok() {
            return Ok(());
        }
        let now = Timestamp::now();
        let record = ApplicationRecord {
            id,
            name: HUB_NAME.to_owned(),
            description: "Whoever subscribes at a hub of this gateway.".to_owned(),
            client_id: None,
            catalogue: Catalogue::new(),
            created_at: now,
            updated_at: now,
            archived_at: None,
        };
        self.keep_application(record).await.map(drop)
    }
}

/// The end of a lease that begins now.
fn lease_end(request: &HubRequest, now: Timestamp) -> Timestamp {
    now.after(Duration::from_secs(request.terms.lease_seconds))
}

/// A subscription after the request to renew it. Whether it pauses is not the subscriber's to say.
fn renewed(known: &SubscriptionRecord, request: &HubRequest) -> SubscriptionRecord {
    let mut record = known.clone();
    record.updated_at = Timestamp::now_after(record.updated_at);
    record.plan = request.plan.clone();
    record.metadata = request.metadata.clone();
    record.consumer.hub = Some(request.terms.clone());
    record.ending_at = Some(lease_end(request, Timestamp::now()));
    if record.consumer_status == ConsumerStatus::Failure {
        (record.consumer_status, record.failure_cause) = (ConsumerStatus::Started, None);
    }
    record
}

fn subscription(request: &HubRequest) -> SubscriptionRecord {
    let now = Timestamp::now();
    SubscriptionRecord {
        id: SubscriptionId(request.id.clone()),
        api: request.api.clone(),
        plan: request.plan.clone(),
        application: ApplicationId(HUB.to_owned()),
        consumer: ConsumerConfiguration {
            connector: HUB.to_owned(),
            channel: Some(request.channel.clone()),
            callback: Callback::to(&request.callback),
            hub: Some(request.terms.clone()),
        },
        metadata: request.metadata.clone(),
        status: SubscriptionStatus::Accepted,
        consumer_status: ConsumerStatus::Started,
        failure_cause: None,
        consumer_message: None,
        publisher_message: None,
        subscribed_by: HUB.to_owned(),
        processed_by: Some(HUB.to_owned()),
        processed_at: Some(now),
        created_at: now,
        updated_at: now,
        starting_at: Some(now),
        ending_at: Some(lease_end(request, now)),
        closed_at: None,
        paused_at: None,
        consumer_paused_at: None,
    }
}
