//! Publishing: one connection for all messages of a driver, many of them under way at a time.
//!
//! The connection is made when the first message comes and kept until the driver is closed. A message that comes while
//! it is away waits for it, as long as attempts have not failed too often; one whose acknowledgement is lost with the
//! connection is sent again at QoS 1, since at least once is what was asked for, and fails at QoS 2.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Headers, Message, Topic};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    MqttOptions,
    backoff::Backoff,
    error::{Failure, Suspicion, closed},
    in_flight::InFlight,
    message::Outgoing,
    protocol::{self, Client, Event, Granted, Link, Session, Unsettled},
    settings::{Producing, Target},
};

/// How long the broker's answer to a DISCONNECT is waited for; there is none but the end of the connection.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);
/// A packet of so many bytes or less is too large for no broker.
const UNSUSPECTED: usize = 1024;
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
    /// The largest message that the broker has taken, in bytes.
    largest_taken: AtomicUsize,
    /// Held by whoever sends a message again that may have been too large, so that the next loss tells.
    suspects: AsyncMutex<()>,
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
    Connected(Granted),
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
            largest_taken: AtomicUsize::new(0),
            suspects: AsyncMutex::default(),
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
        match timeout(self.timeout, self.send(topic, message.headers(), payload)).await {
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
                };
                tasks.spawn(connection.run(self.stop.clone()));
            }
        });
    }

    async fn send(&self, topic: &Topic, headers: &Headers, payload: Bytes) -> Result<(), DriverError> {
        let (mut losses, mut hung_up, mut alone) = (0, 0, None);
        loop {
            let granted = self.connected().await?;
            let message =
                Outgoing::new(topic, headers, payload.clone(), &self.producing, self.has_properties)?;
            let size = message.packet_size();
            self.check(size, granted)?;
            match self.client.publish(message).await {
                Ok(()) => {
                    self.largest_taken.fetch_max(size, Ordering::Relaxed);
                    return Ok(());
                }
                Err(Unsettled::Refused(error)) => {
                    let text = format!("{} The topic is '{}', at {}.", error.message, topic, self.address);
                    return Err(DriverError::new(error.kind, text));
                }
                Err(Unsettled::Lost) => losses += 1,
            }
            let suspicion = self.suspicion(size);
            hung_up += u8::from(suspicion == Suspicion::Possible);
            if suspicion == Suspicion::Told && alone.is_some() {
                return Err(self.too_large(topic, size));
            }
            if self.producing.exactly_once || losses > self.producing.attempts {
                // One loss may be anything; the same end each time, and with no other suspect, is the message.
                let is_to_blame = alone.is_some() && hung_up == losses;
                return Err(if is_to_blame {
                    self.not_taken(topic, size, losses)
                } else {
                    self.lost(topic, losses)
                });
            }
            if suspicion != Suspicion::None && alone.is_none() {
                alone = Some(self.suspects.lock().await);
            }
        }
    }

    /// Whether a message of this size may have ended the last connection; one that is no larger than others that the
    /// broker took did not.
    fn suspicion(&self, size: usize) -> Suspicion {
        match &*self.state.borrow() {
            State::Away(_, Some(last))
                if size > self.largest_taken.load(Ordering::Relaxed).max(UNSUSPECTED) =>
            {
                last.suspicion
            }
            _ => Suspicion::None,
        }
    }

    fn not_taken(&self, topic: &Topic, size: usize, losses: u8) -> DriverError {
        let text = format!(
            "The MQTT broker at {} hung up {losses} times on a message of {size} bytes to '{topic}', which is larger than \
             any that it took; set maximumPacketSize to what it takes.",
            self.address
        );
        DriverError::new(ErrorKind::Rejected, text)
    }

    fn too_large(&self, topic: &Topic, size: usize) -> DriverError {
        let text = format!(
            "The MQTT broker at {} does not take a message of {size} bytes to '{topic}'; set maximumPacketSize to what it \
             takes.",
            self.address
        );
        DriverError::new(ErrorKind::Rejected, text)
    }

    async fn connected(&self) -> Result<Granted, DriverError> {
        if let State::Connected(granted) = &*self.state.borrow() {
            return Ok(*granted);
        }
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Connected(granted) => return Ok(*granted),
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
        if let State::Away(failures @ 1.., _) = *self.state.borrow() {
            info!(address = self.address, failures, "Publishing to MQTT goes on.");
        }
        self.state.send_replace(State::Connected(granted));
    }

    fn failed(&mut self, failure: Failure) -> Duration {
        let failures = match &*self.state.borrow() {
            State::Away(failures, _) => failures.saturating_add(1),
            State::Connected(_) => 1,
        };
        if failures == 1 {
            let error = failure.at(&self.address);
            warn!(%error, "Publishing to MQTT is interrupted; connecting is tried again until it succeeds.");
        }
        // First, so that whoever is told of a loss finds that there is no connection.
        self.state.send_replace(State::Away(failures, Some(failure)));
        self.link.reset();
        self.backoff.wait()
    }
}
