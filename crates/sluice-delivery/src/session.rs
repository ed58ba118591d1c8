//! A subscription while nothing about it changes: reads, judges and brings messages, in order, and remembers how
//! far it has come.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sluice_api::{Qos, Subscription};
use sluice_message::{Message, Place, Position};
use sluice_policy::{Caller, Chain, Hook, Outcome};
use sluice_stream::{Cursor, Step, subscription_reader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    Failure, Route,
    call::{Courier, Fate},
    deliveries::{Shared, Task},
    exchange::Exchange,
    place,
    worker::until,
};

/// How long a broker is left alone that could be opened but not read.
const REOPEN: Duration = Duration::from_secs(1);

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The worker has something else to do.
    Changed,
    /// The subscription's time is over.
    Over,
    /// The subscriber cannot be called.
    Failed(Failure),
}

/// A subscription on a route.
pub(crate) struct Session<'s> {
    shared: &'s Shared,
    subscription: &'s Arc<Subscription>,
    route: &'s Arc<Route>,
    reader: String,
    /// Told when everything published from then on will reach the subscriber.
    placed: &'s watch::Sender<bool>,
}

/// What is to be done with a message.
enum Judged {
    Bring(Message, Duration),
    SetAside(Message, Failure),
    /// Nothing; whether the subscription moves past it.
    Drop(bool),
}

impl<'s> Session<'s> {
    pub(crate) fn new(
        shared: &'s Shared,
        subscription: &'s Arc<Subscription>,
        route: &'s Arc<Route>,
        placed: &'s watch::Sender<bool>,
    ) -> Self {
        let reader = subscription_reader(&subscription.id.0);
        Self { shared, subscription, route, reader, placed }
    }

    /// Serves the subscription until something changes. `position` is how far it has come, where that is known.
    pub(crate) async fn serve(
        &self,
        task: &mut watch::Receiver<Task>,
        position: &mut Option<Position>,
    ) -> End {
        let callback = &self.subscription.callback;
        let webhook = &self.route.webhook;
        let exchange = match Exchange::new(callback, webhook, &self.shared.clients, self.shared.longest_wait)
        {
            Ok(exchange) => exchange,
            Err(problem) => return End::Failed(Failure::new(problem.code, problem.to_string())),
        };
        let caller = match self.met().await {
            Ok(caller) => caller,
            Err(failure) => return End::Failed(failure),
        };
        let topics = match self.route.chosen_by.deliver(&self.route.topics, caller.attributes()) {
            Ok(topics) => topics,
            Err(error) => return End::Failed(Failure::new("policy.topic.invalid", error.to_string())),
        };
        let winding = CancellationToken::new();
        let (shared, route, subscription) = (self.shared, &**self.route, self.subscription);
        let courier = Courier { shared, route, subscription, exchange, winding };
        loop {
            let opened = tokio::select! {
                biased;
                _ = task.changed() => return End::Changed,
                () = self.over() => return End::Over,
                cursor = place::open(self.shared, self.route, &topics, &self.reader, position) => cursor,
            };
            if let Some(end) = self.follow(opened, &caller, &courier, task, position).await {
                return end;
            }
            tokio::select! {
                _ = task.changed() => return End::Changed,
                () = tokio::time::sleep(REOPEN) => {}
            }
        }
    }

    /// The subscriber after the policies that meet it.
    async fn met(&self) -> Result<Caller, Failure> {
        let chains = &self.route.chains;
        let channel = self.subscription.channel.as_deref().unwrap_or_default();
        let caller = Caller::new(chains, "webhook", channel);
        let mut caller =
            caller.with_subscription(Arc::clone(self.subscription)).with_plan(&self.subscription.plan);
        match chains.connect(&mut caller).await {
            Ok(()) => Ok(caller),
            Err(rejection) => Err(Failure::new(rejection.code, rejection.message)),
        }
    }

    /// Brings what a cursor hands out. `None` when the cursor is of no more use and a new one may be.
    async fn follow(
        &self,
        mut cursor: Cursor,
        caller: &Caller,
        courier: &Courier<'_>,
        task: &mut watch::Receiver<Task>,
        position: &mut Option<Position>,
    ) -> Option<End> {
        let chain = self.route.chains.select(Hook::Deliver, caller);
        let window = self.window();
        let mut handled = cursor.position();
        let (mut batch, mut queue) = (Vec::new(), VecDeque::new());
        let mut calls = FuturesUnordered::new();
        // A source that has an end has nothing more for this subscription.
        let mut exhausted = false;
        let mut end = None;
        self.placed.send_replace(true);
        // Also where the one to be kept at the beginning could not be.
        self.remember(&handled, position);
        loop {
            let mut moved = false;
            while end.is_none() && calls.len() < window {
                let Some(message) = queue.pop_front() else { break };
                let place = Message::place(&message).cloned();
                let (bring, aside) = match self.judge(&chain, caller, message) {
                    Judged::Drop(moves) => {
                        moved |= moves && advance(&mut handled, place.as_ref());
                        continue;
                    }
                    Judged::Bring(message, delay) => (Some((message, delay)), None),
                    Judged::SetAside(message, failure) => (None, Some((message, failure))),
                };
                let before = (self.route.qos == Qos::AtMostOnce).then(|| {
                    let mut behind = handled.clone();
                    advance(&mut behind, place.as_ref());
                    // Also for the next session: what may have gone out does not go out again.
                    *position = Some(behind.clone());
                    (&*self.reader, behind)
                });
                calls.push(async move {
                    let fate = match (bring, aside) {
                        (Some((message, delay)), _) => courier.bring(message, delay, before).await,
                        (None, Some((message, failure))) => {
                            courier.set_aside(&message, failure, 0, false).await
                        }
                        (None, None) => Fate::Settled,
                    };
                    (place, fate)
                });
            }
            if moved {
                self.remember(&handled, position);
            }
            if calls.is_empty()
                && let Some(end) = end
            {
                return end;
            }
            tokio::select! {
                biased;
                Some((place, fate)) = calls.next(), if !calls.is_empty() => match fate {
                    Fate::Settled => {
                        advance(&mut handled, place.as_ref());
                        self.remember(&handled, position);
                    }
                    Fate::Cut { sent } => {
                        if !sent && position.is_some() {
                            // It may go out another time, also where that is at most once.
                            *position = Some(handled.clone());
                        }
                        end = end.or(Some(Some(End::Changed)));
                    }
                    Fate::Failed(failure) => {
                        courier.winding.cancel();
                        end = Some(Some(End::Failed(failure)));
                    }
                },
                _ = task.changed(), if end.is_none() => {
                    courier.winding.cancel();
                    end = Some(Some(End::Changed));
                }
                () = self.over(), if end.is_none() => {
                    courier.winding.cancel();
                    end = Some(Some(End::Over));
                }
                step = cursor.next(&mut batch),
                    if !exhausted && end.is_none() && queue.is_empty() && calls.len() < window =>
                {
                    match step {
                        Ok(Step::Messages) => queue.extend(batch.drain(..)),
                        Ok(Step::Skipped(count)) => {
                            self.tell_skipped(count);
                            handled = cursor.position();
                            self.remember(&handled, position);
                        }
                        Ok(Step::Ended) => exhausted = true,
                        Err(error) => {
                            error!(
                                api = %self.route.api, subscription = %self.subscription.id, %error,
                                "The broker of a subscription cannot be read; trying again."
                            );
                            end = Some(None);
                        }
                    }
                }
            }
        }
    }

    /// How many calls may be under way at once. More than one would not keep the order.
    fn window(&self) -> usize {
        match self.route.qos {
            Qos::None => self.route.webhook.http.max_concurrent_connections as usize,
            Qos::Auto | Qos::AtMostOnce | Qos::AtLeastOnce => 1,
        }
    }

    fn judge(&self, chain: &Chain, caller: &Caller, message: Message) -> Judged {
        if chain.is_empty() {
            return Judged::Bring(message, Duration::ZERO);
        }
        let original = message.clone();
        match chain.run(&caller.context(), message) {
            Outcome::Pass(message) => Judged::Bring(message, Duration::ZERO),
            Outcome::Delayed(message, delay) => Judged::Bring(message, delay),
            Outcome::Dropped { acknowledge, .. } => {
                self.route.metrics.dropped_by_policy.inc();
                Judged::Drop(acknowledge)
            }
            Outcome::Rejected(rejection) => {
                self.route.metrics.dropped_by_policy.inc();
                Judged::SetAside(original, Failure::new(rejection.code, rejection.message))
            }
        }
    }

    /// Stores how far the subscription has come, within a moment; a subscription without promises has no
    /// place to come back to.
    fn remember(&self, handled: &Position, position: &mut Option<Position>) {
        if self.route.qos == Qos::None || handled.is_empty() {
            return;
        }
        *position = Some(handled.clone());
        if let Err(error) = self.shared.positions.save_soon(&self.reader, handled.clone()) {
            warn!(
                subscription = %self.subscription.id, %error,
                "A position could not be stored; after a restart some messages will be delivered again."
            );
        }
    }

    fn tell_skipped(&self, count: u64) {
        self.route.metrics.skipped.inc_by(count);
        warn!(
            api = %self.route.api, subscription = %self.subscription.id, messages = count,
            "The broker had dropped messages before a subscription could get them."
        );
    }

    /// Resolves when the time of the subscription is over.
    async fn over(&self) {
        match self.subscription.ending_at {
            None => std::future::pending().await,
            Some(end) => {
                while let Some(wait) = until(end) {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

fn advance(handled: &mut Position, place: Option<&Place>) -> bool {
    place.map(|place| handled.advance(place)).is_some()
}
