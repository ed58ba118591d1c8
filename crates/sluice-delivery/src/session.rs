//! A subscription while nothing about it changes: reads, judges and brings messages, in order, and remembers how
//! far it has come.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sluice_api::{Qos, Subscription};
use sluice_message::{Message, Place, Position};
use sluice_policy::{Caller, Chain, Hook, Outcome};
use sluice_stream::{Cursor, Step, subscription_reader};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
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

/// How long a broker is left alone that could be opened but not read, and a subscriber that a policy does not let
/// in for now.
const AGAIN: Duration = Duration::from_secs(1);
const LET_IN_AGAIN: Duration = Duration::from_secs(30);

/// How long the policies that meet a subscriber may take.
const MEETING: Duration = Duration::from_secs(30);

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The worker has something else to do.
    Changed,
    /// The subscription's time is over.
    Over,
    /// The subscriber cannot be called.
    Failed(Failure),
    /// What it reads with is of no more use.
    Unreadable,
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

/// Calls under way, each with the place of its message.
type Calls<'f> = FuturesUnordered<BoxFuture<'f, (Option<Place>, Fate)>>;

/// How far a session has come.
struct Progress<'p> {
    /// Behind everything that is dealt with.
    handled: Position,
    /// The same for the next session; behind the message under way where that must not go out again.
    position: &'p mut Option<Position>,
    /// Read, and not yet judged.
    queue: VecDeque<Message>,
    /// Why nothing more is begun.
    end: Option<End>,
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
        let caller = tokio::select! {
            biased;
            _ = task.changed() => return End::Changed,
            () = self.over() => return End::Over,
            met = self.met() => match met {
                Ok(caller) => caller,
                Err(failure) => return End::Failed(failure),
            },
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
            match self.follow(opened, &caller, &courier, task, position).await {
                End::Unreadable => {}
                end => return end,
            }
            tokio::select! {
                _ = task.changed() => return End::Changed,
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// The subscriber after the policies that meet it. One that they do not let in for now is tried again.
    async fn met(&self) -> Result<Caller, Failure> {
        let chains = &self.route.chains;
        let channel = self.subscription.channel.as_deref().unwrap_or_default();
        loop {
            let caller = Caller::new(chains, "webhook", channel);
            let mut caller =
                caller.with_subscription(Arc::clone(self.subscription)).with_plan(&self.subscription.plan);
            match timeout(MEETING, chains.connect(&mut caller)).await {
                Ok(Ok(())) => return Ok(caller),
                Ok(Err(rejection)) if rejection.status != 429 && rejection.status < 500 => {
                    return Err(Failure::new(rejection.code, rejection.message));
                }
                Ok(Err(rejection)) => warn!(
                    api = %self.route.api, subscription = %self.subscription.id, code = rejection.code,
                    "A subscriber is not let in by a policy for now; trying again."
                ),
                Err(_) => warn!(
                    api = %self.route.api, subscription = %self.subscription.id,
                    "The policies that meet a subscriber take too long; trying again."
                ),
            }
            sleep(LET_IN_AGAIN).await;
        }
    }

    /// Brings what a cursor hands out, until something ends it and every call is done.
    async fn follow(
        &self,
        mut cursor: Cursor,
        caller: &Caller,
        courier: &Courier<'_>,
        task: &mut watch::Receiver<Task>,
        position: &mut Option<Position>,
    ) -> End {
        let chain = self.route.chains.select(Hook::Deliver, caller);
        let window = self.window();
        let mut progress =
            Progress { handled: cursor.position(), position, queue: VecDeque::new(), end: None };
        let (mut batch, mut calls) = (Vec::new(), Calls::new());
        // A source that has an end has nothing more for this subscription.
        let mut exhausted = false;
        self.placed.send_replace(true);
        // Also where the one to be kept at the beginning could not be.
        self.remember(&mut progress);
        loop {
            while progress.end.is_none() && calls.len() < window && !progress.queue.is_empty() {
                self.begin_next(&mut progress, &mut calls, &chain, caller, courier);
            }
            if calls.is_empty()
                && let Some(end) = progress.end
            {
                return end;
            }
            let open = progress.end.is_none();
            tokio::select! {
                biased;
                Some((place, fate)) = calls.next(), if !calls.is_empty() => {
                    self.settle(&mut progress, place.as_ref(), fate);
                }
                _ = task.changed(), if open => progress.end = Some(End::Changed),
                () = self.over(), if open => progress.end = Some(End::Over),
                step = cursor.next(&mut batch), if open && !exhausted && progress.queue.is_empty() && calls.len() < window => {
                    match step {
                        Ok(Step::Messages) => progress.queue.extend(batch.drain(..)),
                        Ok(Step::Skipped(count)) => {
                            self.tell_skipped(count);
                            progress.handled = cursor.position();
                            self.remember(&mut progress);
                        }
                        Ok(Step::Ended) => exhausted = true,
                        Err(error) => {
                            error!(
                                api = %self.route.api, subscription = %self.subscription.id, %error,
                                "The broker of a subscription cannot be read; trying again."
                            );
                            progress.end = Some(End::Unreadable);
                        }
                    }
                }
            }
            if progress.end.is_some() {
                courier.winding.cancel();
            }
        }
    }

    /// Judges the messages at hand up to the first that is to be brought, and begins to bring it.
    fn begin_next<'f>(
        &'f self,
        progress: &mut Progress<'_>,
        calls: &mut Calls<'f>,
        chain: &Chain,
        caller: &Caller,
        courier: &'f Courier<'_>,
    ) {
        let mut moved = false;
        while let Some(message) = progress.queue.pop_front() {
            let place = message.place().cloned();
            let judged = self.judge(chain, caller, message);
            if let Judged::Drop(moves) = judged {
                moved |= moves && advance(&mut progress.handled, place.as_ref());
                continue;
            }
            let before = (self.route.qos == Qos::AtMostOnce).then(|| {
                let mut behind = progress.handled.clone();
                advance(&mut behind, place.as_ref());
                // Also for the next session: what may have gone out does not go out again.
                *progress.position = Some(behind.clone());
                (&*self.reader, behind)
            });
            calls.push(Box::pin(async move {
                let fate = match judged {
                    Judged::Bring(message, delay) => courier.bring(message, delay, before).await,
                    Judged::SetAside(message, failure) => {
                        courier.set_aside(&message, failure, 0, false).await
                    }
                    Judged::Drop(_) => Fate::Settled,
                };
                (place, fate)
            }));
            break;
        }
        if moved {
            self.remember(progress);
        }
    }

    /// Notes what became of a message.
    fn settle(&self, progress: &mut Progress<'_>, place: Option<&Place>, fate: Fate) {
        match fate {
            Fate::Settled => {
                advance(&mut progress.handled, place);
                self.remember(progress);
            }
            Fate::Cut => {
                // Not taken, so that it may go out another time, also where that is at most once.
                self.remember(progress);
                progress.end.get_or_insert(End::Changed);
            }
            Fate::Failed(failure) => {
                if self.route.qos == Qos::AtMostOnce && failure.ambiguous {
                    // It may have been taken, so it does not go out again.
                    self.route.metrics.given_up.inc();
                } else {
                    self.remember(progress);
                }
                // A change that came before the failure may have mended what failed.
                progress.end.get_or_insert(End::Failed(failure));
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
                Judged::SetAside(original, Failure::new(rejection.code, rejection.message))
            }
        }
    }

    /// Stores how far the subscription has come, within a moment; a subscription without promises has no
    /// place to come back to.
    fn remember(&self, progress: &mut Progress<'_>) {
        let handled = &progress.handled;
        if self.route.qos == Qos::None || handled.is_empty() {
            return;
        }
        *progress.position = Some(handled.clone());
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
                    sleep(wait).await;
                }
            }
        }
    }
}

fn advance(handled: &mut Position, place: Option<&Place>) -> bool {
    place.map(|place| handled.advance(place)).is_some()
}
