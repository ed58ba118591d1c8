//! Links: what clients send is kept or refused as its address says, and what is kept is given to who has bound.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use fe2o3_amqp::{
    Receiver, Sender,
    link::receiver::CreditMode,
    types::{
        definitions::{AmqpError, Error as Condition, LinkError},
        messaging::{Body, Modified, Outcome, TargetArchetype, TerminusDurability, TerminusExpiryPolicy},
        performatives::Attach,
        primitives::Value,
    },
};
use tokio::task::JoinSet;

use super::{
    State, condition,
    endpoint::{Endpoint, Kept},
};

/// What a reader is bound to.
pub(crate) struct Bound {
    endpoint: Arc<Endpoint>,
    /// Removes a temporary endpoint with its reader.
    temporary: Option<(String, Arc<State>)>,
}

/// Where a client wants to publish.
pub(crate) fn target(attach: &Attach, state: &State) -> Result<String, Condition> {
    let Some(TargetArchetype::Target(target)) = attach.target.as_deref() else {
        return Err(condition(AmqpError::InvalidField, "a target is needed"));
    };
    let address = target.address.clone().unwrap_or_default();
    if address.contains("forbidden") {
        return Err(condition(AmqpError::UnauthorizedAccess, "no permission"));
    }
    match address.strip_prefix("queue://") {
        Some(name) if !state.names().contains(&name.to_owned()) => {
            Err(condition(AmqpError::NotFound, "Unknown Queue"))
        }
        _ => Ok(address),
    }
}

/// What a client wants to read: a queue, or a topic endpoint, and nothing else.
pub(crate) fn bind(attach: &Attach, state: &Arc<State>) -> Result<Bound, Condition> {
    let source = attach.source.clone().unwrap_or_default();
    let address = source.address.clone().unwrap_or_default();
    if address.contains("forbidden") {
        return Err(condition(AmqpError::UnauthorizedAccess, "no permission"));
    }
    let capabilities = source.capabilities.map(|array| array.0).unwrap_or_default();
    let has = |name: &str| capabilities.iter().any(|capability| capability.as_str() == name);
    let is_durable =
        source.durable != TerminusDurability::None && source.expiry_policy == TerminusExpiryPolicy::Never;
    if has("queue") || (capabilities.is_empty() && !address.starts_with("topic://")) {
        let name = address.strip_prefix("queue://").unwrap_or(&address);
        if !is_durable {
            return Err(condition(AmqpError::NotAllowed, "a queue is durable and never expires"));
        }
        if name.starts_with("missing") {
            return Err(condition(AmqpError::NotFound, "Unknown Queue"));
        }
        state.make(name, true);
        let endpoint = state.endpoints().get(name).cloned();
        let endpoint = endpoint.ok_or_else(|| condition(AmqpError::NotFound, "Unknown Queue"))?;
        return Ok(Bound { endpoint, temporary: None });
    }
    let topic = address.strip_prefix("topic://").unwrap_or(&address);
    if !has("topic") {
        return Err(condition(AmqpError::NotImplemented, "no direct subscriptions over AMQP"));
    }
    let name = if is_durable { attach.name.clone() } else { format!("#temporary/{}", attach.name) };
    state.make(&name, true);
    let endpoint = state.endpoints().get(&name).cloned();
    let endpoint = endpoint.ok_or_else(|| condition(AmqpError::NotFound, "Unknown Endpoint"))?;
    if endpoint.active.as_ref().is_some_and(|active| active.try_lock().is_err()) {
        return Err(condition(AmqpError::ResourceLocked, "Max clients exceeded for endpoint"));
    }
    endpoint.subscribe(topic);
    let temporary = (!is_durable).then(|| (name, state.clone()));
    Ok(Bound { endpoint, temporary })
}

/// Takes what a client sends. Some topics stand for what brokers do to messages.
pub(crate) async fn take(mut receiver: Receiver, address: String, state: Arc<State>) {
    while let Ok(delivery) = receiver.recv::<Body<Value>>().await {
        let settled = match address.as_str() {
            "topic://rejected" => {
                receiver.reject(&delivery, condition(AmqpError::PreconditionFailed, "not wanted")).await
            }
            "topic://full" => {
                receiver.reject(&delivery, condition(AmqpError::ResourceLimitExceeded, "spool full")).await
            }
            "topic://too-large" => {
                let error = Condition::new(LinkError::MessageSizeExceeded, None, None);
                receiver.reject(&delivery, error).await
            }
            "topic://released" => receiver.release(&delivery).await,
            "topic://modified" => {
                let modified = Modified {
                    delivery_failed: Some(true),
                    undeliverable_here: None,
                    message_annotations: None,
                };
                receiver.modify(&delivery, modified).await
            }
            "topic://unanswered" => Ok(()),
            "topic://closing" if !state.has_one_to_close.swap(true, Ordering::Relaxed) => {
                // Whoever comes next waits for credit until the link is closed.
                receiver.set_credit_mode(CreditMode::Manual);
                receiver.set_credit(0).await.expect("the link stands");
                receiver.accept(&delivery).await.expect("the link stands");
                state.close.notified().await;
                let error = condition(AmqpError::ResourceDeleted, "gone");
                return drop(receiver.close_with_error(error).await);
            }
            "topic://crashing" => {
                let error = condition(AmqpError::InternalError, "crashed");
                return drop(receiver.close_with_error(error).await);
            }
            "topic://closed" => {
                let error = condition(AmqpError::ResourceDeleted, "gone");
                return drop(receiver.close_with_error(error).await);
            }
            _ => {
                route(delivery.message().clone(), &address, &state);
                receiver.accept(&delivery).await
            }
        };
        if settled.is_err() {
            return;
        }
    }
}

fn route(message: Kept, address: &str, state: &State) {
    let endpoints = state.endpoints();
    match address.strip_prefix("topic://") {
        Some(topic) => {
            for endpoint in endpoints.values().filter(|endpoint| endpoint.wants(topic)) {
                endpoint.push(message.clone());
            }
        }
        None => {
            let name = address.strip_prefix("queue://").unwrap_or(address);
            if let Some(endpoint) = endpoints.get(name) {
                endpoint.push(message);
            }
        }
    }
}

/// Gives messages to who has bound, as credit allows. What is released or modified stays with this reader's unsettled
/// ones, and comes again when it has gone.
pub(crate) async fn give(mut sender: Sender, bound: Bound) {
    let endpoint = bound.endpoint.clone();
    let unsettled: Arc<Mutex<BTreeMap<u64, Kept>>> = Arc::default();
    let mut outcomes = JoinSet::new();
    let active = tokio::select! {
        active = endpoint.activate() => active,
        _ = sender.on_detach() => return,
    };
    let mut number = 0;
    loop {
        let message = tokio::select! {
            message = endpoint.pop() => message,
            _ = sender.on_detach() => break,
        };
        number += 1;
        unsettled.lock().unwrap_or_else(PoisonError::into_inner).insert(number, message.clone());
        let Ok(answer) = sender.send_batchable(message).await else { break };
        let unsettled = unsettled.clone();
        outcomes.spawn(async move {
            if let Ok(Outcome::Accepted(_) | Outcome::Rejected(_)) = answer.await {
                unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            }
        });
    }
    drop(sender);
    outcomes.join_all().await;
    let returned = std::mem::take(&mut *unsettled.lock().unwrap_or_else(PoisonError::into_inner));
    endpoint.put_back(returned.into_values().collect());
    if let Some((name, state)) = bound.temporary {
        state.endpoints().remove(&name);
    }
    drop(active);
}
