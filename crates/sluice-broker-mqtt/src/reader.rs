//! Readers: what a connection has queued, in batches, and the acknowledgements that go back.
//!
//! A transient reader acknowledges what it hands out. A durable one acknowledges what is committed, in the order in
//! which it came; the broker sends no more than the window until then, and all of it again to the next connection.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::BoxFuture;
use sluice_broker::{BatchLimit, Consumer, DriverError, ErrorKind};
use sluice_message::{Message, Partition, Position};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::{
    error::closed,
    filters::Filters,
    members::Member,
    session::{Queued, Receipt, Shared},
};

/// A reader of one or more filters.
pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) messages: mpsc::Receiver<Queued>,
    pub(crate) errors: mpsc::Receiver<DriverError>,
    /// Did not fit into the last batch.
    pub(crate) ahead: Option<Queued>,
    /// For a durable reader.
    pub(crate) durable: Option<Durable>,
    pub(crate) _stop: DropGuard,
}

/// What a durable reader has handed out.
pub(crate) struct Durable {
    member: Arc<Member>,
    filters: Filters,
    /// For each filter, the smallest number that is not committed.
    committed: Vec<u64>,
    /// The last number that was handed out.
    last: u64,
    /// In the order in which they came.
    open: VecDeque<Receipt>,
}

impl Durable {
    pub(crate) fn new(member: Arc<Member>, filters: Filters) -> Self {
        let committed = vec![0; filters.all().len()];
        Self { member, filters, committed, last: 0, open: VecDeque::new() }
    }

    /// Its number in the group.
    pub(crate) fn member(&self) -> Arc<Member> {
        Arc::clone(&self.member)
    }

    fn handed_out(&mut self, receipts: Vec<Receipt>) {
        self.last = receipts.last().map_or(self.last, |receipt| receipt.number);
        self.open.extend(receipts);
    }

    fn commit(&mut self, position: &Position, shared: &Shared) {
        for (filter, committed) in self.filters.all().iter().zip(&mut self.committed) {
            let next = position.next(filter, Partition(0)).unwrap_or_default();
            // Numbers that nobody has handed out yet are not dealt with either.
            *committed = (*committed).max(next.0.min(self.last + 1));
        }
        let is_done = |receipt: &Receipt| {
            let next = receipt.filter.and_then(|filter| self.committed.get(filter));
            next.is_none_or(|next| *next > receipt.number)
        };
        let done = self.open.iter().position(|receipt| !is_done(receipt)).unwrap_or(self.open.len());
        shared.acknowledge(self.open.drain(..done));
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.member.leave();
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Queued, DriverError> {
        if let Some(queued) = self.ahead.take() {
            return Ok(queued);
        }
        tokio::select! {
            biased;
            queued = self.messages.recv() => queued.ok_or_else(closed),
            Some(error) = self.errors.recv() => Err(error),
        }
    }

    async fn fill(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        let before = batch.len();
        while batch.len() == before {
            // Nothing waits behind this, so that a call that is dropped has taken nothing.
            let first = self.next().await?;
            let (mut bytes, mut taken) = (0, 0);
            let mut receipts = Vec::new();
            let mut next = Some(first);
            while let Some(queued) = next {
                let full =
                    batch.len() - before >= limit.messages.max(1) || bytes + queued.bytes > limit.bytes;
                if full && batch.len() > before {
                    self.ahead = Some(queued);
                    break;
                }
                bytes += queued.bytes;
                taken += queued.bytes;
                receipts.push(queued.receipt);
                batch.extend(queued.message);
                next = self.messages.try_recv().ok();
            }
            self.shared.taken(taken);
            match &mut self.durable {
                Some(durable) => durable.handed_out(receipts),
                None => self.shared.acknowledge(receipts),
            }
        }
        Ok(())
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.fill(batch, limit))
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async {
            let Some(durable) = &mut self.durable else {
                let text = "Only the reader of a group commits.";
                return Err(DriverError::new(ErrorKind::Unsupported, text));
            };
            durable.commit(position, &self.shared);
            Ok(())
        })
    }
}
