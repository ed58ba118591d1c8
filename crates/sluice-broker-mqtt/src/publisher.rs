//! Publishing: one connection for all messages of a driver, many of them under way at a time.
//!
//! The connection is made when the first message comes and kept until the driver is closed. A message that comes while
//! it is away waits for it, as long as attempts have not failed too often; one whose acknowledgement is lost with the
//! connection is sent again at QoS 1, since at least once is what was asked for, and fails at QoS 2. Either way one that
//! the broker hangs up on is found out in the end, see `suspects`.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Message, Topic};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    MqttOptions,
    backoff::Backoff,
    error::{Failure, Suspicion, closed},
    flaps::{Flaps, Losses},
    in_flight::InFlight,
    message::Outgoing,
    protocol::{self, Client, Event, Granted, Link, Session, Unsettled},
    settings::{Producing, Target},
    suspects::Suspects,
};

/// How long the broker's answer to a DISCONNECT is waited for; there is none but the end of the connection.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);
/// How often a broker hangs up on a message until that is no accident.
const ACCIDENTS: u32 = 3;
/// How long a connection has lasted when a suspect is sent by it, so that it would hardly have ended by itself.
const STEADY: Duration = Duration::from_millis(500);
/// This side is sent no messages, but the protocol wants a number.
const RECEIVE_MAXIMUM: u16 = 1;

/// The publishing side of a driver.
pub(crate) struct Publisher {
    address: String,
    producing: Producing,
    has_properties: bool,
    maximum_packet: u32,
    timeout: Duration,
    in_flight: Arc<InFlight>,
    suspects: Suspects,
    flaps: Arc<Flaps>,
    client: Client,
    state: watch::Sender<State>,
    /// Until the first message comes.
    idle: Mutex<Option<Link>>,
    started: Once,
    stop: CancellationToken,
}

/// How the connection is.
#[derive(Debug, Clone)]
enum State {
    /// Since when.
    Connected(Granted, Instant),
    /// Not there, after so many failures in a row; the last of them.
    Away(u32, Option<Failure>),
}

impl Publisher {
    /// Connects only when something is to be published.
    ///
    /// # Errors
    /// `Configuration`, where the address cannot be one.
    pub(crate) fn new(
        target: &Target,
        client_id: String,
        producing: Producing,
        options: &MqttOptions,
        has_properties: bool,
        flaps: Arc<Flaps>,
    ) -> Result<Self, DriverError> {
        let session = Session { client_id, kept: None, receive_maximum: RECEIVE_MAXIMUM };
        let (client, link) = protocol::open(target, &session)?;
        Ok(Self {
            address: target.address(),
            producing,
            has_properties,
            maximum_packet: target.maximum_packet,
            timeout: options.publish_timeout,
            in_flight: InFlight::new(options.queue_messages, options.queue_kib * 1024),
            suspects: Suspects::default(),
            flaps,
            client,
            state: watch::Sender::new(State::Away(0, None)),
            idle: Mutex::new(Some(link)),
            started: Once::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Resolves on the broker's acknowledgement.
    pub(crate) async fn publish(
        &self,
        topic: &Topic,
        message: Message,
        tasks: &TaskTracker,
        is_closed: &AtomicBool,
    ) -> Result<(), DriverError> {
        let share = self.in_flight.enter(message.size())?;
        // Closing waits for whatever has entered before; this may have come after.
        if is_closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let payload = share.hold(message.payload_bytes().cloned().unwrap_or_default());
        self.start(tasks);
        match timeout(self.timeout, self.send(topic, &message, payload)).await {
            Ok(settled) => settled,
            Err(_) => Err(self.timed_out(topic)),
        }
    }

    fn start(&self, tasks: &TaskTracker) {
        self.started.call_once(|| {
            let link = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(link) = link {
                let connection = Connection {
                    address: self.address.clone(),
                    client: self.client.clone(),
                    link,
                    state: self.state.clone(),
                    backoff: Backoff::default(),
                    losses: Losses::new(self.address.clone(), Arc::clone(&self.flaps)),
                };
                tasks.spawn(connection.run(self.stop.clone()));
            }
        });
    }

    async fn send(&self, topic: &Topic, message: &Message, payload: Bytes) -> Result<(), DriverError> {
        let (mut losses, mut turn) = (0, None);
        loop {
            let outgoing =
                Outgoing::new(topic, message, payload.clone(), &self.producing, self.has_properties)?;
            let size = outgoing.packet_size();
            if turn.is_none() {
                turn = (self.suspects.turn(size).await)
                    .map_err(|what_is_known| self.rejected(topic, size, &what_is_known))?;
            }
            let granted = if turn.is_some() { self.steady().await? } else { self.connected().await? };
            self.check(size, granted)?;
            match self.client.publish(outgoing).await {
                Ok(()) => {
                    self.suspects.took(size);
                    return Ok(());
                }
                Err(Unsettled::Refused(error)) => {
                    let text = format!("{} The topic is '{}', at {}.", error.message, topic, self.address);
                    return Err(DriverError::new(error.kind, text));
                }
                Err(Unsettled::Lost) => losses += 1,
            }
            if let Some(error) = self.blamed(topic, size, turn.is_some()) {
                return Err(error);
            }
            if self.producing.exactly_once || losses > self.producing.attempts {
                return Err(self.lost(topic, losses));
            }
        }
    }

    /// The error of a message that the connection has ended over, where that is plain by now.
    fn blamed(&self, topic: &Topic, size: usize, had_turn: bool) -> Option<DriverError> {
        let suspicion = match &*self.state.borrow() {
            State::Away(_, Some(last)) if self.suspects.is_possible(size) => last.suspicion,
            _ => Suspicion::None,
        };
        if suspicion == Suspicion::None {
            return None;
        }
        let ends = self.suspects.ended(size, had_turn);
        let what_is_known = match suspicion {
            Suspicion::Told if had_turn => "says that it takes no message of this size".to_owned(),
            Suspicion::Possible if ends >= ACCIDENTS => format!(
                "hung up {ends} times when it was sent a message of this size or less, and has taken none that is as \
                 large; probably it is over the broker's limit"
            ),
            _ => return None,
        };
        self.suspects.judge(size, &what_is_known);
        self.flaps.forget();
        Some(self.rejected(topic, size, &what_is_known))
    }

    fn rejected(&self, topic: &Topic, size: usize, what_is_known: &str) -> DriverError {
        let text = format!(
            "The MQTT broker at {} {what_is_known}. The message to '{topic}' makes a packet of {size} bytes; set \
             maximumPacketSize to what the broker takes.",
            self.address
        );
        DriverError::new(ErrorKind::Rejected, text)
    }

    /// A connection that has lasted for a moment.
    async fn steady(&self) -> Result<Granted, DriverError> {
        let mut state = self.state.subscribe();
        loop {
            self.connected().await?;
            let State::Connected(granted, since) = *state.borrow_and_update() else { continue };
            if timeout_at(since + STEADY, state.changed()).await.is_err() {
                return Ok(granted);
            }
        }
    }

    async fn connected(&self) -> Result<Granted, DriverError> {
        if let State::Connected(granted, _) = &*self.state.borrow() {
            return Ok(*granted);
        }
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Connected(granted, _) => return Ok(*granted),
                State::Away(failures, Some(last)) if *failures > u32::from(self.producing.attempts) => {
                    return Err(last.at(&self.address));
                }
                State::Away(..) => {}
            }
            state.changed().await.map_err(|_| closed())?;
        }
    }

    fn check(&self, size: usize, granted: Granted) -> Result<(), DriverError> {
        let (address, maximum_qos) = (&self.address, granted.maximum_qos);
        let unable = |text| Err(DriverError::new(ErrorKind::Configuration, text));
        if maximum_qos <= u8::from(self.producing.exactly_once) {
            return unable(format!(
                "The MQTT broker at {address} takes messages up to QoS {maximum_qos} only; see producer.qos."
            ));
        }
        if self.producing.retained && !granted.retains {
            return unable(format!(
                "The MQTT broker at {address} retains no messages; leave producer.retained out."
            ));
        }
        let most = granted.maximum_packet.unwrap_or(u32::MAX).min(self.maximum_packet);
        if u32::try_from(size).is_ok_and(|size| size <= most) {
            return Ok(());
        }
        let whose = match granted.maximum_packet {
            Some(told) if told == most => "the broker takes",
            _ => "maximumPacketSize allows",
        };
        let text = format!("The message makes an MQTT packet of {size} bytes; {whose} {most} at the most.");
        Err(DriverError::new(ErrorKind::TooLarge, text))
    }

    fn lost(&self, topic: &Topic, losses: u8) -> DriverError {
        let times = if losses == 1 { String::new() } else { format!("{losses} times ") };
        let text = format!(
            "The connection to the MQTT broker at {} was lost {times}before it acknowledged a message to '{topic}'; it may \
             have it, or not take a message like this one.",
            self.address
        );
        DriverError::new(ErrorKind::Unreachable, text)
    }

    fn timed_out(&self, topic: &Topic) -> DriverError {
        if let State::Away(_, Some(last)) = &*self.state.borrow() {
            return last.at(&self.address);
        }
        let text = format!(
            "The MQTT broker at {} did not acknowledge a message to '{topic}' within {} ms.",
            self.address,
            self.timeout.as_millis()
        );
        DriverError::new(ErrorKind::Unreachable, text)
    }

    /// Waits for what is under way, then ends the connection.
    pub(crate) async fn close(&self) {
        if timeout(self.timeout, self.in_flight.settled()).await.is_err() {
            warn!(
                address = self.address,
                "Messages on their way to MQTT were not settled in time and count as failed."
            );
        }
        self.stop.cancel();
    }
}

/// The task that owns the connection.
struct Connection {
    address: String,
    client: Client,
    link: Link,
    state: watch::Sender<State>,
    backoff: Backoff,
    losses: Losses,
}

impl Connection {
    async fn run(mut self, stop: CancellationToken) {
        let mut stopped = pin!(stop.cancelled());
        loop {
            // In this order: what comes is there before anybody is told to stop, and costs no look at the other.
            let event = tokio::select! {
                biased;
                event = self.link.poll() => event,
                () = &mut stopped => break,
            };
            match event {
                Ok(Event::Connected(granted)) => self.connected(granted),
                Ok(_) => {}
                Err(failure) => {
                    let wait = self.failed(failure);
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = &mut stopped => return,
                    }
                }
            }
        }
        self.client.disconnect();
        let _ = timeout(GOODBYE, async { while self.link.poll().await.is_ok() {} }).await;
    }

    fn connected(&mut self, granted: Granted) {
        self.backoff.connected();
        self.losses.made();
        debug!(address = self.address, "There is a connection to publish to MQTT by.");
        self.state.send_replace(State::Connected(granted, Instant::now()));
    }

    fn failed(&mut self, failure: Failure) -> Duration {
        let failures = match &*self.state.borrow() {
            State::Away(failures, _) => failures.saturating_add(1),
            State::Connected(..) => 1,
        };
        self.losses.failed(&failure);
        let error = failure.at(&self.address);
        debug!(%error, failures, "There is no connection to publish to MQTT by; that is tried until it succeeds.");
        // First, so that whoever is told of a loss finds that there is no connection.
        self.state.send_replace(State::Away(failures, Some(failure)));
        self.link.reset();
        self.backoff.wait()
    }
}
