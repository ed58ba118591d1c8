//! The life of one subscription: it is served while its API is deployed, through redeployments and changes of
//! its own, until it is taken away or fails.

use std::sync::Arc;

use sluice_api::{Callback, Qos, Subscription, SubscriptionId};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    Failed, Failure,
    backoff::Backoff,
    clock::{now_ms, until},
    dead_letters,
    deliveries::{Deployed, Serving, Shared, Task},
    flow::End,
    home::{self, Trouble},
    moving::{Leg, Moving},
    place::{Opening, Whereabouts},
    replay::{Asked, Going, back},
    retries::Retries,
    session::Session,
    state::{Stage, Watched},
};

/// One subscription's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    id: SubscriptionId,
    orders: Orders,
    /// How far it has come, once that is known.
    known: Whereabouts,
    retries: Arc<Retries>,
    /// Whether what was noted of its retries is read.
    remembers: bool,
    watched: Arc<Watched>,
    /// The subscriber as it was served last.
    callback: Option<Callback>,
    /// What it was served by last.
    served: Option<Leg>,
    /// Where it moves to another broker, or leaves topics.
    moving: Option<Moving>,
    /// Told when everything published from then on will reach the subscriber.
    placed: watch::Sender<bool>,
}

/// What a worker is told.
pub(crate) struct Orders {
    task: watch::Receiver<Task>,
    /// When it has something else to do in any case.
    by: Option<Instant>,
    /// Told when it is known where it moves.
    prepared: Arc<Notify>,
}

impl Orders {
    /// Resolves when there is something else to do. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        let by = self.by;
        tokio::select! {
            changed = self.task.changed() => if changed.is_err() {
                // The table lets go of the sender only when the worker has left.
                std::future::pending::<()>().await;
            },
            () = self.prepared.notified() => {}
            () = async { match by {
                Some(by) => sleep_until(by).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: SubscriptionId,
        task: watch::Receiver<Task>,
        retries: Arc<Retries>,
        watched: Arc<Watched>,
        placed: watch::Sender<bool>,
    ) -> Self {
        Self {
            shared,
            id,
            orders: Orders { task, by: None, prepared: Arc::default() },
            known: Whereabouts::default(),
            retries,
            remembers: false,
            watched,
            callback: None,
            served: None,
            moving: None,
            placed,
        }
    }

    /// Does what it is told until there is nothing to do.
    pub(crate) async fn run(mut self) {
        loop {
            self.orders.by = None;
            let task = self.orders.task.borrow_and_update().clone();
            match task {
                Task::Serve(Serving { subscription, route: Some(deployed), replay }) => {
                    if !self.remember().await || !self.replay(&deployed, &subscription, replay).await {
                        continue;
                    }
                    if let Some(early) = subscription.starting_at.and_then(until) {
                        let until_ms = now_ms() + crate::clock::millis(early);
                        self.watched.set_stage(Stage::Waiting { until_ms });
                        let _changed = tokio::time::timeout(early, self.orders.changed()).await;
                        continue;
                    }
                    if let Some(cause) = self.serve(&subscription, deployed).await {
                        self.report(subscription, cause).await;
                        if self.shared.leave(&self.id, &self.orders.task) {
                            return;
                        }
                    }
                }
                Task::Serve(Serving { route: None, .. }) => {
                    // What is held of the former broker goes with its API.
                    (self.served, self.moving) = (None, None);
                    self.watched.set_stage(Stage::NoRoute);
                    self.orders.changed().await;
                }
                Task::End { forget } => {
                    if forget {
                        (self.known, self.remembers) = (Whereabouts::default(), false);
                        self.shared.forget(&self.id).await;
                    }
                    if self.shared.leave(&self.id, &self.orders.task) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the API to change that does not have the channel: as for one that is not deployed, since an edit may
    /// bring it back. The position is where it goes on then.
    async fn await_channel(&mut self, subscription: &Subscription, unknown: &Failure) {
        self.watched.failed(unknown);
        warn!(
            api = %subscription.api, subscription = %self.id, code = unknown.code, reason = %unknown.message,
            "A subscription waits for its channel."
        );
        self.watched.set_stage(Stage::Blocked);
        self.orders.changed().await;
    }

    /// Serves the subscription until something changes; why it failed, if it did.
    async fn serve(&mut self, subscription: &Arc<Subscription>, deployed: Deployed) -> Option<Failure> {
        let former = self.callback.replace(subscription.callback.clone());
        if former.is_some_and(|former| former != subscription.callback) {
            // Whoever changed it wants to see at once whether that helped.
            self.retries.clear();
        }
        let to = match Leg::of(deployed, subscription) {
            Ok(to) => to,
            Err(unknown) => {
                self.await_channel(subscription, &unknown).await;
                return None;
            }
        };
        self.heed(to.clone());
        if self.moving.as_ref().is_some_and(Moving::is_due) {
            self.move_on();
        }
        self.orders.by = self.moving.as_ref().map(|moving| moving.by);
        let (leg, goal) = match &self.moving {
            Some(moving) => (moving.from.clone(), moving.goal()),
            None => (to, None),
        };
        let metrics = &leg.route.metrics;
        metrics.subscriptions.inc();
        let session = Session {
            shared: &self.shared,
            subscription,
            route: &leg.route,
            topics: &leg.topics,
            retries: &self.retries,
            watched: &self.watched,
            placed: &self.placed,
            goal: goal.as_ref(),
        };
        let prepared = Arc::clone(&self.orders.prepared);
        let preparing = async {
            if let Some(moving) = &mut self.moving {
                moving.prepare(&self.shared, &self.id).await;
                prepared.notify_one();
            }
            std::future::pending().await
        };
        let end = tokio::select! {
            end = session.serve(&mut self.orders, &mut self.known) => end,
            end = preparing => end,
        };
        metrics.subscriptions.dec();
        if matches!(end, End::Drained) {
            self.move_on();
        }
        match end {
            End::Changed | End::Unreadable | End::Drained => None,
            End::Over => {
                info!(api = %leg.route.api, subscription = %self.id, "A subscription is over.");
                self.watched.set_stage(Stage::Over);
                self.orders.by = None;
                self.orders.changed().await;
                None
            }
            End::Failed(cause) => Some(cause),
        }
    }

    /// Takes note of what is to be served, and of a move where it may be one of another broker or does not
    /// have all topics.
    fn heed(&mut self, to: Leg) {
        let from = self.moving.as_ref().map(|moving| &moving.from).or(self.served.as_ref());
        let leaves = from.filter(|from| {
            let drops = from.topics.iter().any(|topic| !to.covers(topic));
            from.route.qos != Qos::None && (drops || !Arc::ptr_eq(&from.route.driver, &to.route.driver))
        });
        let home = self.known.broker.as_ref().zip(self.known.position.as_ref());
        let Some((from, (home, position))) = leaves.cloned().zip(home) else {
            (self.moving, self.served) = (None, Some(to));
            return;
        };
        match &mut self.moving {
            Some(moving) => moving.redirect(to),
            none => {
                let home = (home.clone(), position);
                *none = Some(Moving::new(&self.shared, from, home, to));
            }
        }
    }

    /// Leaves what it was served by.
    fn move_on(&mut self) {
        if let Some(moving) = self.moving.take() {
            let (to, known) = moving.arrive(&self.id, std::mem::take(&mut self.known));
            (self.served, self.known) = (Some(to), known);
        }
    }

    /// Reads what was noted of the retries, once. False when there is something else to do.
    async fn remember(&mut self) -> bool {
        let mut backoff = Backoff::new();
        while !self.remembers {
            match self.retries.load().await {
                Ok(()) => self.remembers = true,
                Err(error) => {
                    warn!(subscription = %self.id, %error, "What was noted of retries cannot be read; trying again.");
                    tokio::select! {
                        () = self.orders.changed() => return false,
                        () = sleep(backoff.next()) => {}
                    }
                }
            }
        }
        true
    }

    /// Does what is asked for, unless it is done. False when there is something else to do.
    async fn replay(
        &mut self,
        deployed: &Deployed,
        subscription: &Subscription,
        asked: Option<Asked>,
    ) -> bool {
        // Where its channel is gone it fails next, and whoever asked is told that it is not served.
        let leg = Leg::of(deployed.clone(), subscription).ok();
        let Some((asked, leg)) = asked.filter(Asked::waits).zip(leg) else { return true };
        let mut backoff = Backoff::new();
        while let Err(error) = self.go(&leg, &asked.going).await {
            warn!(
                api = %leg.route.api, subscription = %self.id, %error,
                "It cannot be stored from where messages are to be brought again; trying again."
            );
            tokio::select! {
                () = self.orders.changed() => return false,
                () = sleep(backoff.next()) => {}
            }
        }
        asked.tell();
        true
    }

    async fn go(&mut self, Leg { route, topics, .. }: &Leg, going: &Going) -> Result<(), Trouble> {
        let to = match going {
            Going::Letters(until) => {
                self.shared.positions.save(&dead_letters::goal(&self.id), until.clone()).await?;
                return Ok(());
            }
            Going::To(to) => to,
        };
        // A position is one of the new broker, and what is left at the old one is of no more interest.
        self.move_on();
        let opening = Opening {
            shared: &self.shared,
            route,
            id: &self.id,
            topics,
            retries: &self.retries,
            watched: &self.watched,
        };
        let broker = opening.look_up(&mut self.known).await?;
        let standing = match self.known.position.clone() {
            Some(position) => position,
            None => opening.beginning().await?,
        };
        let position = back(&standing, to, &route.begin);
        home::settle(&self.shared, &self.id, &broker, position.clone()).await?;
        self.known.position = Some(position);
        // Whether the subscriber is left alone has nothing to do with it.
        self.retries.retain(|which| which.letter);
        Ok(())
    }

    async fn report(&mut self, served: Arc<Subscription>, cause: Failure) {
        // Whoever resumes it has mended something, and wants to see at once whether it helped.
        self.retries.clear();
        let ends = served.hub.is_some() && cause.code == "delivery.gone";
        let (api, application) = (&served.api, &served.application_name);
        if ends {
            info!(
                %api, subscription = %self.id, reason = %cause.message,
                "A subscriber wants no more calls. Its subscription is closed."
            );
        } else {
            warn!(
                %api, subscription = %self.id, application, code = cause.code, reason = %cause.message,
                "A subscription has failed and is served no more. It goes on where it stopped when it is resumed."
            );
        }
        if self.shared.reports.send(Failed { served, cause }).await.is_err() {
            warn!(subscription = %self.id, "Nobody is left to be told of the failure.");
        }
    }
}
