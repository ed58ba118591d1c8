//! A connection that is made again whenever it is lost, and what is known about it meanwhile.
//!
//! One task for each link connects, waits for the end of the connection and connects again, for as long as the driver
//! is open. Publishers and readers watch what it says. It logs when something changes, not for each try.

use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::Event;
use sluice_broker::{DriverError, ErrorKind, Outage};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    connect::{Live, Role, Target},
    error::{self, closed},
};

const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often a connection is looked at that said nothing about its end.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// What is known about a connection.
#[derive(Clone)]
pub(crate) enum State {
    /// The first try is under way.
    Starting,
    Live(Arc<Live>),
    /// The last try failed, or the connection was lost; another follows.
    Away(Outage),
    Closed,
}

/// A connection of one role, for as long as the driver is open.
pub(crate) struct Link {
    target: Arc<Target>,
    role: Role,
    state: watch::Sender<State>,
    is_started: AtomicBool,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Link {
    pub(crate) fn new(target: Arc<Target>, role: Role) -> Self {
        Self {
            target,
            role,
            state: watch::Sender::new(State::Starting),
            is_started: AtomicBool::new(false),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.target.address
    }

    /// What is known, from now on. Connects if nobody has asked before.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        if !self.is_started.swap(true, Ordering::Relaxed) && !self.closing.is_cancelled() {
            let keeping = keep(self.target.clone(), self.role, self.state.clone(), self.closing.clone());
            self.tasks.spawn(keeping);
        }
        self.state.subscribe()
    }

    /// A connection that works. Waits for the first try, and for a lost connection to be noticed; fails with what is
    /// known where the last try failed.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, DriverError> {
        self.wait(|_| true).await
    }

    /// A connection that works. Waits through an outage that has just begun, and fails once that is of no use.
    pub(crate) async fn live_again(&self) -> Result<Arc<Live>, DriverError> {
        self.wait(Outage::is_known).await
    }

    async fn wait(&self, is_final: impl Fn(&Outage) -> bool) -> Result<Arc<Live>, DriverError> {
        let mut state = self.watch();
        loop {
            let known = state.borrow_and_update().clone();
            match known {
                State::Live(live) if live.works() => return Ok(live),
                State::Away(outage) if is_final(&outage) => return Err(outage.error().clone()),
                State::Closed => return Err(closed()),
                State::Away(outage) => {
                    // Where the time is over, the outage is known.
                    let _ = timeout_at(outage.known_at().into(), state.changed()).await;
                }
                State::Starting | State::Live(_) => state.changed().await.map_err(|_| closed())?,
            }
        }
    }

    /// Why the last try failed, if it did.
    pub(crate) fn trouble(&self) -> Option<DriverError> {
        match &*self.state.borrow() {
            State::Away(outage) => Some(outage.error().clone()),
            State::Starting | State::Live(_) | State::Closed => None,
        }
    }

    /// Runs something that ends before the link counts as closed. Without a runtime everything has ended.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.tasks.spawn_on(work, &runtime);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Closes the connection and makes no other. Waits for that, and for what was spawned.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.state.send_replace(State::Closed);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

async fn keep(target: Arc<Target>, role: Role, state: watch::Sender<State>, closing: CancellationToken) {
    let mut waits = Waits::default();
    let mut said: Option<String> = None;
    loop {
        let connected = tokio::select! {
            connected = target.connect(role) => connected,
            () = closing.cancelled() => break,
        };
        let outage = match connected {
            Ok(live) => {
                if said.take().is_some() {
                    debug!(address = target.address, %role, "RabbitMQ is connected again.");
                }
                let live = Arc::new(live);
                waits = Waits::default();
                state.send_replace(State::Live(live.clone()));
                let lost = tokio::select! {
                    lost = lost(&target, role, &live) => Some(lost),
                    () = closing.cancelled() => None,
                };
                live.end(GOOD_BYE).await;
                match lost {
                    Some(error) => Outage::lost(error),
                    None => break,
                }
            }
            Err(error) => match &*state.borrow() {
                State::Away(before) => Outage::failed(Some(before), error),
                _ => Outage::failed(None, error),
            },
        };
        if said.as_ref() != Some(&outage.error().message) {
            debug!(
                address = target.address, %role, error = %outage.error(),
                "RabbitMQ is not connected; that is tried again and again."
            );
            said = Some(outage.error().message.clone());
        }
        state.send_replace(State::Away(outage));
        // Nothing comes of it where the link is closed meanwhile.
        let _ = timeout(waits.next(), closing.cancelled()).await;
    }
    state.send_replace(State::Closed);
}

/// Waits for the end of a connection, and says why it came.
async fn lost(target: &Target, role: Role, live: &Live) -> DriverError {
    let address = &target.address;
    let mut events = pin!(live.connection.events_listener());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = sleep(LOOK) => None,
        };
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                warn!(address, %role, why, "RabbitMQ takes no messages until further notice.");
                live.set_blocked(Some(why));
            }
            Some(Event::ConnectionUnblocked) => {
                info!(address, %role, "RabbitMQ takes messages again.");
                live.set_blocked(None);
            }
            // The end of a channel is told in the same way, and is the business of whoever has it.
            Some(Event::Error(error)) if !live.works() => {
                let cause = error::cause(&error);
                let text = format!("The connection to RabbitMQ {address} was lost: {cause}.");
                return DriverError::new(ErrorKind::Unreachable, text);
            }
            _ if !live.works() => {
                return DriverError::new(
                    ErrorKind::Unreachable,
                    format!("The connection to RabbitMQ {address} was closed."),
                );
            }
            _ => {}
        }
    }
}

/// Waits that double up to a bound, each made shorter by chance by up to a half, so that many gateways do not come
/// back at once.
#[derive(Debug)]
pub(crate) struct Waits(Duration);

impl Default for Waits {
    fn default() -> Self {
        Self(SHORTEST_WAIT)
    }
}

impl Waits {
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        wait - wait.mul_f64(chance() / 2.0)
    }
}

/// A number from 0 to 1, by the seeds that the standard library draws for its maps.
fn chance() -> f64 {
    let drawn = RandomState::new().hash_one(());
    f64::from(u32::try_from(drawn >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds_and_are_shortened_by_half_at_the_most() {
        let mut waits = Waits::default();
        for longest in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = waits.next().as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{wait} ms of {longest}");
        }
    }
}
