//! A subscription while nothing about it changes: meets the policies, opens the broker, and lets messages
//! [flow](crate::flow).

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use sluice_api::{Qos, Subscription};
use sluice_message::{Message, Position, Topic};
use sluice_policy::{Caller, Hook, chosen_endpoint};
use sluice_stream::{Cursor, PositionsError, subscription_reader};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Failure, Route,
    call::Courier,
    dead_letters::{self, Reading},
    deliveries::Shared,
    exchange::Exchange,
    flow::{End, Flow, Letters, over, turns},
    gate::Gate,
    judge::Judge,
    ledger::Ledger,
    place::{Opening, Whereabouts},
    retries::Retries,
    state::{Stage, Watched},
    worker::Orders,
};

/// How long a broker is left alone that could be opened but not read, and a subscriber that a policy does not let
/// in for now.
const AGAIN: Duration = Duration::from_secs(1);
const LET_IN_AGAIN: Duration = Duration::from_secs(30);

/// How long the policies that meet a subscriber may take.
const MEETING: Duration = Duration::from_secs(30);

/// A subscription on a route.
pub(crate) struct Session<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) subscription: &'s Arc<Subscription>,
    pub(crate) route: &'s Arc<Route>,
    /// Its topics there, unless policies choose others.
    pub(crate) topics: &'s [Topic],
    pub(crate) retries: &'s Retries,
    pub(crate) watched: &'s Watched,
    /// Told when everything published from then on will reach the subscriber.
    pub(crate) placed: &'s watch::Sender<bool>,
    /// Where it ends, as it moves to another broker then.
    pub(crate) goal: Option<&'s Position>,
}

impl Session<'_> {
    /// Serves the subscription until something changes.
    pub(crate) async fn serve(&self, orders: &mut Orders, known: &mut Whereabouts) -> End {
        self.watched.set_stage(Stage::Opening);
        let (called, webhook) =
            ((&self.subscription.callback, self.subscription.hub.as_ref()), &self.route.webhook);
        let exchange = match Exchange::new(called, webhook, &self.shared.clients, self.shared.longest_wait) {
            Ok(exchange) => exchange,
            Err(problem) => return End::Failed(Failure::new(problem.code, problem.to_string())),
        };
        let caller = tokio::select! {
            biased;
            () = orders.changed() => return End::Changed,
            () = over(self.subscription) => return End::Over,
            met = self.met() => match met {
                Ok(caller) => caller,
                Err(failure) => return End::Failed(failure),
            },
        };
        if chosen_endpoint(&[caller.attributes()]).is_some() {
            let text = "A policy of this API chose an endpoint for a subscriber, and subscribers are called with what \
                        the brokers have that serve the API. Its publisher has to act.";
            return End::Failed(Failure::new("endpoint.closed", text));
        }
        let topics = match self.route.chosen_by.deliver(self.topics, &caller) {
            Ok(topics) => topics,
            Err(error) => return End::Failed(Failure::new(error.code(), error.to_string())),
        };
        let metrics = &self.route.metrics;
        let told = (&**self.subscription, &self.watched.told);
        let gate = Gate::new(webhook.circuit_breaker.as_ref(), self.retries, told, &metrics.open_circuits);
        let most = turns(self.subscription, self.route.qos, webhook.http.max_concurrent_connections);
        let courier = Courier {
            shared: self.shared,
            route: self.route,
            subscription: self.subscription,
            exchange,
            gate: &gate,
            retries: self.retries,
            watched: self.watched,
            turns: Semaphore::new(most),
            winding: CancellationToken::new(),
            pausing: AtomicUsize::new(0),
            paused: Notify::new(),
        };
        let judge =
            Judge { chain: self.route.chains.select(Hook::Deliver, &caller), caller: &caller, metrics };
        let opening = self.opening(&topics);
        let opened = tokio::select! {
            biased;
            () = orders.changed() => return End::Changed,
            () = over(self.subscription) => return End::Over,
            cursor = opening.open(known) => cursor,
        };
        let end = self.follow(opened, &topics, (&courier, &judge), orders, known).await;
        match end {
            Ok(End::Unreadable) => {}
            Ok(end) => return end,
            Err(error) => warn!(
                api = %self.route.api, subscription = %self.subscription.id, %error,
                "It cannot be read which dead letters are to be brought again; trying again."
            ),
        }
        tokio::select! {
            () = orders.changed() => {}
            () = sleep(AGAIN) => {}
        }
        End::Changed
    }

    fn opening<'o>(&'o self, topics: &'o [Topic]) -> Opening<'o> {
        Opening {
            shared: self.shared,
            route: self.route,
            id: &self.subscription.id,
            topics,
            retries: self.retries,
            watched: self.watched,
        }
    }

    fn caller(&self, receiver: &'static str) -> Caller {
        let channel = self.subscription.channel.as_deref().unwrap_or_default();
        let caller = Caller::new(&self.route.chains, receiver, channel);
        caller.with_subscription(Arc::clone(self.subscription)).with_plan(&self.subscription.plan)
    }

    /// The subscriber after the policies that meet it. One that they do not let in for now is tried again; one of a
    /// hub has met them there, when it subscribed.
    async fn met(&self) -> Result<Caller, Failure> {
        if self.subscription.hub.is_some() {
            return Ok(self.caller("websub"));
        }
        let chains = &self.route.chains;
        loop {
            let mut caller = self.caller("webhook");
            let failure = match timeout(MEETING, chains.meet(Hook::Connect, &mut caller)).await {
                Ok(Ok(())) => return Ok(caller),
                Ok(Err(rejection)) => {
                    let failure = Failure::new(rejection.code, rejection.message);
                    if rejection.status != 429 && rejection.status < 500 {
                        return Err(failure);
                    }
                    failure
                }
                Err(_) => {
                    let text = format!(
                        "The policies that meet a subscriber took longer than {} s.",
                        MEETING.as_secs()
                    );
                    Failure::new("request.timeout", text)
                }
            };
            self.watched.failed(&failure);
            warn!(
                api = %self.route.api, subscription = %self.subscription.id, code = failure.code,
                reason = %failure.message, "A subscriber is not let in by the policies for now; trying again."
            );
            sleep(LET_IN_AGAIN).await;
        }
    }

    /// Brings what a cursor hands out, and dead letters beside it, until something ends it and every call is done.
    async fn follow(
        &self,
        mut cursor: Cursor,
        topics: &[Topic],
        (courier, judge): (&Courier<'_>, &Judge<'_>),
        orders: &mut Orders,
        known: &mut Whereabouts,
    ) -> Result<End, PositionsError> {
        let (id, positions) = (&self.subscription.id, &self.shared.positions);
        let begun = cursor.position();
        let (read, until) = self.letters_to_bring().await?;
        self.retries.retain(|which| match which.letter {
            true => until.is_some(),
            false => self.route.driver.covers_any(topics, &which.place.topic) && !begun.covers(&which.place),
        });
        let ledger = Ledger::new(positions, subscription_reader(&id.0), self.route.qos, begun);
        let letters_qos = if self.route.qos == Qos::None { Qos::Auto } else { self.route.qos };
        let letters_ledger = Ledger::new(positions, dead_letters::reader(id), letters_qos, read.clone());
        let (sender, source) = mpsc::channel(1);
        let letters = until.as_ref().map(|until| Letters::new(source, &letters_ledger, until));
        self.watched.serve(&ledger, cursor.standing(), letters.is_some());
        self.placed.send_replace(true);
        let flow = Flow::new(courier, judge, &ledger, self.goal, letters);
        let end = tokio::select! {
            end = flow.run(&mut cursor, orders) => end,
            end = self.feed(sender, read, until.clone()) => end,
        };
        ledger.remember();
        letters_ledger.remember();
        if self.route.qos != Qos::None {
            known.position = Some(ledger.position());
        }
        Ok(end)
    }

    /// How far the dead letters of the subscription were brought again, and where that is to end, unless it has.
    async fn letters_to_bring(&self) -> Result<(Position, Option<Position>), PositionsError> {
        let (id, positions) = (&self.subscription.id, &self.shared.positions);
        let none = (Position::new(), None);
        if self.route.dead_letters.is_none() {
            return Ok(none);
        }
        let Some(until) = positions.load(&dead_letters::goal(id)).await? else { return Ok(none) };
        let read = positions.load(&dead_letters::reader(id)).await?.unwrap_or_default();
        let until = Some(until).filter(|until| !read.reaches(until));
        Ok((read, until))
    }

    /// Reads the dead letters. Never ends by itself: the flow does.
    async fn feed(&self, sender: mpsc::Sender<Message>, read: Position, until: Option<Position>) -> End {
        if let (Some(letters), Some(until)) = (&self.route.dead_letters, until) {
            let (subscription, readers) = (&**self.subscription, &self.shared.letter_readers);
            Reading { letters, subscription, readers, read, until }.feed(sender).await;
        }
        std::future::pending().await
    }
}
