//! The life of one subscription: it is served while its API is deployed, through redeployments and changes of
//! its own, until it is taken away or fails.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_api::{Subscription, SubscriptionId};
use sluice_message::Position;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    Failed, Failure,
    deliveries::{Shared, Task},
    session::{End, Session},
};

/// One subscription's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    id: SubscriptionId,
    task: watch::Receiver<Task>,
    /// How far it has come, once that is known.
    position: Option<Position>,
    /// Told when everything published from then on will reach the subscriber.
    placed: watch::Sender<bool>,
}

impl Worker {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        id: SubscriptionId,
        task: watch::Receiver<Task>,
        placed: watch::Sender<bool>,
    ) -> Self {
        Self { shared, id, task, position: None, placed }
    }

    /// Does what it is told until there is nothing to do.
    pub(crate) async fn run(mut self) {
        loop {
            let task = self.task.borrow_and_update().clone();
            match task {
                Task::Serve(subscription, Some(route)) => {
                    let early = subscription.starting_at.and_then(until);
                    if let Some(early) = early {
                        let _changed = tokio::time::timeout(early, self.task.changed()).await;
                        continue;
                    }
                    route.metrics.subscriptions.inc();
                    let session = Session::new(&self.shared, &subscription, &route, &self.placed);
                    let end = session.serve(&mut self.task, &mut self.position).await;
                    route.metrics.subscriptions.dec();
                    match end {
                        End::Changed | End::Unreadable => {}
                        End::Over => {
                            info!(api = %route.api, subscription = %self.id, "A subscription is over.");
                            self.rest().await;
                        }
                        End::Failed(cause) => {
                            self.report(subscription, cause).await;
                            if self.shared.leave(&self.id, &self.task) {
                                return;
                            }
                        }
                    }
                }
                Task::Serve(_, None) => self.rest().await,
                Task::End { forget } => {
                    if forget {
                        self.position = None;
                        self.shared.forget(&self.id).await;
                    }
                    if self.shared.leave(&self.id, &self.task) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for something else to do. The table lets go of the sender only when the worker has left.
    async fn rest(&mut self) {
        if self.task.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn report(&self, served: Arc<Subscription>, cause: Failure) {
        warn!(
            api = %served.api, subscription = %self.id, application = served.application_name,
            code = cause.code, reason = %cause.message,
            "A subscription has failed and is served no more. It goes on where it stopped when it is resumed."
        );
        if self.shared.reports.send(Failed { served, cause }).await.is_err() {
            warn!(subscription = %self.id, "Nobody is left to be told of the failure.");
        }
    }
}

/// How long it is until a moment in milliseconds since 1970; `None` when it has come.
pub(crate) fn until(moment_ms: i64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Duration::from_millis(u64::try_from(moment_ms).unwrap_or(0));
    moment.checked_sub(now).filter(|wait| !wait.is_zero())
}
