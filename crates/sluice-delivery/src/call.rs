//! One message to one subscriber: calls until it is taken, or put with the dead letters, or given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_api::{Qos, Subscription};
use sluice_broker::ErrorKind;
use sluice_message::{Message, Topic};
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Failure, Route,
    backoff::Backoff,
    deliveries::Shared,
    exchange::{Answer, Exchange},
    gate::{Gate, Pass},
    lanes::Lane,
    ledger::{Ledger, Ticket},
    letter::{Extent, Report},
    request::Request,
    retries::{Retries, Which},
    retry,
    route::DeadLetters,
    state::Watched,
    told::Trouble,
};

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is dealt with: the subscription goes on behind it.
    Settled,
    /// The subscription was changed or taken away meanwhile; the message was not taken and is still to be dealt
    /// with.
    Cut,
    /// The subscription cannot go on.
    Failed(Failure),
}

/// A message in hand.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// As the broker gave it.
    pub(crate) original: Message,
    pub(crate) lane: Lane,
    pub(crate) ticket: Ticket,
    /// What its retries are remembered by; `None` where it will not come again after a restart.
    pub(crate) which: Option<Which>,
    /// Whether it is a dead letter that is brought again.
    pub(crate) letter: bool,
}

/// Brings messages to one subscriber.
pub(crate) struct Courier<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) route: &'s Route,
    pub(crate) subscription: &'s Arc<Subscription>,
    pub(crate) exchange: Exchange,
    pub(crate) gate: &'s Gate<'s>,
    pub(crate) retries: &'s Retries,
    pub(crate) watched: &'s Watched,
    /// A permit for each call under way.
    pub(crate) turns: Semaphore,
    /// Ends waiting, not calls that are under way.
    pub(crate) winding: CancellationToken,
    /// Messages that wait for a time to come, and so leave room for others.
    pub(crate) pausing: AtomicUsize,
    /// Told when one more does.
    pub(crate) paused: Notify,
}

impl Courier<'_> {
    /// Brings a message, as the policies have left it, after so long. Where it may go out once at the most, that
    /// it does is stored durably before.
    pub(crate) async fn bring(
        &self,
        parcel: &Parcel,
        ledger: &Ledger,
        message: Message,
        delay: Duration,
    ) -> Fate {
        let (mut attempts, rest) =
            parcel.which.as_ref().map_or((0, Duration::ZERO), |which| self.retries.of(which));
        let first = delay.max(rest);
        if !first.is_zero() && self.pause(first).await {
            return Fate::Cut;
        }
        if self.once() && !self.store(ledger).await {
            return Fate::Cut;
        }
        let request = self.request(&message, &parcel.original);
        let told = &self.watched.told;
        // Of one that was tried before a restart it was told then.
        let mut is_told = attempts > 0;
        loop {
            let Some((answer, pass)) = self.call(&request).await else { return Fate::Cut };
            let closed = match &answer {
                Answer::Delivered(status) => {
                    pass.succeeded();
                    self.route.metrics.delivered.inc();
                    self.watched.delivered(status.as_u16());
                    if is_told {
                        told.taken(self.subscription, attempts);
                    }
                    return Fate::Settled;
                }
                Answer::Later(failure, _) | Answer::Refused(failure) | Answer::Unusable(failure) => {
                    self.route.metrics.failed_calls.inc();
                    self.watched.failed(failure);
                    pass.failed()
                }
            };
            let (failure, wait) = match answer {
                Answer::Unusable(failure) => return Fate::Failed(failure),
                Answer::Refused(failure) => return self.set_aside(parcel, failure, attempts + 1, true).await,
                Answer::Later(failure, wait) => (failure, wait),
                Answer::Delivered(_) => return Fate::Settled,
            };
            // While the subscriber is left alone, what it surely has not got is no attempt.
            let counts = closed || failure.ambiguous;
            attempts += u32::from(counts);
            debug!(
                api = %self.route.api, subscription = %self.subscription.id, attempts, code = failure.code,
                reason = %failure.message, "A call did not succeed."
            );
            let settings = &self.subscription.callback.retry;
            if attempts >= settings.attempts() || (self.once() && failure.ambiguous) {
                let fails = self.fails_after(&failure);
                return self.set_aside(parcel, failure, attempts, fails).await;
            }
            let trouble = Trouble { subscription: self.subscription, failure: &failure, attempts };
            is_told = is_told || told.refused(trouble);
            let own =
                || if counts { retry::delay(settings, attempts, retry::random()) } else { Duration::ZERO };
            let wait = wait.unwrap_or_else(own);
            if let Some(which) = &parcel.which {
                self.retries.put(which, attempts, wait);
            }
            if self.pause(wait).await {
                return Fate::Cut;
            }
        }
    }

    /// Puts a message with the dead letters; without any the subscription fails, or the message is given up.
    pub(crate) async fn set_aside(
        &self,
        parcel: &Parcel,
        failure: Failure,
        attempts: u32,
        fails: bool,
    ) -> Fate {
        let trouble = Trouble { subscription: self.subscription, failure: &failure, attempts };
        if let Some(letters) = &self.route.dead_letters {
            let (subscription, message) = (&**self.subscription, &parcel.original);
            let report = Report { subscription, message, failure: &failure, attempts };
            match self.bury(letters, &report).await {
                Ok(true) => {
                    self.watched.told.buried(trouble);
                    return Fate::Settled;
                }
                // The size of one message is no reason to stop.
                Ok(false) => {}
                // It would go out a second time, and may have been taken the first.
                Err(Fate::Cut) if self.once() && failure.ambiguous => {}
                Err(Fate::Failed(cause)) => {
                    return Fate::Failed(Failure { ambiguous: failure.ambiguous, ..cause });
                }
                Err(fate) => return fate,
            }
        } else if fails {
            return Fate::Failed(failure);
        }
        self.route.metrics.given_up.inc();
        self.watched.told.given_up(trouble);
        Fate::Settled
    }

    /// What is sent for a message.
    fn request(&self, message: &Message, original: &Message) -> Request {
        let (own, hub) = (&self.exchange.own_headers, self.exchange.hub.as_ref());
        let request = Request::new(&self.subscription.id, (message, original), own, hub);
        if request.left_out > 0 {
            self.route.metrics.headers_left_out.inc_by(request.left_out);
            debug!(
                subscription = %self.subscription.id, headers = request.left_out,
                "Headers of a message were left out: HTTP cannot carry them, or they are the gateway's to say."
            );
        }
        request
    }

    /// Whether a message never goes out a second time.
    pub(crate) fn once(&self) -> bool {
        self.route.qos == Qos::AtMostOnce
    }

    /// Whether the subscription fails after the last try, where there are no dead letters.
    fn fails_after(&self, failure: &Failure) -> bool {
        // What may not be sent again is no reason to stop.
        if self.once() && failure.ambiguous {
            return false;
        }
        match failure.status {
            Some(_) => self.route.webhook.interrupt_consumption_on_server_error,
            None => self.route.webhook.interrupt_consumption_on_exception,
        }
    }

    /// One call, when the circuit and the permits allow it; `None` when the subscription is to be wound up before.
    /// Who waits for the circuit holds no permit.
    async fn call(&self, request: &Request) -> Option<(Answer, Pass<'_>)> {
        loop {
            let permits = async {
                let turn = self.turns.acquire().await;
                (turn, self.route.calls.acquire().await, self.shared.calls.acquire().await)
            };
            tokio::select! {
                biased;
                () = self.winding.cancelled() => return None,
                _permits = permits => if let Some(pass) = self.gate.pass() {
                    let _in_flight = self.watched.calling();
                    return Some((Box::pin(self.exchange.call(request)).await, pass));
                },
            }
            if self.wait(self.gate.wait()).await {
                return None;
            }
        }
    }

    /// Puts a letter into each topic. False where it is too large for all of them.
    async fn bury(&self, letters: &DeadLetters, report: &Report<'_>) -> Result<bool, Fate> {
        let mut taken = false;
        for topic in &letters.topics {
            taken |= self.bury_in(letters, topic, report).await?;
        }
        if taken {
            self.route.metrics.dead_lettered.inc();
        }
        Ok(taken)
    }

    /// Puts a letter into a topic, with as much in it as the broker takes. False where the least is too large.
    async fn bury_in(&self, letters: &DeadLetters, topic: &Topic, report: &Report<'_>) -> Result<bool, Fate> {
        let mut backoff = Backoff::new();
        for extent in Extent::ALL {
            let letter = report.letter(extent);
            loop {
                let Err(error) = letters.driver.publish(topic, letter.clone()).await else { return Ok(true) };
                let (api, subscription) = (&self.route.api, &self.subscription.id);
                if error.kind == ErrorKind::TooLarge {
                    warn!(%api, %subscription, %topic, ?extent, %error, "A dead letter is too large for its broker.");
                    break;
                }
                if !error.retryable() {
                    let text = format!("A message cannot be put with the dead letters in {topic}: {error}");
                    return Err(Fate::Failed(Failure::new("delivery.dead-letter", text)));
                }
                warn!(
                    %api, %subscription, %topic, %error,
                    "A message could not be put with the dead letters; trying again."
                );
                if self.pause(backoff.next()).await {
                    return Err(Fate::Cut);
                }
            }
        }
        Ok(false)
    }

    /// Stores a position durably, however long it takes; false when the subscription is to be wound up before.
    async fn store(&self, ledger: &Ledger) -> bool {
        let mut backoff = Backoff::new();
        while let Err(error) = ledger.save().await {
            warn!(subscription = %self.subscription.id, %error, "A position could not be stored; trying again.");
            if self.pause(backoff.next()).await {
                return false;
            }
        }
        true
    }

    /// Waits so long; true when the subscription is to be wound up meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        self.wait(sleep(time)).await
    }

    /// Waits for a moment to come, and leaves room for other messages; true when the subscription is to be wound
    /// up meanwhile.
    async fn wait(&self, moment: impl Future<Output = ()>) -> bool {
        let _pausing = Pausing::new(self);
        tokio::select! {
            biased;
            () = self.winding.cancelled() => true,
            () = moment => false,
        }
    }
}

/// Counts a message as one that waits.
struct Pausing<'c>(&'c AtomicUsize);

impl<'c> Pausing<'c> {
    fn new(courier: &'c Courier<'_>) -> Self {
        courier.pausing.fetch_add(1, Ordering::Relaxed);
        courier.paused.notify_one();
        Self(&courier.pausing)
    }
}

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
