//! The last part of every way in: a message through the publish policies to the broker.

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use sluice_broker::DriverError;
use sluice_message::Message;
use sluice_policy::{Caller, Chain, DropReason, NoTopic, Outcome, Rejection};

use crate::{Binding, Refusal};

/// Why a message is not with the broker.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A policy kept it back, and nobody did anything wrong.
    Dropped { policy: &'static str, reason: DropReason },
    /// A policy refused it.
    Rejected(Rejection),
    /// A policy sent it where it cannot go.
    Misled(NoTopic),
    /// The broker did not take it; it may have been written to some of its topics.
    Broker(DriverError),
}

/// Runs the publish policies of a client on its message; resolves once the broker has acknowledged the message
/// on every topic.
pub(crate) async fn publish(
    binding: &Binding,
    chain: &Chain,
    caller: &Caller,
    message: Message,
) -> Result<(), Failure> {
    let message = if chain.is_empty() { message } else { admitted(binding, chain, caller, message).await? };
    let message = binding.chosen_by.with_key(caller.attributes(), message);
    let topics = binding
        .chosen_by
        .publish(&binding.publish_topics, caller.attributes(), &message)
        .map_err(Failure::Misled)?;
    for topic in topics.iter() {
        binding.publisher.publish(topic, message.clone()).await.map_err(Failure::Broker)?;
    }
    binding.metrics.published.inc();
    Ok(())
}

/// The message as the publish policies leave it.
async fn admitted(
    binding: &Binding,
    chain: &Chain,
    caller: &Caller,
    message: Message,
) -> Result<Message, Failure> {
    match chain.run(&caller.context(), message) {
        Outcome::Pass(message) => Ok(message),
        Outcome::Delayed(message, delay) => {
            // An API that stops does not wait: the message is taken, and goes to the broker while there is one.
            tokio::select! {
                () = binding.drain.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
            Ok(message)
        }
        Outcome::Dropped { policy, reason, .. } => {
            binding.metrics.dropped_by_policy.inc();
            Err(Failure::Dropped { policy, reason })
        }
        Outcome::Rejected(rejection) => Err(Failure::Rejected(rejection)),
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
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Misled(error) => error.into(),
            Failure::Broker(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let published = publish(&binding, &chain, &caller, Message::builder().payload("x").build());
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
