//! The task that takes messages out of the spool and hands them to the broker, one after the other.
//!
//! There is one message under way at a time: with more, one that fails could be overtaken by the next. How far
//! it is, is recorded after each batch and before each wait, and what was forwarded is then deleted. So a crash
//! repeats a batch at the most, and an outage nothing.

use std::{sync::Arc, time::Duration};

use sluice_message::{Message, Offset, Position};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    BATCH, FIRST_DELAY, LONGEST_DELAY, envelope,
    lane::{GROUP, Lane, Route},
};
use crate::{
    BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, Fault, StartAt, StopAt, log::now_ms,
    spool::envelope::Outgoing,
};

/// How long a message may be refused for its topic alone, which its publisher may have chosen: somebody may be
/// about to make the topic, or to permit it, but the next ones must not wait for that for ever.
const TOPIC_PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct Forwarder {
    lane: Arc<Lane>,
    stop: watch::Receiver<bool>,
    route: watch::Receiver<Route>,
    /// Whether the last message was one for another broker. Of a row of them only the first is logged.
    was_foreign: bool,
}

/// It is time to end.
struct Stopped;

/// A series of failures of the same thing.
struct Outage {
    since: Option<Instant>,
    delay: Duration,
}

impl Outage {
    const fn none() -> Self {
        Self { since: None, delay: FIRST_DELAY }
    }
}

/// Since when a message is refused for nothing but its topic.
#[derive(Default)]
struct TopicRefusal {
    since: Option<Instant>,
}

impl TopicRefusal {
    /// Notes how a try ended, and tells whether that is final.
    fn is_final(&mut self, error: &DriverError) -> bool {
        match error.kind {
            // A name that is none is a matter of settings to the embedded log.
            ErrorKind::NoTopic | ErrorKind::Refused | ErrorKind::Configuration | ErrorKind::Unsupported => {
                self.since.get_or_insert_with(Instant::now).elapsed() >= TOPIC_PATIENCE
            }
            _ => {
                self.since = None;
                error.kind == ErrorKind::Rejected || error.fault() == Fault::Client
            }
        }
    }
}

impl Forwarder {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let (stop, route) = (lane.stop.subscribe(), lane.route.subscribe());
        Self { lane, stop, route, was_foreign: false }
    }

    /// Forwards until the lane is at its end. `ending` tells that it is over, by being dropped at the latest.
    pub(super) async fn run(mut self, ending: watch::Sender<bool>) {
        let Stopped = self.forward_all().await;
        ending.send_replace(true);
    }

    async fn forward_all(&mut self) -> Stopped {
        let mut reader = match self.reader().await {
            Ok(reader) => reader,
            Err(stopped) => return stopped,
        };
        loop {
            let batch = match self.next_batch(&mut *reader).await {
                Ok(batch) => batch,
                Err(stopped) => return stopped,
            };
            if let Err(stopped) = self.forward_batch(&mut *reader, batch).await {
                return stopped;
            }
        }
    }

    async fn reader(&mut self) -> Result<Box<dyn Consumer>, Stopped> {
        let mut outage = Outage::none();
        loop {
            match self.try_reader().await {
                Ok(reader) => {
                    self.over(&outage);
                    return Ok(reader);
                }
                Err(error) => self.pause(&mut outage, error).await?,
            }
        }
    }

    async fn try_reader(&self) -> Result<Box<dyn Consumer>, DriverError> {
        let (log, topic) = (&self.lane.log, &self.lane.waiting);
        let start = StartAt::Group { name: GROUP.into(), from_earliest: true, sole: false };
        let spec = ConsumeSpec { topics: vec![topic.clone()], start, stop: StopAt::Never };
        let reader = log.consume(spec).await?;
        // What an earlier process had recorded but not yet deleted.
        log.trim(topic, Offset(log.committed(topic, GROUP).unwrap_or_default())).await?;
        self.lane.show();
        Ok(reader)
    }

    /// Waits for messages. A forwarder of a former lane of the same API that is still at its last message has
    /// the turn of the group, so that this waits for it too.
    async fn next_batch(&mut self, reader: &mut dyn Consumer) -> Result<Vec<Message>, Stopped> {
        let mut outage = Outage::none();
        loop {
            let mut batch = Vec::new();
            let fetched = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return Err(Stopped),
                fetched = reader.fetch(&mut batch, BATCH) => fetched,
            };
            match fetched {
                Ok(()) => {
                    self.over(&outage);
                    return Ok(batch);
                }
                Err(error) => self.pause(&mut outage, error).await?,
            }
        }
    }

    async fn forward_batch(&mut self, reader: &mut dyn Consumer, batch: Vec<Message>) -> Result<(), Stopped> {
        let mut done = Position::new();
        for sealed in batch {
            if *self.stop.borrow() {
                self.record(reader, &mut done).await?;
                return Err(Stopped);
            }
            self.forward(reader, &sealed, &mut done).await?;
            done.extend(sealed.place());
        }
        self.record(reader, &mut done).await?;
        self.lane.set_oldest(None);
        Ok(())
    }

    /// Tries one message until it is at the broker, or set aside.
    async fn forward(
        &mut self,
        reader: &mut dyn Consumer,
        sealed: &Message,
        done: &mut Position,
    ) -> Result<(), Stopped> {
        let (mut outage, mut refusal) = (Outage::none(), TopicRefusal::default());
        while let Err(error) = self.try_once(sealed, &mut refusal).await {
            self.record(reader, done).await?;
            self.pause(&mut outage, error).await?;
        }
        self.over(&outage);
        Ok(())
    }

    async fn try_once(&mut self, sealed: &Message, refusal: &mut TopicRefusal) -> Result<(), DriverError> {
        let Some(outgoing) = envelope::open(sealed, now_ms()) else {
            tracing::error!(api = %self.lane.api, "The spool holds a message that it cannot read; it is set aside.");
            return self.lane.set_aside(sealed).await;
        };
        self.lane.set_oldest(Some(outgoing.taken_ms));
        let topic = outgoing.topic.clone();
        match self.hand_over(outgoing).await {
            Ok(true) => Ok(()),
            Ok(false) => self.lane.set_aside(sealed).await,
            Err(error) if refusal.is_final(&error) => {
                tracing::error!(
                    api = %self.lane.api, %topic, %error,
                    "The broker refuses a message of the spool for good; it is set aside. Change the broker's \
                     limits, topics or rights, then let the spool try again what is set aside."
                );
                self.lane.set_aside(sealed).await
            }
            Err(error) => Err(error),
        }
    }

    /// Brings a message to the broker; false where it was taken for another one.
    async fn hand_over(&mut self, outgoing: Outgoing) -> Result<bool, DriverError> {
        let (destination, metrics) = {
            let route = self.route.borrow();
            (Arc::clone(&route.destination), route.metrics.clone())
        };
        let is_foreign = !destination.is_meant(&outgoing.meant).await?;
        if is_foreign && !self.was_foreign {
            tracing::error!(
                api = %self.lane.api, taken_for = %outgoing.meant, broker = %destination.meant(),
                "The spool holds messages that were taken for another broker than that of the API now; this one and \
                 the following such ones are set aside. Let the spool try again what is set aside if they are to go \
                 to the broker of now."
            );
        }
        self.was_foreign = is_foreign;
        if !is_foreign {
            destination.driver.publish(&outgoing.topic, outgoing.message).await?;
            metrics.forwarded.inc();
        }
        Ok(!is_foreign)
    }

    /// Records how far this is, and deletes what was forwarded. Nothing more is forwarded before that succeeded.
    async fn record(&mut self, reader: &mut dyn Consumer, done: &mut Position) -> Result<(), Stopped> {
        let mut outage = Outage::none();
        while !done.is_empty() {
            match self.try_record(reader, done).await {
                Ok(()) => *done = Position::new(),
                Err(error) => self.pause(&mut outage, error).await?,
            }
        }
        self.over(&outage);
        self.lane.show();
        Ok(())
    }

    async fn try_record(&self, reader: &mut dyn Consumer, done: &Position) -> Result<(), DriverError> {
        reader.commit(done).await?;
        for (topic, _, next) in done.nexts() {
            self.lane.log.trim(topic, next).await?;
        }
        Ok(())
    }

    /// Waits before the next try, at most until the broker is another one.
    async fn pause(&mut self, outage: &mut Outage, error: DriverError) -> Result<(), Stopped> {
        if outage.since.is_none() {
            let (messages, bytes) = self.lane.waiting_now();
            tracing::warn!(
                api = %self.lane.api, messages, bytes, %error,
                "The spool of an API cannot hand its messages on; they wait. That is tried again and again."
            );
            outage.since = Some(Instant::now());
        }
        self.lane.set_error(Some(error));
        self.lane.show();
        let delay = outage.delay;
        outage.delay = (delay * 2).min(LONGEST_DELAY);
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Err(Stopped),
            _ = self.route.changed() => Ok(()),
            () = sleep(delay) => Ok(()),
        }
    }

    fn over(&self, outage: &Outage) {
        let Some(since) = outage.since else { return };
        self.lane.set_error(None);
        tracing::info!(
            api = %self.lane.api, after_ms = since.elapsed().as_millis(),
            "The spool of an API hands its messages on again."
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn is_final(refusal: &mut TopicRefusal, kind: ErrorKind) -> bool {
        refusal.is_final(&DriverError::new(kind, "No."))
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_refused_is_so_for_good_after_a_minute_of_nothing_else() {
        let mut refusal = TopicRefusal::default();
        assert!(!is_final(&mut refusal, ErrorKind::NoTopic));
        advance(TOPIC_PATIENCE - Duration::from_millis(1)).await;
        assert!(!is_final(&mut refusal, ErrorKind::Refused));
        advance(Duration::from_millis(1)).await;
        for kind in [ErrorKind::Refused, ErrorKind::NoTopic, ErrorKind::Configuration, ErrorKind::Unsupported]
        {
            assert!(is_final(&mut refusal, kind), "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_in_between_begins_the_minute_anew() {
        let mut refusal = TopicRefusal::default();
        assert!(!is_final(&mut refusal, ErrorKind::NoTopic));
        advance(TOPIC_PATIENCE).await;
        assert!(!is_final(&mut refusal, ErrorKind::Unreachable));
        assert!(!is_final(&mut refusal, ErrorKind::NoTopic));
        for kind in [ErrorKind::TooLarge, ErrorKind::Invalid, ErrorKind::Rejected] {
            assert!(is_final(&mut refusal, kind), "the message itself is at fault: {kind:?}");
        }
    }
}
