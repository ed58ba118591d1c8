//! What reads one broker of a group for one reader, through outages, beside those that read the others. It holds one
//! batch, and reads no further until that is taken.

use std::{sync::Arc, time::Duration};

use sluice_message::{Message, Position};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tracing::{info, warn};

use super::{places, source::Source, source::is_of_the_reader};
use crate::{BatchLimit, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt};

/// What is read at once.
const BATCH: BatchLimit = BatchLimit { messages: 256, bytes: 1 << 20 };

/// How long to wait after a failure: the first time, and at the most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What a pump brings, and which one it is.
pub(super) type Brought = (usize, Result<Vec<Message>, DriverError>);

/// What has been dealt with, to be told to the broker.
pub(super) struct Commit {
    pub(super) position: Position,
    pub(super) done: oneshot::Sender<Result<(), DriverError>>,
}

/// Reads one broker.
pub(super) struct Pump {
    source: Arc<Source>,
    /// In the terms of the group. Where it begins moves on with what is read, where the broker can go back there.
    spec: ConsumeSpec,
    brought: mpsc::Sender<Brought>,
    commits: mpsc::Receiver<Commit>,
    backoff: Duration,
    is_away: bool,
}

impl Pump {
    pub(super) fn new(
        source: Arc<Source>,
        spec: ConsumeSpec,
        brought: mpsc::Sender<Brought>,
        commits: mpsc::Receiver<Commit>,
    ) -> Self {
        Self { source, spec, brought, commits, backoff: BACKOFF.0, is_away: false }
    }

    /// Reads until there is nothing more to read, ever, or the reader is gone. An empty batch says the former.
    pub(super) async fn run(mut self, mut opened: Option<Box<dyn Consumer>>) {
        loop {
            let consumer = match opened.take() {
                Some(consumer) => Ok(consumer),
                None => self.open().await,
            };
            let error = match consumer {
                Ok(mut consumer) => match self.read(&mut *consumer).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let ends = is_of_the_reader(error.kind);
            if !self.report(error).await || ends {
                return;
            }
            self.rest().await;
        }
    }

    async fn open(&mut self) -> Result<Box<dyn Consumer>, DriverError> {
        let source = Arc::clone(&self.source);
        let (spec, commits) = (self.spec.clone(), &mut self.commits);
        let opening = source.open(&spec);
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return opened,
                commit = next(commits) => refuse(commit),
            }
        }
    }

    /// Brings batches until an error that ends the consumer; returns well where there is nothing more to bring, or
    /// nobody to bring it to.
    async fn read(&mut self, consumer: &mut dyn Consumer) -> Result<(), DriverError> {
        loop {
            let mut batch = Vec::new();
            let fetched = loop {
                tokio::select! {
                    biased;
                    commit = next(&mut self.commits) => settle(consumer, commit).await,
                    fetched = consumer.fetch(&mut batch, BATCH) => break fetched,
                }
            };
            match fetched {
                Ok(()) => self.is_back(),
                Err(error) if error.retryable() => {
                    if !self.report(error).await {
                        return Ok(());
                    }
                    self.rest_beside(consumer).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let is_end = batch.is_empty();
            let batch = self.taken(batch);
            let permit = loop {
                tokio::select! {
                    biased;
                    commit = next(&mut self.commits) => settle(consumer, commit).await,
                    permit = self.brought.reserve() => break permit,
                }
            };
            let Ok(permit) = permit else { return Ok(()) };
            permit.send((self.source.ordinal, Ok(batch)));
            if is_end {
                return Ok(());
            }
        }
    }

    /// Messages as they are handed out, with their places noted.
    fn taken(&mut self, batch: Vec<Message>) -> Vec<Message> {
        self.source.known.read(&batch);
        let outer = |message| places::outer_message(self.source.ordinal, message);
        let batch: Vec<Message> = batch.into_iter().map(outer).collect();
        if let StartAt::Earliest = self.spec.start
            && batch.iter().any(|message| message.place().is_some())
        {
            self.spec.start = StartAt::After(Position::new());
        }
        if let StartAt::After(position) = &mut self.spec.start {
            position.extend(batch.iter().filter_map(Message::place));
        }
        batch
    }

    /// Returns false where nobody is left to be told.
    async fn report(&mut self, error: DriverError) -> bool {
        if !std::mem::replace(&mut self.is_away, true) {
            let wait_ms = self.backoff.as_millis();
            warn!(ordinal = self.source.ordinal, %error, wait_ms, "A broker of a group cannot be read; trying again.");
        }
        let mut told = Some(error);
        loop {
            tokio::select! {
                permit = self.brought.reserve() => {
                    let Ok(permit) = permit else { return false };
                    if let Some(error) = told.take() {
                        permit.send((self.source.ordinal, Err(error)));
                    }
                    return true;
                }
                commit = next(&mut self.commits) => refuse(commit),
            }
        }
    }

    fn is_back(&mut self) {
        self.backoff = BACKOFF.0;
        if std::mem::take(&mut self.is_away) {
            info!(ordinal = self.source.ordinal, "A broker of a group is read again.");
        }
    }

    async fn rest(&mut self) {
        let resting = sleep(self.longer());
        tokio::pin!(resting);
        loop {
            tokio::select! {
                () = &mut resting => return,
                commit = next(&mut self.commits) => refuse(commit),
            }
        }
    }

    async fn rest_beside(&mut self, consumer: &mut dyn Consumer) {
        let resting = sleep(self.longer());
        tokio::pin!(resting);
        loop {
            tokio::select! {
                () = &mut resting => return,
                commit = next(&mut self.commits) => settle(consumer, commit).await,
            }
        }
    }

    fn longer(&mut self) -> Duration {
        let now = self.backoff;
        self.backoff = (now * 2).min(BACKOFF.1);
        now
    }
}

/// The next commit. When its reader is gone so is the pump: there is none to wait for.
async fn next(commits: &mut mpsc::Receiver<Commit>) -> Commit {
    match commits.recv().await {
        Some(commit) => commit,
        None => std::future::pending().await,
    }
}

async fn settle(consumer: &mut dyn Consumer, commit: Commit) {
    let settled = consumer.commit(&commit.position).await;
    // Who has stopped waiting wants to know no more.
    drop(commit.done.send(settled));
}

fn refuse(commit: Commit) {
    let text = "A broker of the group is away, and cannot be told what was dealt with.";
    drop(commit.done.send(Err(DriverError::new(ErrorKind::Unreachable, text))));
}
