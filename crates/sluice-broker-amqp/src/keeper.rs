//! The connection that publishes, for as long as the driver is open: made when the first message comes, made again
//! whenever it was lost, and what is known about it meanwhile.
//!
//! Whoever publishes waits while the first try is under way, and through an outage that has just begun. Once it is
//! known that the broker is away, publishers are told at once, and one task alone goes on trying.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use sluice_broker::{DriverError, ErrorKind, Outage};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Pause},
    error::closed,
    outlet::Outlet,
};

/// Keeps one connection.
pub(crate) struct Keeper {
    broker: Arc<Broker>,
    state: watch::Sender<State>,
    is_started: AtomicBool,
    closing: CancellationToken,
}

/// What is known about the connection.
#[derive(Clone)]
enum State {
    /// The first try is to come, or under way.
    Starting,
    Live(Arc<Outlet>),
    Away(Outage),
    Closed,
}

impl Keeper {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        Self {
            broker,
            state: watch::Sender::new(State::Starting),
            is_started: AtomicBool::new(false),
            closing: CancellationToken::new(),
        }
    }

    /// The connection.
    ///
    /// # Errors
    /// Why there is none, once waiting for it is of no use.
    pub(crate) async fn outlet(&self) -> Result<Arc<Outlet>, DriverError> {
        if let State::Live(outlet) = &*self.state.borrow()
            && !outlet.ended().is_cancelled()
        {
            return Ok(outlet.clone());
        }
        // What seldom happens takes no room in each publish.
        Box::pin(self.next_outlet()).await
    }

    async fn next_outlet(&self) -> Result<Arc<Outlet>, DriverError> {
        if !self.is_started.swap(true, Ordering::Relaxed) {
            tokio::spawn(keep(self.broker.clone(), self.state.clone(), self.closing.clone()));
        }
        let mut state = self.state.subscribe();
        loop {
            let known = state.borrow_and_update().clone();
            match known {
                State::Live(outlet) if !outlet.ended().is_cancelled() => return Ok(outlet),
                State::Live(outlet) => lost(&self.state, &outlet, self.broker.lost()),
                State::Closed => return Err(closed()),
                State::Starting => state.changed().await.map_err(|_| closed())?,
                State::Away(outage) if outage.is_known() => return Err(outage.error().clone()),
                State::Away(outage) => {
                    // Where the time is over, the outage is known.
                    let _ = timeout_at(outage.known_at().into(), state.changed()).await;
                }
            }
        }
    }

    /// Notes that a connection is of no use any more, and why.
    pub(crate) fn lost(&self, outlet: &Arc<Outlet>, error: DriverError) {
        lost(&self.state, outlet, error);
    }

    /// Closes the connection in order, and makes no other.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        if let State::Live(outlet) = self.state.send_replace(State::Closed) {
            outlet.close().await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn lost(state: &watch::Sender<State>, outlet: &Arc<Outlet>, error: DriverError) {
    state.send_if_modified(|state| {
        let is_this = matches!(state, State::Live(live) if Arc::ptr_eq(live, outlet));
        if is_this {
            // Whatever ended it, the next may stand.
            let error = DriverError { kind: ErrorKind::Unreachable, ..error };
            *state = State::Away(Outage::lost(error));
        }
        is_this
    });
    // Nobody takes it from here; whoever keeps the connection makes another, also where this one seems to stand.
    outlet.ended().cancel();
}

async fn keep(broker: Arc<Broker>, state: watch::Sender<State>, closing: CancellationToken) {
    let mut pause = Pause::default();
    loop {
        let opened = tokio::select! {
            opened = Outlet::open(&broker) => opened,
            () = closing.cancelled() => return,
        };
        match opened {
            Ok(outlet) => {
                pause = Pause::default();
                let outlet = Arc::new(outlet);
                if !note(&state, |_| State::Live(outlet.clone())) {
                    return outlet.close().await;
                }
                tokio::select! {
                    () = outlet.ended().cancelled() => lost(&state, &outlet, broker.lost()),
                    () = closing.cancelled() => return,
                }
            }
            Err(error) => {
                note(&state, |before| State::Away(Outage::failed(before, error)));
            }
        }
        // Also after a connection that stood: one that ends as soon as it is made must not be made all the time.
        pause.lengthen(&broker.options);
        let until = pause.until().unwrap_or_else(Instant::now);
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = closing.cancelled() => return,
        }
    }
}

/// Says what is known now, with what was known of an outage before; false where the driver was closed meanwhile.
fn note(state: &watch::Sender<State>, known: impl FnOnce(Option<&Outage>) -> State) -> bool {
    state.send_if_modified(|state| {
        let before = match state {
            State::Closed => return false,
            State::Away(before) => Some(&*before),
            State::Starting | State::Live(_) => None,
        };
        *state = known(before);
        true
    })
}
