//! Which addresses the broker lets this driver publish to, found out apart from the connection that publishes.
//!
//! A refused link can end more than itself: Artemis fails now and then over a link that it has refused and closes the
//! connection, RabbitMQ before version 4 ends the session. All event APIs of a driver publish by one connection, so
//! that an address is first attached on one of its own, and on the shared one only after it was granted there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Topic;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::{
    address::Address,
    broker::{Broker, Pause, unique},
    connection::Connection,
};

/// Addresses that are remembered. Beyond that all are forgotten that nobody asks for at that moment.
const REMEMBERED: usize = 10_000;

/// Connections that ask at a time.
const ASKING: usize = 8;

/// The answers of one broker.
pub(crate) struct Grants {
    broker: Arc<Broker>,
    answers: Mutex<HashMap<Topic, Arc<AsyncMutex<Answer>>>>,
    asking: Arc<Semaphore>,
}

/// What the broker has said to one address. Locked while it is asked, so that one asks for all who wait.
#[derive(Default)]
struct Answer {
    is_granted: bool,
    refused: Option<DriverError>,
    pause: Pause,
}

impl Grants {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, answers: Mutex::default(), asking: Arc::new(Semaphore::new(ASKING)) }
    }

    /// Resolves once the broker has granted the address, at once where it had. A refusal is told again without asking
    /// again for a pause, which grows.
    ///
    /// # Errors
    /// What the broker says against it, or why it could not be asked.
    pub(crate) async fn granted(&self, topic: &Topic) -> Result<(), DriverError> {
        let answer = self.answer(topic);
        let mut answer = answer.lock().await;
        if answer.is_granted {
            return Ok(());
        }
        let is_pausing = answer.pause.until().is_some_and(|until| until > Instant::now());
        if let Some(refused) = answer.refused.as_ref().filter(|_| is_pausing) {
            return Err(refused.clone());
        }
        match self.ask(topic).await {
            Ok(()) => *answer = Answer { is_granted: true, ..Answer::default() },
            // That is about the broker, and the next may find it there again.
            Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
            Err(error) => {
                answer.pause.lengthen(&self.broker.options);
                answer.refused = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    /// The address is asked for again before it is used again.
    pub(crate) fn withdraw(&self, topic: &Topic) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    fn answer(&self, topic: &Topic) -> Arc<AsyncMutex<Answer>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= REMEMBERED && !answers.contains_key(topic) {
            answers.retain(|_, answer| Arc::strong_count(answer) > 1);
        }
        answers.entry(topic.clone()).or_default().clone()
    }

    async fn ask(&self, topic: &Topic) -> Result<(), DriverError> {
        let slot = self.asking.clone().acquire_owned().await;
        let mut connection = Connection::open(&self.broker, &format!("sluice-{}", unique())).await?;
        let address = Address::parse(topic.as_str());
        let attached = connection.attach_sender(&self.broker.settings, address).await.map(drop);
        // Nobody waits for the farewell, which some brokers take their time for.
        tokio::spawn(async move {
            connection.close().await;
            drop(slot);
        });
        attached.map_err(|cause| self.broker.error(format!("Opening '{topic}' for publishing"), &cause))
    }
}
