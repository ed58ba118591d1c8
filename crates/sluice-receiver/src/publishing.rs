//! The last part of every way in: a message through the publish policies to the broker.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use sluice_broker::{BrokerDriver, DriverError, ErrorKind};
use sluice_message::{Message, Topic};
use sluice_policy::{Caller, Chain, DropReason, Misled, Outcome, Rejection};

use crate::{Binding, NoEndpoint, Refusal, endpoints::Way};

/// Why a message is not with the broker.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A policy kept it back, and nobody did anything wrong.
    Dropped { policy: &'static str, reason: DropReason },
    /// A policy refused it.
    Rejected(Box<Rejection>),
    /// A policy or the broker's settings sent it where it cannot go.
    Misled(Misled),
    /// A policy chose a broker for it that is none, or takes no messages.
    Nowhere(NoEndpoint),
    /// The broker did not take it; it may have been written to some of its topics.
    Broker(DriverError),
}

/// A message as the publish policies leave it.
pub(crate) struct Admitted<'a> {
    binding: &'a Binding,
    publisher: &'a dyn BrokerDriver,
    /// With the record key that it is to have.
    pub(crate) message: Message,
    /// Where it goes.
    pub(crate) topics: Cow<'a, [Topic]>,
    delay: Duration,
}

/// Runs the publish policies of a client on its message, and finds out where it goes.
pub(crate) fn admit<'a>(
    binding: &'a Binding,
    chain: &Chain,
    caller: &Caller,
    message: Message,
) -> Result<Admitted<'a>, Failure> {
    let (message, delay) =
        if chain.is_empty() { (message, Duration::ZERO) } else { run(binding, chain, caller, message)? };
    let way = Way::of(binding, &[message.attributes(), caller.attributes()]).map_err(Failure::Nowhere)?;
    let (message, topics) = binding.addressed(way, caller, message).map_err(Failure::Misled)?;
    if message.payload_bytes().is_none() && !way.publisher.capabilities().tombstones {
        let text = "The broker of this API cannot carry a message without a payload (a tombstone).";
        return Err(Failure::Broker(DriverError::new(ErrorKind::Invalid, text)));
    }
    Ok(Admitted { binding, publisher: way.publisher, message, topics, delay })
}

impl Admitted<'_> {
    /// Resolves once the broker has acknowledged the message on every topic.
    pub(crate) async fn publish(self) -> Result<(), Failure> {
        let Self { binding, publisher, message, topics, delay } = self;
        if !delay.is_zero() {
            // An API that stops does not wait: the message is taken, and goes to the broker while there is one.
            tokio::select! {
                () = binding.drain.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        for topic in topics.iter() {
            publisher.publish(topic, message.clone()).await.map_err(Failure::Broker)?;
        }
        binding.metrics.published.inc();
        binding.failures.passed();
        Ok(())
    }
}

/// The message as the policies change it, and for how long they delay it.
fn run(
    binding: &Binding,
    chain: &Chain,
    caller: &Caller,
    message: Message,
) -> Result<(Message, Duration), Failure> {
    match chain.run(&caller.context(), message) {
        Outcome::Pass(message) => Ok((message, Duration::ZERO)),
        Outcome::Delayed(message, delay) => Ok((message, delay)),
        Outcome::Dropped { policy, reason, .. } => {
            binding.metrics.dropped_by_policy.inc();
            Err(Failure::Dropped { policy, reason })
        }
        Outcome::Rejected(rejection) => Err(Failure::Rejected(Box::new(rejection))),
    }
}

/// A publish under way. One that does not succeed is counted, also when the client goes away meanwhile and
/// nobody is left to be told.
pub(crate) struct Attempt(Option<Counter>);

impl Attempt {
    pub(crate) fn new(binding: &Binding) -> Self {
        Self(Some(binding.metrics.publish_failed.clone()))
    }

    pub(crate) fn succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(failed) = &self.0 {
            failed.inc();
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Dropped { policy, reason } => {
                let text = format!("The policy {policy} of this API kept the message back: {reason}");
                // Not a 2xx: that would say that the broker has the message.
                Self::new(StatusCode::FORBIDDEN, "policy.dropped", text)
            }
            Failure::Rejected(rejection) => (*rejection).into(),
            Failure::Misled(error) => error.into(),
            Failure::Nowhere(error) => error.into(),
            Failure::Broker(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_policy::Hook;
    use tokio::time::Instant;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_a_policy_delays_does_not_hold_up_a_drain() {
        let latency = json!({ "policy": "latency", "configuration": { "time": 60, "timeUnit": "SECONDS" } });
        let binding = testing::binding(&json!({}), &json!([{ "publish": [latency] }]));
        let caller = Caller::new(&binding.chains, "http-post", "");
        let chain = binding.chains.select(Hook::Publish, &caller);
        let message = Message::builder().payload("x").build();
        let published = admit(&binding, &chain, &caller, message).unwrap().publish();
        let begin = Instant::now();
        let drained = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            binding.drain.cancel();
        };
        let (published, ()) = tokio::join!(published, drained);
        published.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
