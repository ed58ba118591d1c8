//! Whether the brokers behind event APIs answer, for those who ask how the gateway is doing. No message waits for this.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluice_api::ApiId;
use sluice_broker::BrokerDriver;
use sluice_message::Topic;
use sluice_receiver::Refusal;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{Gateway, deployment::Deployment};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Brokers that are asked at once.
const AT_ONCE: usize = 16;

/// Why an event API that is deployed cannot be used at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The code of the error, as in docs/errors.md.
    pub code: &'static str,
    /// What is wrong, without addresses.
    pub reason: String,
}

impl Gateway {
    /// The deployed event APIs whose broker does not answer, or does not have their topics. Asks every broker, and
    /// takes two seconds at the most.
    pub async fn unreachable(&self) -> BTreeMap<ApiId, Unreachable> {
        let (deadline, turns) = (Instant::now() + PATIENCE, Arc::new(Semaphore::new(AT_ONCE)));
        let mut asking = JoinSet::new();
        let mut silent = BTreeMap::new();
        for deployment in self.deployed() {
            silent.insert(deployment.api.id.clone(), no_answer());
            let turns = Arc::clone(&turns);
            asking.spawn(async move {
                // Never closed.
                let _turn = turns.acquire().await;
                let answer = ask(&*deployment.binding.driver, &topics(&deployment)).await;
                (deployment.api.id.clone(), answer)
            });
        }
        let late = sleep_until(deadline);
        tokio::pin!(late);
        loop {
            let answered = tokio::select! {
                () = &mut late => return silent,
                answered = asking.join_next() => answered,
            };
            match answered {
                Some(Ok((api, None))) => drop(silent.remove(&api)),
                Some(Ok((api, Some(fault)))) => drop(silent.insert(api, fault)),
                // One that could not be asked stays silent.
                Some(Err(_)) => {}
                None => return silent,
            }
        }
    }
}

/// All topics of an API.
fn topics(deployment: &Deployment) -> Vec<Topic> {
    let channels = deployment.channels.values();
    let bindings = std::iter::once(&deployment.binding).chain(channels);
    let mut topics: Vec<_> = bindings
        .flat_map(|binding| binding.deliver_topics.iter().chain(&binding.publish_topics))
        .cloned()
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

async fn ask(driver: &dyn BrokerDriver, topics: &[Topic]) -> Option<Unreachable> {
    let refusal = Refusal::from(driver.check(topics).await.err()?);
    Some(Unreachable { code: refusal.code, reason: refusal.message })
}

fn no_answer() -> Unreachable {
    let reason = format!("The broker did not answer within {} s.", PATIENCE.as_secs());
    Unreachable { code: "broker.unreachable", reason }
}
