//! Publishing: many messages under way on one channel, each done when the broker has confirmed it.
//!
//! What is handed to lapin is followed to its end even where nobody waits for it any more, so that it counts against
//! the bounds for as long as it takes memory. lapin numbers a message and queues its frames in two steps, and takes a
//! confirmation of several for a confirmation of any of them: so messages are handed over one at a time, and one that
//! must reach a queue has a channel to itself, as has a large one.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use lapin::{
    Channel, Confirmation, Error,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use sluice_api::RabbitmqProducer;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Message, Topic};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    RabbitmqOptions,
    connect::{Live, short},
    error::{answer_of, closed, failed, refused_key, size_and_limit},
    link::Link,
    record, session,
};

/// How often a message is sent whose channel the broker closed because of another one.
const TRIES: u32 = 3;
/// How long a channel that could not be opened is not tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// A larger payload, in bytes, has a channel to itself: the broker closes the channel of one that is too large for it,
/// and with it goes the news of what was confirmed there.
const LARGE: usize = 256 << 10;
/// What a frame with properties holds beside them, in bytes, generously.
const FRAME_BYTES: usize = 512;

/// The publishing half of a driver.
pub(crate) struct Producer {
    link: Link,
    settings: RabbitmqProducer,
    exchange: ShortString,
    options: RabbitmqOptions,
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    is_closed: AtomicBool,
    /// The channel for all messages that need none of their own.
    shared: ArcSwapOption<Lane>,
    opening: tokio::sync::Mutex<Option<(Instant, DriverError)>>,
    /// Channels without a message, and how many more messages may have one to themselves.
    spare: Arc<Mutex<Vec<Arc<Lane>>>>,
    alone: Arc<Semaphore>,
}

/// A channel with publisher confirms.
struct Lane {
    channel: Channel,
    live: Arc<Live>,
    /// Held while a message gets its number and its place among the frames.
    turn: Mutex<()>,
}

/// A message with all that it needs until it is confirmed.
struct Letter {
    message: Message,
    key: ShortString,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Producer {
    pub(crate) fn new(link: Link, settings: RabbitmqProducer, options: RabbitmqOptions) -> Self {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        Self {
            link,
            exchange: short(session::name_of(settings.exchange.as_ref())),
            settings,
            options,
            messages: semaphore(options.queue_messages),
            kib: semaphore(options.queue_kib),
            is_closed: AtomicBool::new(false),
            shared: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            spare: Arc::default(),
            alone: semaphore(options.own_channels),
        }
    }

    /// Resolves once the broker has confirmed the message.
    pub(crate) async fn publish(&self, topic: &Topic, message: Message) -> Result<(), DriverError> {
        let Ok(key) = ShortString::try_new(topic.as_str()) else {
            let text = format!("'{topic}' is no routing key: it has more than 255 bytes.");
            return Err(DriverError::new(ErrorKind::NoTopic, text));
        };
        let room = self.room(&message)?;
        let letter = Arc::new(Letter { message, key, _room: room });
        match timeout(self.options.publish_timeout, self.send(&letter)).await {
            Ok(published) => published,
            Err(_) => Err(self.timed_out(topic)),
        }
    }

    fn timed_out(&self, topic: &Topic) -> DriverError {
        let blocked = self.shared.load_full().and_then(|lane| lane.live.blocked());
        if let Some(trouble) = self.link.trouble() {
            return trouble;
        }
        let (seconds, address) = (self.options.publish_timeout.as_secs(), self.link.address());
        let why = blocked.map_or_else(String::new, |why| format!(", which takes none at the moment: {why}"));
        let text = format!(
            "A message to '{topic}' was not confirmed within {seconds} s by RabbitMQ {address}{why}."
        );
        DriverError::new(ErrorKind::Unreachable, text)
    }

    /// Takes room for a message, or says that there is none.
    fn room(&self, message: &Message) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), DriverError> {
        let kib = u32::try_from(message.size().div_ceil(1024)).unwrap_or(u32::MAX);
        if kib > self.options.queue_kib {
            let (size, most) = (message.size(), self.options.queue_kib);
            let text =
                format!("The message has {size} bytes; at most {most} KiB are held for RabbitMQ at a time.");
            return Err(DriverError::new(ErrorKind::TooLarge, text));
        }
        let room = self.messages.clone().try_acquire_owned().and_then(|one| {
            let its_size = self.kib.clone().try_acquire_many_owned(kib)?;
            Ok((one, its_size))
        });
        if self.is_closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        room.map_err(|_| {
            let text =
                format!("Too many messages wait for RabbitMQ {} to confirm them.", self.link.address());
            DriverError::new(ErrorKind::Overloaded, text)
        })
    }

    async fn send(&self, letter: &Arc<Letter>) -> Result<(), DriverError> {
        let mut tries = 1;
        loop {
            let (lane, sent) = if self.settings.mandatory || letter.message.payload().len() > LARGE {
                self.send_alone(letter).await?
            } else {
                let lane = self.shared().await?;
                let sent = self.hand_over(&lane, letter, None)?.await;
                (lane, sent)
            };
            let error = match sent {
                Ok(Confirmation::Ack(None)) => return Ok(()),
                Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                    let text = format!(
                        "No queue at RabbitMQ {} takes messages to '{}' through the exchange '{}'.",
                        self.link.address(),
                        letter.key,
                        self.exchange
                    );
                    return Err(DriverError::new(ErrorKind::NoTopic, text));
                }
                Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => {
                    let text = format!(
                        "RabbitMQ {} did not take a message to '{}': a queue is full, or could not write it.",
                        self.link.address(),
                        letter.key
                    );
                    return Err(DriverError::new(ErrorKind::Other, text));
                }
                Err(error) => error,
            };
            let is_other = self.is_of_another(&lane, letter, &error);
            if !is_other || tries == TRIES {
                let doing = format_args!("Publishing to '{}'", letter.key);
                let failed = failed(doing, self.link.address(), &error);
                // The fault of another message says nothing about this one.
                return Err(if is_other { DriverError { kind: ErrorKind::Other, ..failed } } else { failed });
            }
            tries += 1;
        }
    }

    /// Sends a message on a channel that no other has meanwhile.
    async fn send_alone(
        &self,
        letter: &Arc<Letter>,
    ) -> Result<(Arc<Lane>, Result<Confirmation, Error>), DriverError> {
        let turn = self.alone.clone().acquire_owned().await.map_err(|_| closed())?;
        let spare = self.spare().pop().filter(|lane| lane.works());
        let lane = match spare {
            Some(lane) => lane,
            None => self.open().await?,
        };
        let sent = self.hand_over(&lane, letter, Some(turn))?.await;
        if sent.is_ok() {
            self.spare().push(lane.clone());
        }
        Ok((lane, sent))
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Lane>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to lapin when the result is first polled. What is handed over is not taken back by dropping it.
    fn hand_over(
        &self,
        lane: &Arc<Lane>,
        letter: &Arc<Letter>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<impl Future<Output = Result<Confirmation, Error>> + Send + use<>, DriverError> {
        let address = self.link.address();
        if let Some(why) = lane.live.blocked() {
            let text = format!("RabbitMQ {address} takes no messages at the moment: {why}.");
            return Err(DriverError::new(ErrorKind::Overloaded, text));
        }
        let (properties, bytes) = record::properties(&letter.message)?;
        let too_large = |what: &str, size: usize, most: usize| {
            let text = format!(
                "The {what} of the message to '{}' has {size} bytes; RabbitMQ {address} takes {most}.",
                letter.key
            );
            Err(DriverError::new(ErrorKind::TooLarge, text))
        };
        let most = (lane.live.connection.configuration().frame_max() as usize).saturating_sub(FRAME_BYTES);
        if bytes > most {
            return too_large("header", bytes, most);
        }
        let (size, most) = (letter.message.payload().len(), lane.live.largest.load(Ordering::Relaxed));
        if size > most {
            return too_large("payload", size, most);
        }
        let options = BasicPublishOptions { mandatory: self.settings.mandatory, immediate: false };
        let (exchange, lane, letter) = (self.exchange.clone(), lane.clone(), letter.clone());
        let used = lane.clone();
        let mut followed = Followed(Some(Box::pin(async move {
            let _turn = turn;
            let (key, payload) = (letter.key.clone(), letter.message.payload());
            used.channel.basic_publish(exchange, key, options, payload, properties).await?.await
        })));
        Ok(async move {
            let first = poll_fn(|context| {
                let _turn = lane.turn.lock().unwrap_or_else(PoisonError::into_inner);
                Poll::Ready(Pin::new(&mut followed).poll(context))
            });
            match first.await {
                Poll::Ready(sent) => sent,
                Poll::Pending => followed.await,
            }
        })
    }

    /// Whether the broker closed the channel because of another message, or before it saw this one.
    fn is_of_another(&self, lane: &Lane, letter: &Letter, error: &Error) -> bool {
        let Some(answer) = answer_of(error) else {
            return lane.live.works() && matches!(error.kind(), lapin::ErrorKind::InvalidChannelState(..));
        };
        if let Some((size, limit)) = size_and_limit(answer) {
            lane.live.learn_limit(limit);
            return size != letter.message.payload().len();
        }
        refused_key(answer).is_some_and(|key| key != letter.key.as_str())
    }

    /// The channel for all.
    async fn shared(&self) -> Result<Arc<Lane>, DriverError> {
        let current = || self.shared.load_full().filter(|lane| lane.works());
        if let Some(lane) = current() {
            return Ok(lane);
        }
        let mut refused = self.opening.lock().await;
        if let Some(lane) = current() {
            return Ok(lane);
        }
        if let Some((_, error)) = refused.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        match self.open().await {
            Ok(lane) => {
                *refused = None;
                self.shared.store(Some(lane.clone()));
                Ok(lane)
            }
            Err(error) => {
                *refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<Arc<Lane>, DriverError> {
        let address = self.link.address();
        let live = self.link.live_again().await?;
        let at = |error: Error| failed("Opening a channel to publish", address, &error);
        let channel = live.connection.create_channel().await.map_err(at)?;
        session::declare(&channel, self.settings.exchange.as_ref(), address).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(at)?;
        Ok(Arc::new(Lane { channel, live, turn: Mutex::default() }))
    }

    /// The link, to ask about the broker.
    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// Takes no more messages, waits until those under way are settled, then closes the connection.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let settled = self.messages.acquire_many(self.options.queue_messages);
        if timeout(self.options.publish_timeout, settled).await.is_err() {
            tracing::warn!(
                address = self.link.address(),
                "Messages on their way to RabbitMQ were not confirmed in time and count as failed."
            );
        }
        self.shared.store(None);
        self.spare().clear();
        self.link.close().await;
    }
}

impl Lane {
    fn works(&self) -> bool {
        self.live.works() && self.channel.status().connected()
    }
}

/// Work that goes on by itself when nobody waits for it any more.
struct Followed<T: 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: 'static> Future for Followed<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

impl<T: 'static> Drop for Followed<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}
