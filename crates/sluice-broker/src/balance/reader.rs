//! A reader of several brokers: what each of them brings, one batch after the other.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sluice_message::{Message, Position};
use tokio::sync::{mpsc, oneshot};

use super::{
    places,
    pump::{Brought, Commit, Pump},
    source::{Source, is_of_the_reader},
};
use crate::{BatchLimit, ConsumeSpec, Consumer, DriverError, ErrorKind};

/// A reader of a group.
pub(super) struct Reader {
    brought: mpsc::Receiver<Brought>,
    /// What was brought and is not handed out yet.
    rest: VecDeque<Message>,
    /// By ordinal, how each broker's pump is doing.
    pumps: Vec<State>,
    /// By ordinal, the way to each pump.
    commits: Vec<mpsc::Sender<Commit>>,
    /// The pumps. They go on while the reader is asked for something, and are gone when it is.
    running: Running,
}

type Running = FuturesUnordered<BoxFuture<'static, ()>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Failing,
    Ended,
}

impl Reader {
    /// Begins to read these brokers, each by a reader that was opened for this, if it was.
    pub(super) fn begin(
        sources: &[Arc<Source>],
        opened: Vec<Option<Box<dyn Consumer>>>,
        ended: &[bool],
        spec: &ConsumeSpec,
    ) -> Self {
        // A place for each, so that none waits for another.
        let (sender, brought) = mpsc::channel(sources.len());
        let running = Running::new();
        let mut commits = Vec::new();
        for ((source, consumer), ended) in sources.iter().zip(opened).zip(ended) {
            let (commit, orders) = mpsc::channel(1);
            commits.push(commit);
            if !ended {
                let pump = Pump::new(Arc::clone(source), spec.clone(), sender.clone(), orders);
                running.push(pump.run(consumer).boxed());
            }
        }
        let state = |ended: &bool| if *ended { State::Ended } else { State::Reading };
        let pumps = ended.iter().map(state).collect();
        Self { brought, rest: VecDeque::new(), pumps, commits, running }
    }

    /// Waits for something to hand out; false where nothing will come any more.
    async fn fill(&mut self) -> Result<bool, DriverError> {
        while self.rest.is_empty() {
            let brought = beside(&mut self.running, self.brought.recv()).await;
            let Some((ordinal, brought)) = brought else { return Ok(false) };
            match brought {
                Ok(batch) => {
                    self.pumps[ordinal] = if batch.is_empty() { State::Ended } else { State::Reading };
                    self.rest.extend(batch);
                }
                Err(error) if is_of_the_reader(error.kind) => return Err(error),
                Err(error) => {
                    self.pumps[ordinal] = State::Failing;
                    // One that is away is no reason to stop, all of them are.
                    if !self.pumps.contains(&State::Reading) {
                        let DriverError { message, .. } = error;
                        return Err(DriverError::new(ErrorKind::Unreachable, message));
                    }
                }
            }
        }
        Ok(true)
    }
}

/// The outcome of something that the pumps have to go on for.
async fn beside<T>(running: &mut Running, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            Some(()) = running.next() => {}
        }
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            if !self.fill().await? {
                return Ok(());
            }
            let mut bytes = 0_usize;
            let mut count = 0;
            while let Some(message) = self.rest.front() {
                bytes = bytes.saturating_add(message.size());
                if count > 0 && (count >= limit.messages || bytes > limit.bytes) {
                    break;
                }
                count += 1;
                batch.extend(self.rest.pop_front());
            }
            Ok(())
        })
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            for (ordinal, commits) in self.commits.iter().enumerate() {
                let position = places::inner(ordinal, position);
                if position.is_empty() {
                    continue;
                }
                let settling = async {
                    let (done, settled) = oneshot::channel();
                    commits.send(Commit { position, done }).await.ok()?;
                    settled.await.ok()
                };
                let text = "The reader of a broker of the group has ended.";
                let gone = || Err(DriverError::new(ErrorKind::Closed, text));
                beside(&mut self.running, settling).await.unwrap_or_else(gone)?;
            }
            Ok(())
        })
    }
}
