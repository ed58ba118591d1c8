//! Lets the calls of one subscription out, as its [circuit](Breaker) says, and remembers how that stands.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use sluice_api::{CallbackBreaker, Subscription};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    breaker::{Breaker, Leave},
    clock::{millis, now_ms},
    retries::{Circuit, Opened, Retries},
    retry,
    told::Told,
};

/// The gate of one subscription. Without a circuit breaker it is always open.
pub(crate) struct Gate<'g> {
    breaker: Option<Mutex<Breaker>>,
    retries: &'g Retries,
    subscription: &'g Subscription,
    told: &'g Told,
    /// How many circuits are open.
    open_circuits: &'g Gauge,
    /// Sent whenever waiting calls should look again.
    changes: watch::Sender<()>,
}

/// A call's leave to go out. Dropped without an answer it counts for nothing.
pub(crate) struct Pass<'g> {
    gate: &'g Gate<'g>,
    probe: bool,
}

impl<'g> Gate<'g> {
    /// As an earlier session has left it.
    pub(crate) fn new(
        settings: Option<&CallbackBreaker>,
        retries: &'g Retries,
        (subscription, told): (&'g Subscription, &'g Told),
        open_circuits: &'g Gauge,
    ) -> Self {
        let breaker = settings.map(|settings| {
            let Circuit { failures, open } = retries.circuit();
            let Some(Opened { until, wait }) = open else {
                return Breaker::closed(settings.clone(), failures);
            };
            // Never longer than one whole wait with its jitter, also where the clock was put back.
            let rest = until.saturating_sub(now_ms()).min(wait + wait / 5);
            open_circuits.inc();
            let until = Instant::now() + Duration::from_millis(rest);
            Breaker::open(settings.clone(), until, Duration::from_millis(wait))
        });
        if breaker.is_none() {
            retries.set_circuit(Circuit::default());
        }
        if retries.circuit().open.is_none() {
            told.anew();
        }
        let (breaker, changes) = (breaker.map(Mutex::new), watch::channel(()).0);
        Self { breaker, retries, subscription, told, open_circuits, changes }
    }

    /// Resolves when a call may go out, as it looks: another may be quicker.
    pub(crate) async fn wait(&self) {
        let Some(breaker) = &self.breaker else { return };
        let mut changes = self.changes.subscribe();
        loop {
            let leave = lock(breaker).peek(Instant::now());
            match leave {
                Leave::Go | Leave::Probe => return,
                Leave::Later(until) => tokio::select! {
                    _ = changes.changed() => {}
                    () = async { match until {
                        Some(until) => sleep_until(until).await,
                        None => std::future::pending().await,
                    } } => {}
                },
            }
        }
    }

    /// Leave for a call; `None` where it has to [wait](Self::wait).
    pub(crate) fn pass(&'g self) -> Option<Pass<'g>> {
        let Some(breaker) = &self.breaker else { return Some(Pass { gate: self, probe: false }) };
        let leave = lock(breaker).ask(Instant::now());
        match leave {
            Leave::Go => Some(Pass { gate: self, probe: false }),
            Leave::Probe => Some(Pass { gate: self, probe: true }),
            Leave::Later(_) => None,
        }
    }

    /// Changes the circuit and tells whoever has to know. Whether it is closed.
    fn change(&self, change: impl FnOnce(&mut Breaker)) -> bool {
        let Some(breaker) = &self.breaker else { return true };
        let mut breaker = lock(breaker);
        let was_open = breaker.failures().is_none();
        change(&mut breaker);
        let now = Instant::now();
        let open = breaker.opened(now).map(|(until, wait)| Opened {
            until: now_ms() + millis(until.saturating_duration_since(now)),
            wait: millis(wait),
        });
        let closed = open.is_none();
        self.retries.set_circuit(Circuit { failures: breaker.failures().unwrap_or_default(), open });
        drop(breaker);
        match (was_open, closed) {
            (false, false) => drop(self.open_circuits.inc()),
            (true, true) => {
                self.open_circuits.dec();
                self.told.closed(self.subscription);
            }
            _ => {}
        }
        self.changes.send_replace(());
        closed
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        if self.breaker.as_ref().is_some_and(|breaker| lock(breaker).failures().is_none()) {
            self.open_circuits.dec();
        }
    }
}

impl Pass<'_> {
    /// The call succeeded.
    pub(crate) fn succeeded(mut self) {
        let probe = std::mem::take(&mut self.probe);
        self.gate.change(|breaker| breaker.succeeded(probe));
    }

    /// The call failed. Whether the circuit is closed all the same.
    pub(crate) fn failed(mut self) -> bool {
        let probe = std::mem::take(&mut self.probe);
        let closed = self.gate.change(|breaker| breaker.failed(probe, Instant::now(), retry::random()));
        if let (Some(breaker), Some(opened)) = (&self.gate.breaker, self.gate.retries.circuit().open) {
            let failures = lock(breaker).bound();
            self.gate.told.opened(self.gate.subscription, failures, opened.until);
        }
        closed
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.gate.change(Breaker::abandoned);
        }
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}
