//! A publisher: number after number by POST, each sent again until it is acknowledged.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{journal::Journal, ledger::Channel, record::Record};

/// The header that names the publisher; a policy makes it the record key.
pub(crate) const PUBLISHER: &str = "X-Publisher";
/// Before a message is sent again.
const RETRY: Duration = Duration::from_millis(50);
/// In an answer that says that the broker gave none in time, so that nobody knows whether it has the message.
const UNKNOWN: &str = "\"broker.unreachable\"";
/// Answers of this kind ask for the message to be sent again: a repeat while the first is under way, or too many.
const RETRIED: [StatusCode; 2] = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];

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
    /// Every answer that was not an acknowledgement.
    record: Record,
    /// Answers by status, 0 where there was none.
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Desk {
    /// Publishers write what they were answered to a file of this directory.
    pub(crate) fn new(
        client: Client,
        base: String,
        interval: Duration,
        journal: &Arc<Journal>,
        directory: &Path,
    ) -> Result<Self, String> {
        let record = Record::create(&directory.join("answers.txt"))?;
        Ok(Self {
            client,
            base,
            interval,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            journal: Arc::clone(journal),
            record,
            answers: Mutex::default(),
        })
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
        let Some(may_be_stored) = sent else { return };
        channel.acknowledge(publisher, excuses, may_be_stored);
        sleep(desk.interval).await;
    }
}

/// Returns when the message was acknowledged; whether an answer before left open whether the broker has it.
async fn send(desk: &Desk, channel: &Channel, publisher: usize, content: &str) -> bool {
    let url = format!("{}/{}", desk.base, channel.name);
    let mut may_be_stored = false;
    loop {
        let mut request = desk.client.post(&url).header(PUBLISHER, publisher.to_string());
        if channel.publishers[publisher].keyed {
            request = request.header("Idempotency-Key", content);
        }
        let told = match request.body(content.to_owned()).send().await {
            Ok(answer) => {
                let status = answer.status();
                desk.count(status.as_u16());
                if status == StatusCode::ACCEPTED {
                    return may_be_stored;
                }
                let text = answer.text().await.unwrap_or_default();
                may_be_stored |= text.contains(UNKNOWN);
                // Nothing is wrong with the message; a publisher would be right to give it up.
                if status.is_client_error() && !RETRIED.contains(&status) {
                    desk.journal.fault(&format!("A POST to {} was answered {status} {text}", channel.name));
                }
                format!("{status} {text}")
            }
            Err(error) => {
                desk.count(0);
                format!("{error:?}")
            }
        };
        desk.record.line(&format!("{content} {told}"));
        sleep(RETRY).await;
    }
}
