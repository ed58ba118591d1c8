//! A publisher: number after number by POST, each sent again until it is acknowledged.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{journal::Journal, ledger::Channel};

/// The header that names the publisher; a policy makes it the record key.
pub(crate) const PUBLISHER: &str = "X-Publisher";
/// Before a message is sent again.
const RETRY: Duration = Duration::from_millis(50);
/// Answers of this kind ask for the message to be sent again: a repeat while the first is under way, or too many.
const RETRIED: [StatusCode; 2] = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
/// A message that took longer is worth a line.
const LONG: Duration = Duration::from_secs(3);

/// What all publishers share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) client: Client,
    /// `http://HOST:PORT` of the gateway.
    pub(crate) base: String,
    /// Between an acknowledgement and the next message.
    pub(crate) interval: Duration,
    /// No new message is begun.
    pub(crate) stop: CancellationToken,
    /// What is not acknowledged by now never will be.
    pub(crate) give_up: CancellationToken,
    journal: Arc<Journal>,
    /// Answers by status, 0 where there was none.
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Desk {
    pub(crate) fn new(client: Client, base: String, interval: Duration, journal: &Arc<Journal>) -> Self {
        Self {
            client,
            base,
            interval,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            journal: Arc::clone(journal),
            answers: Mutex::default(),
        }
    }

    /// The answers so far, by status, 0 where there was none.
    pub(crate) fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, status: u16) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }
}

/// Publishes until it is stopped.
pub(crate) async fn publish(desk: Arc<Desk>, channel: Arc<Channel>, publisher: usize) {
    let published = &channel.publishers[publisher];
    while !desk.stop.is_cancelled() {
        let content = channel.content(publisher, published.acknowledged());
        let excuses = channel.excuses.count();
        let sent = desk.give_up.run_until_cancelled(send(&desk, &channel, publisher, &content)).await;
        if sent.is_none() {
            return;
        }
        published.acknowledge(excuses, channel.excuses.count());
        sleep(desk.interval).await;
    }
}

/// Returns when the message was acknowledged.
async fn send(desk: &Desk, channel: &Channel, publisher: usize, content: &str) {
    let url = format!("{}/{}", desk.base, channel.name);
    let started = Instant::now();
    let mut last = String::new();
    loop {
        let mut request = desk.client.post(&url).header(PUBLISHER, publisher.to_string());
        if channel.publishers[publisher].keyed {
            request = request.header("Idempotency-Key", content);
        }
        match request.body(content.to_owned()).send().await {
            Ok(answer) => {
                let status = answer.status();
                desk.count(status.as_u16());
                if status == StatusCode::ACCEPTED {
                    break;
                }
                last = format!("{status} {}", answer.text().await.unwrap_or_default());
                // Nothing is wrong with the message; a publisher would be right to give it up.
                if status.is_client_error() && !RETRIED.contains(&status) {
                    desk.journal.fault(&format!("A POST to {} was answered {last}", channel.name));
                }
            }
            Err(error) => {
                desk.count(0);
                last = error.to_string();
            }
        }
        sleep(RETRY).await;
    }
    if started.elapsed() > LONG {
        let took = started.elapsed();
        desk.journal.note(&format!("{content} was acknowledged after {took:.1?}; the answer before: {last}"));
    }
}
