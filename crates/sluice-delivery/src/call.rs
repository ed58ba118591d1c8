//! One message to one subscriber: calls until it is taken, or put with the dead letters, or given up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_api::{Qos, Subscription};
use sluice_message::{Message, Position};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Failure, Route,
    deliveries::Shared,
    exchange::{Answer, Exchange},
    request::Request,
    retry,
    route::DeadLetters,
};

/// The shortest and longest wait between two tries to store a position or a dead letter.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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

/// Brings messages to one subscriber.
pub(crate) struct Courier<'s> {
    pub(crate) shared: &'s Shared,
    pub(crate) route: &'s Route,
    pub(crate) subscription: &'s Arc<Subscription>,
    pub(crate) exchange: Exchange,
    /// Ends waiting, not calls that are under way.
    pub(crate) winding: CancellationToken,
}

impl Courier<'_> {
    /// Brings a message, after so long. With `before` the subscription's position is stored durably before the
    /// first call, and the message never goes out a second time.
    pub(crate) async fn bring(
        &self,
        message: Message,
        delay: Duration,
        before: Option<(&str, Position)>,
    ) -> Fate {
        if !delay.is_zero() && self.pause(delay).await {
            return Fate::Cut;
        }
        if let Some((reader, position)) = before
            && !self.store(reader, position).await
        {
            return Fate::Cut;
        }
        let request = Request::new(&self.subscription.id, &message, &self.exchange.own_headers);
        if request.left_out > 0 {
            self.route.metrics.headers_left_out.inc_by(request.left_out);
            debug!(
                subscription = %self.subscription.id, headers = request.left_out,
                "Headers of a message were left out: HTTP cannot carry them."
            );
        }
        let once = self.route.qos == Qos::AtMostOnce;
        let mut calls = 0;
        loop {
            let answer = {
                let turn = async { (self.route.calls.acquire().await, self.shared.calls.acquire().await) };
                tokio::select! {
                    biased;
                    () = self.winding.cancelled() => return Fate::Cut,
                    _turn = turn => self.exchange.call(&request).await,
                }
            };
            calls += 1;
            let (failure, wait) = match answer {
                Answer::Delivered => {
                    self.route.metrics.delivered.inc();
                    return Fate::Settled;
                }
                Answer::Unusable(failure) => {
                    self.route.metrics.failed_calls.inc();
                    return Fate::Failed(failure);
                }
                Answer::Refused(failure) => {
                    self.route.metrics.failed_calls.inc();
                    return self.set_aside(&message, failure, calls, true).await;
                }
                Answer::Later(failure, wait) => (failure, wait),
            };
            self.route.metrics.failed_calls.inc();
            debug!(
                api = %self.route.api, subscription = %self.subscription.id, calls, code = failure.code,
                reason = %failure.message, "A call did not succeed."
            );
            let settings = &self.subscription.callback.retry;
            if calls >= settings.attempts() || (once && failure.ambiguous) {
                let fails = match failure.status {
                    Some(_) => self.route.webhook.interrupt_consumption_on_server_error,
                    None => self.route.webhook.interrupt_consumption_on_exception,
                };
                // What may not be sent again is no reason to stop.
                let fails = fails && !(once && failure.ambiguous);
                return self.set_aside(&message, failure, calls, fails).await;
            }
            let wait = wait.unwrap_or_else(|| retry::delay(settings, calls, retry::random()));
            if self.pause(wait).await {
                return Fate::Cut;
            }
        }
    }

    /// Puts a message with the dead letters; without any the subscription fails, or the message is given up.
    pub(crate) async fn set_aside(
        &self,
        message: &Message,
        failure: Failure,
        calls: u32,
        fails: bool,
    ) -> Fate {
        if let Some(letters) = &self.route.dead_letters {
            return self.bury(letters, &letter(self.subscription, message, &failure, calls)).await;
        }
        if fails {
            return Fate::Failed(failure);
        }
        self.route.metrics.given_up.inc();
        warn!(
            api = %self.route.api, subscription = %self.subscription.id, calls, code = failure.code,
            reason = %failure.message, "A message was given up."
        );
        Fate::Settled
    }

    async fn bury(&self, letters: &DeadLetters, letter: &Message) -> Fate {
        let mut wait = BACKOFF.0;
        for topic in &letters.topics {
            while let Err(error) = letters.driver.publish(topic, letter.clone()).await {
                if !error.retryable() {
                    let text = format!("A message cannot be put with the dead letters in {topic}: {error}");
                    return Fate::Failed(Failure::new("delivery.dead-letter", text));
                }
                warn!(
                    api = %self.route.api, subscription = %self.subscription.id, %topic, %error,
                    "A message could not be put with the dead letters; trying again."
                );
                if self.pause(wait).await {
                    return Fate::Cut;
                }
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
        self.route.metrics.dead_lettered.inc();
        Fate::Settled
    }

    /// Stores a position durably, however long it takes; false when the subscription is to be wound up before.
    async fn store(&self, reader: &str, position: Position) -> bool {
        let mut wait = BACKOFF.0;
        while let Err(error) = self.shared.positions.save(reader, position.clone()).await {
            warn!(subscription = %self.subscription.id, %error, "A position could not be stored; trying again.");
            if self.pause(wait).await {
                return false;
            }
            wait = (wait * 2).min(BACKOFF.1);
        }
        true
    }

    /// Waits; true when the subscription is to be wound up meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.winding.cancelled() => true,
            () = sleep(time) => false,
        }
    }
}

/// The message with what is known of its failure, in headers that no other message has.
fn letter(subscription: &Subscription, message: &Message, failure: &Failure, calls: u32) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut headers = message.headers().clone();
    headers.set("sluice-dlq-api", subscription.api.0.clone());
    headers.set("sluice-dlq-subscription", subscription.id.0.clone());
    headers.set("sluice-dlq-application", subscription.application.0.clone());
    headers.set("sluice-dlq-code", failure.code);
    headers.set("sluice-dlq-cause", failure.message.clone());
    headers.set("sluice-dlq-attempts", calls.to_string());
    headers.set("sluice-dlq-timestamp", now.as_millis().to_string());
    if let Some(status) = failure.status {
        headers.set("sluice-dlq-status", status.to_string());
    }
    if let Some(place) = message.place() {
        headers.set("sluice-dlq-topic", place.topic.as_str().to_owned());
        headers.set("sluice-dlq-partition", place.partition.0.to_string());
        headers.set("sluice-dlq-offset", place.offset.0.to_string());
    }
    message.to_builder().headers(headers).build()
}
