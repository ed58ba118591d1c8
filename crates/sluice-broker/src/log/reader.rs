//! A reader of the log: a next offset for each of its topics.
//!
//! It waits for the end of a topic to move and reads on a thread that may block, once for each batch. It
//! never sees what is not on the disk yet. Its place moves only when messages are handed out, so that a
//! dropped call loses none.

use std::sync::Arc;

use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use sluice_message::{Message, Partition, Position, Topic};
use tokio::sync::watch;

use super::{
    Log, blocking, closed,
    groups::{ReadingTurn, Seat},
    store::Extent,
};
use crate::{BatchLimit, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt};

pub(super) struct Reader {
    log: Log,
    parts: Vec<Part>,
    /// The part that is read first next time, so that a busy topic does not starve the others.
    first: usize,
}

/// One topic of a reader.
struct Part {
    topic: Topic,
    extent: watch::Receiver<Extent>,
    next: u64,
    /// Where the reader ends, if it does.
    stop: Option<u64>,
    member: Option<Member>,
}

/// A reader as a member of a group.
struct Member {
    seat: Arc<Seat>,
    /// `None` while another member reads.
    turn: Option<ReadingTurn>,
}

impl Reader {
    pub(super) async fn open(log: Log, spec: ConsumeSpec) -> Result<Self, DriverError> {
        if spec.topics.is_empty() {
            return Err(DriverError::new(ErrorKind::Configuration, "A reader needs at least one topic."));
        }
        if let (StartAt::Group { name, .. }, StopAt::End) = (&spec.start, spec.stop) {
            let text = format!("The group {name} cannot stop at the end of a topic.");
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        let mut parts: Vec<Part> = Vec::with_capacity(spec.topics.len());
        for topic in spec.topics {
            if parts.iter().all(|part| part.topic != topic) {
                parts.push(Part::open(&log, topic, &spec.start, spec.stop).await?);
            }
        }
        Ok(Self { log, parts, first: 0 })
    }

    async fn next_batch(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        loop {
            for part in &mut self.parts {
                part.take_turn();
                part.check_kept(&self.log).await?;
            }
            if self.parts.iter().all(Part::has_ended) {
                return Ok(());
            }
            if !self.parts.iter().any(Part::is_ready) {
                let waits = self.parts.iter_mut().map(|part| part.wait().boxed());
                select_all(waits).await.0?;
                continue;
            }
            match self.read(limit).await {
                Ok((mut messages, moved)) => {
                    batch.append(&mut messages);
                    for (index, next) in moved {
                        self.parts[index].next = next;
                        self.first = (index + 1) % self.parts.len();
                    }
                    return Ok(());
                }
                // Retention deletes at any moment: what is missing for that reason is told as such.
                Err(_) if self.parts.iter().any(|part| part.lost().is_some()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is at hand: the messages, and each part that moved with its new next offset.
    async fn read(&self, limit: BatchLimit) -> Result<(Vec<Message>, Vec<(usize, u64)>), DriverError> {
        let (front, back) = self.parts.split_at(self.first);
        let rotated = (self.first..).zip(back).chain(front.iter().enumerate());
        let wanted: Vec<_> = rotated
            .filter(|(_, part)| part.is_ready())
            .map(|(index, part)| {
                let start = part.extent.borrow().start;
                (index, part.topic.clone(), start, part.next..part.readable_end())
            })
            .collect();
        let shared = self.log.0.shared.clone();
        blocking(move || {
            shared.with_store(|store| {
                let (mut messages, mut moved) = (Vec::new(), Vec::new());
                for (index, topic, start, offsets) in wanted {
                    let (before, next) = (messages.len(), offsets.start);
                    match store.read(&topic, start, offsets, limit, &mut messages) {
                        // What is good before it is not held back: the next call meets the error first.
                        Err(_) if !messages.is_empty() => {}
                        result => result?,
                    }
                    let count = messages.len() - before;
                    if count == 0 {
                        break;
                    }
                    moved.push((index, next + count as u64));
                }
                Ok((messages, moved))
            })
        })
        .await
    }

    async fn commit_position(&self, position: &Position) -> Result<(), DriverError> {
        if self.parts.iter().all(|part| part.member.is_none()) {
            let text = "Only a reader that belongs to a group can commit.";
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        for (topic, partition, last) in position.iter() {
            let part = self.parts.iter().find(|part| part.topic == *topic && partition == Partition(0));
            let member = part.and_then(|part| part.member.as_ref().map(|member| (part, member)));
            let Some((part, member)) = member else {
                let text = format!(
                    "This reader does not read partition {} of the topic {topic} and cannot commit there.",
                    partition.0
                );
                return Err(DriverError::new(ErrorKind::Configuration, text));
            };
            let end = part.extent.borrow().end;
            if last.0 >= end {
                return Err(beyond(topic, last.0, end));
            }
            self.log.move_group(member.seat.clone(), last.0 + 1).await?;
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
        self.next_batch(batch, limit).boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        self.commit_position(position).boxed()
    }
}

impl Part {
    async fn open(log: &Log, topic: Topic, start: &StartAt, stop: StopAt) -> Result<Self, DriverError> {
        let mut extent = log.topic(&topic).await?.extent.subscribe();
        let now = *extent.borrow_and_update();
        let mut part = Self {
            topic,
            extent,
            next: now.start,
            stop: (stop == StopAt::End).then_some(now.end),
            member: None,
        };
        match start {
            StartAt::Earliest => {}
            StartAt::Latest => part.next = now.end,
            StartAt::After(position) => part.start_after(position)?,
            StartAt::Group { name, from_earliest, .. } => {
                let first = if *from_earliest { now.start } else { now.end };
                part.join(log, name, first).await?;
            }
        }
        Ok(part)
    }

    fn start_after(&mut self, position: &Position) -> Result<(), DriverError> {
        let foreign =
            position.nexts().find(|(topic, partition, _)| **topic == self.topic && partition.0 != 0);
        if let Some((topic, partition, _)) = foreign {
            let text =
                format!("The position names partition {} of {topic}, which the log has not.", partition.0);
            return Err(DriverError::new(ErrorKind::PositionLost, text));
        }
        if let Some(next) = position.next(&self.topic, Partition(0)) {
            self.next = next.0;
        }
        self.lost().map_or(Ok(()), Err)
    }

    async fn join(&mut self, log: &Log, group: &Arc<str>, first: u64) -> Result<(), DriverError> {
        let shared = &log.0.shared;
        let (seat, is_new) = shared.seats.seat(&self.topic, group, first, shared.options.max_groups)?;
        if is_new {
            // Recorded at once: a group that starts at the end and never commits must not start at a later
            // end after a restart.
            if let Err(error) = log.move_group(seat.clone(), first).await {
                shared.seats.forget(&seat);
                return Err(error);
            }
        }
        self.member = Some(Member { seat, turn: None });
        self.take_turn();
        Ok(())
    }

    /// Becomes the reading member of its group if no other is.
    fn take_turn(&mut self) {
        if let Some(member) = self.member.as_mut().filter(|member| member.turn.is_none())
            && let Some(turn) = member.seat.try_turn()
        {
            self.next = member.seat.next();
            member.turn = Some(turn);
        }
    }

    fn stands_by(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.turn.is_none())
    }

    fn readable_end(&self) -> u64 {
        let end = self.extent.borrow().end;
        self.stop.map_or(end, |stop| stop.min(end))
    }

    fn is_ready(&self) -> bool {
        !self.stands_by() && self.next < self.readable_end()
    }

    fn has_ended(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }

    /// Waits until there is something to do: messages to read, a loss to tell, or the turn to read.
    async fn wait(&mut self) -> Result<(), DriverError> {
        if let Some(member) = self.member.as_mut().filter(|member| member.turn.is_none()) {
            let turn = member.seat.turn().await;
            self.next = member.seat.next();
            member.turn = Some(turn);
            return Ok(());
        }
        if self.has_ended() {
            return std::future::pending().await;
        }
        let next = self.next;
        let moved = self.extent.wait_for(|extent| extent.end > next || extent.start > next).await;
        moved.map(drop).map_err(|_| closed())
    }

    /// What the reader has lost, if retention overtook it or its place never was.
    fn lost(&self) -> Option<DriverError> {
        let Extent { start, end, .. } = *self.extent.borrow();
        let (topic, next) = (&self.topic, self.next);
        if self.stands_by() || self.has_ended() || (start..=end).contains(&next) {
            return None;
        }
        if next > end {
            return Some(beyond(topic, next - 1, end));
        }
        let text = format!(
            "The next message of the topic {topic} would be {next}, but the log keeps only those from {start}: \
             {} are gone.",
            start - next
        );
        Some(DriverError::new(ErrorKind::PositionLost, text))
    }

    /// Fails if messages that come next are gone. A group is told once and then stands at the first message
    /// that there is: nobody could move it there otherwise.
    async fn check_kept(&mut self, log: &Log) -> Result<(), DriverError> {
        let Some(lost) = self.lost() else {
            return Ok(());
        };
        if let Some(member) = &self.member {
            let start = self.extent.borrow().start;
            log.move_group(member.seat.clone(), start).await?;
            tracing::warn!(group = %member.seat.group, topic = %self.topic, "A group lost messages. {lost}");
            self.next = member.seat.next();
        }
        Err(lost)
    }
}

fn beyond(topic: &Topic, last: u64, end: u64) -> DriverError {
    let text =
        format!("The position {last} lies beyond the end of the topic {topic}, whose next message is {end}.");
    DriverError::new(ErrorKind::PositionLost, text)
}
