//! One topic in the journal: who holds it, by which connection it is read, and how that goes.
//!
//! Handles come and go with deployments of the API; the lane stays as long as one of them is open, and with it the one
//! reader. By which driver it reads is said by the newest handle.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_api::ApiId;
use tokio::{sync::watch, time::timeout};

use super::{
    JournalMetrics,
    names::{Name, digest},
};
use crate::{BrokerDriver, ConsumeSpec, DriverError, ErrorKind, Log, StartAt, StopAt};

/// The group in the log whose existence says that the one at the broker exists: from then on the broker keeps what is
/// published, and so everything comes into the journal.
const BEGUN: &str = "sluice:begun";

/// How long somebody who wants to read waits for the broker to keep messages, the first time.
const PATIENCE: Duration = Duration::from_secs(5);

/// By what a topic is read.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) driver: Arc<dyn BrokerDriver>,
    pub(super) metrics: JournalMetrics,
}

pub(super) struct Lane {
    pub(super) api: ApiId,
    pub(super) name: Name,
    /// The group that the broker keeps messages for.
    pub(super) group: Arc<str>,
    pub(super) log: Log,
    /// The route of the newest open handle; `None` when there is none any more, which is the end.
    pub(super) route: watch::Sender<Option<Route>>,
    /// Becomes true, or loses its sender, when nothing is read any more.
    ended: watch::Receiver<bool>,
    handles: Mutex<Handles>,
    state: watch::Sender<State>,
}

/// Open handles, in the order in which they came.
struct Handles {
    open: Vec<(u64, Route)>,
    next: u64,
    /// Whether there was a last one.
    ended: bool,
}

/// How reading goes.
#[derive(Default)]
struct State {
    /// Whether the broker keeps messages for this lane, whatever becomes of the connection.
    has_begun: bool,
    /// Why no message comes in just now.
    error: Option<DriverError>,
}

impl Lane {
    /// A lane with one open handle, which has the number 0. The other value is for its reader.
    pub(super) fn new(
        api: &ApiId,
        name: &Name,
        log: &Log,
        route: &Route,
    ) -> (Arc<Self>, watch::Sender<bool>) {
        let (ending, ended) = watch::channel(false);
        // Of this gateway: two that serve the same API must not take each other's messages. Short, as brokers have
        // bounds on names.
        let unique = digest([log.id(), name.stored.as_str()]);
        let has_begun = log.committed(&name.stored, BEGUN).is_some();
        let lane = Self {
            api: api.clone(),
            name: name.clone(),
            group: format!("sluice/{api}/{}", &unique[..32]).into(),
            log: log.clone(),
            route: watch::Sender::new(Some(route.clone())),
            ended,
            handles: Mutex::new(Handles { open: vec![(0, route.clone())], next: 1, ended: false }),
            state: watch::Sender::new(State { has_begun, error: None }),
        };
        (Arc::new(lane), ending)
    }

    /// One handle more, unless the lane is at its end; its number.
    pub(super) fn enter(&self, route: &Route) -> Option<u64> {
        let mut handles = self.handles();
        if handles.ended {
            return None;
        }
        let number = handles.next;
        handles.next += 1;
        handles.open.push((number, route.clone()));
        self.route.send_replace(Some(route.clone()));
        Some(number)
    }

    /// One handle less. The last one ends the lane.
    pub(super) fn leave(&self, number: u64) {
        let mut handles = self.handles();
        handles.open.retain(|(open, _)| *open != number);
        handles.ended = handles.open.is_empty();
        self.route.send_replace(handles.open.last().map(|(_, route)| route.clone()));
    }

    /// Told, at the latest by the loss of its sender, when nothing is read any more.
    pub(super) fn ending(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Waits for the reader to end, if the lane is at its end.
    pub(super) async fn ended(&self) {
        let has_ended = self.handles().ended;
        if has_ended {
            let _ = self.ending().wait_for(|ended| *ended).await;
        }
    }

    /// Notes durably that the broker keeps messages from now on.
    pub(super) async fn begin(&self) -> Result<(), DriverError> {
        if !self.state.borrow().has_begun {
            let start = StartAt::Group { name: BEGUN.into(), from_earliest: true, sole: true };
            let topics = vec![self.name.stored.clone()];
            drop(self.log.consume(ConsumeSpec { topics, start, stop: StopAt::Never }).await?);
            self.state.send_modify(|state| state.has_begun = true);
        }
        Ok(())
    }

    /// Waits until everything that is published from now on is sure to come in. Fails while the broker does not let
    /// that begin; once it has, what is there can be read whether the broker is away or not.
    pub(super) async fn begun(&self) -> Result<(), DriverError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| state.has_begun || state.error.is_some());
        if let Ok(Ok(state)) = timeout(PATIENCE, settled).await {
            return if state.has_begun {
                Ok(())
            } else {
                Err(self.silent(&state).unwrap_or_else(|| self.late()))
            };
        }
        Err(self.late())
    }

    /// Why no message comes in just now, if none does.
    pub(super) fn error(&self) -> Option<DriverError> {
        self.silent(&self.state.borrow())
    }

    /// Notes why no message comes in; `None` once they do.
    pub(super) fn set_error(&self, error: Option<DriverError>) {
        self.state.send_modify(|state| state.error = error);
    }

    fn silent(&self, state: &State) -> Option<DriverError> {
        let DriverError { kind, message } = state.error.clone()?;
        let text =
            format!("The topic {} is not read into the journal at the moment: {message}", self.name.wanted);
        Some(DriverError::new(kind, text.replace(self.name.stored.as_str(), self.name.wanted.as_str())))
    }

    fn late(&self) -> DriverError {
        let text = format!(
            "The broker of the topic {} did not answer the journal within {} s.",
            self.name.wanted,
            PATIENCE.as_secs()
        );
        DriverError::new(ErrorKind::Unreachable, text)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
