//! Making topics that are missing, where the settings ask for it. None is ever changed or deleted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_api::KafkaAutoCreate;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Topic;
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::info;

use crate::{
    cluster::{Cluster, Listener},
    detached::Detached,
    error::closed,
};

/// How long a refusal to make a topic stands before the broker is asked again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the broker is left alone that has not heard of a new topic yet.
const AGAIN: Duration = Duration::from_millis(50);

/// Makes topics, one at a time.
pub(crate) struct Making {
    settings: ClientConfig,
    how: KafkaAutoCreate,
    cluster: Arc<Cluster>,
    timeout: Duration,
    /// The last topic that was not made, and why.
    failed: Mutex<Option<(Topic, Instant, DriverError)>>,
}

impl Making {
    pub(crate) fn new(
        settings: &ClientConfig,
        how: KafkaAutoCreate,
        cluster: Arc<Cluster>,
        timeout: Duration,
    ) -> Self {
        Self { settings: settings.clone(), how, cluster, timeout, failed: Mutex::default() }
    }

    /// Makes a topic, unless somebody else has meanwhile, and waits until `is_there` says so.
    ///
    /// # Errors
    ///
    /// Of the kinds of other calls; of kind [`ErrorKind::NoTopic`], where the broker does not like the topic.
    pub(crate) async fn make<F: Future<Output = bool>>(
        &self,
        topic: &Topic,
        is_there: impl Fn() -> F,
    ) -> Result<(), DriverError> {
        let mut failed = self.failed.lock().await;
        if let Some((name, at, error)) = &*failed
            && name == topic
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let made = timeout(self.timeout, async {
            self.ask(topic).await?;
            while !is_there().await {
                sleep(AGAIN).await;
            }
            Ok(())
        });
        let made = made.await.unwrap_or_else(|_| Err(self.cluster.timed_out(doing(topic))));
        *failed = made.as_ref().err().map(|error| (topic.clone(), Instant::now(), error.clone()));
        made
    }

    async fn ask(&self, topic: &Topic) -> Result<(), DriverError> {
        let (settings, cluster) = (self.settings.clone(), self.cluster.clone());
        let opened = spawn_blocking(move || {
            let ends = cluster.ends.clone();
            let client = AdminClient::from_config_and_context(&settings, Listener::new(&cluster))?;
            Ok(Detached::new(client, ends))
        });
        let failed = |error: &KafkaError| self.failure(topic, error);
        let client = opened.await.map_err(|_| closed())?.map_err(|error| failed(&error))?;
        let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
        let replication = TopicReplication::Fixed(number(self.how.replication_factor));
        let new = NewTopic::new(topic.as_str(), number(self.how.partitions), replication);
        let new = self.how.config.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().request_timeout(Some(self.timeout));
        let answer = client.create_topics([&new], &options).await.map_err(|error| match error {
            // As the errors of other calls are.
            KafkaError::AdminOp(code) => failed(&KafkaError::Global(code)),
            other => failed(&other),
        })?;
        match answer.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(failed(&KafkaError::Global(code))),
            Some(Ok(_)) => {
                info!(%topic, servers = %self.cluster.servers(), "A topic was made, as it was missing and the settings ask for it.");
                Ok(())
            }
            None => Err(failed(&KafkaError::Global(RDKafkaErrorCode::Unknown))),
        }
    }

    fn failure(&self, topic: &Topic, error: &KafkaError) -> DriverError {
        use RDKafkaErrorCode::{InvalidConfig, InvalidPartitions, InvalidReplicationFactor, PolicyViolation};
        let disliked = [InvalidConfig, InvalidPartitions, InvalidReplicationFactor, PolicyViolation];
        let error_of_call = self.cluster.error(doing(topic), error);
        match error.rdkafka_error_code() {
            Some(code) if disliked.contains(&code) => {
                let text =
                    format!("{}; see 'autoCreate' in the settings of the broker", error_of_call.message);
                DriverError::new(ErrorKind::NoTopic, text)
            }
            _ => error_of_call,
        }
    }
}

fn doing(topic: &Topic) -> String {
    format!("Making the topic '{topic}'")
}
