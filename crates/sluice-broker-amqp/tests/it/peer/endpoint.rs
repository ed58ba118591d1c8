//! Queues and topic endpoints: messages in order, and who reads them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use fe2o3_amqp::types::{
    messaging::{Body, Message},
    primitives::Value,
};
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

pub(crate) type Kept = Message<Body<Value>>;

/// A queue or a topic endpoint.
pub(crate) struct Endpoint {
    messages: Mutex<VecDeque<Kept>>,
    come: Notify,
    subscriptions: Mutex<Vec<String>>,
    /// Held by the one reader that is active, where there is only one.
    pub(crate) active: Option<Arc<AsyncMutex<()>>>,
}

impl Endpoint {
    pub(crate) fn new(exclusive: bool) -> Self {
        Self {
            messages: Mutex::default(),
            come: Notify::new(),
            subscriptions: Mutex::default(),
            active: exclusive.then(Arc::default),
        }
    }

    pub(crate) fn subscribe(&self, topic: &str) -> bool {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !subscriptions.iter().any(|known| known == topic);
        subscriptions.extend(is_new.then(|| topic.to_owned()));
        is_new
    }

    pub(crate) fn wants(&self, topic: &str) -> bool {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.iter().any(|pattern| matches(pattern, topic))
    }

    pub(crate) fn push(&self, message: Kept) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push_back(message);
        self.come.notify_one();
    }

    /// Puts messages back in front, oldest first, as delivered once more than before.
    pub(crate) fn put_back(&self, returned: Vec<Kept>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        for mut message in returned.into_iter().rev() {
            if let Some(header) = &mut message.header {
                header.delivery_count += 1;
            }
            messages.push_front(message);
        }
        drop(messages);
        self.come.notify_one();
    }

    /// The next message.
    pub(crate) async fn pop(&self) -> Kept {
        loop {
            let come = self.come.notified();
            if let Some(message) = self.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                // Whoever else waits looks again.
                self.come.notify_one();
                return message;
            }
            come.await;
        }
    }

    /// Waits to be the active reader.
    pub(crate) async fn activate(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.active {
            Some(active) => Some(active.clone().lock_owned().await),
            None => None,
        }
    }
}

/// Solace's wildcards: `*` ends a level, `>` is the last one.
fn matches(pattern: &str, topic: &str) -> bool {
    let (mut pattern, mut topic) = (pattern.split('/'), topic.split('/'));
    loop {
        match (pattern.next(), topic.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(wanted), Some(level)) => {
                let is_match = match wanted.strip_suffix('*') {
                    Some(beginning) => level.starts_with(beginning),
                    None => wanted == level,
                };
                if !is_match {
                    return false;
                }
            }
            _ => return false,
        }
    }
}
