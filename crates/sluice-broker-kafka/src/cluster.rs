//! What all clients of one driver know about their cluster together: its address, and the trouble it is in.
//!
//! librdkafka reconnects and retries by itself, and tells why only beside the calls that fail for it. Here
//! the two come together: an error names the address and the last trouble, and an outage is one log line at
//! its beginning and one at its end, however many clients meet it.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_broker::{DriverError, ErrorKind};
use tracing::{debug, info, trace, warn};

use crate::error::{is_passing, kind_of};

/// The cluster behind a driver.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: String,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// The last error of a connection since the cluster answered, with librdkafka's own words.
    last: Option<(ErrorKind, String)>,
    /// Whether the outage was logged and its end is still to be.
    is_out: bool,
}

impl Cluster {
    pub(crate) fn new(servers: &str) -> Arc<Self> {
        Arc::new(Self { servers: servers.to_owned(), trouble: Mutex::default() })
    }

    /// The error of a call; `doing` begins its sentence, as in "Publishing to the topic 'orders'".
    pub(crate) fn error(&self, doing: impl Display, error: &KafkaError) -> DriverError {
        let servers = &self.servers;
        let kind = kind_of(error);
        let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &trouble.last {
            Some((ErrorKind::Refused, trouble)) if kind == ErrorKind::Unreachable => DriverError::new(
                ErrorKind::Refused,
                format!("{doing} failed, because Kafka at {servers} refuses the login: {trouble}"),
            ),
            Some((_, trouble)) if kind == ErrorKind::Unreachable => DriverError::new(
                kind,
                format!("{doing} got no answer from Kafka at {servers}: {reason}; {trouble}"),
            ),
            _ if kind == ErrorKind::PositionLost => DriverError::new(
                kind,
                format!(
                    "{doing} cannot go on: what was still to be read is no longer kept by Kafka at {servers}"
                ),
            ),
            _ => DriverError::new(kind, format!("{doing} failed at Kafka {servers}: {reason}")),
        }
    }

    /// The error of a call that did not end in time, whatever librdkafka is still doing.
    pub(crate) fn timed_out(&self, doing: impl Display) -> DriverError {
        self.error(doing, &KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))
    }

    /// Notes that the cluster answers, so that older trouble explains no later error.
    pub(crate) fn answered(&self) {
        let trouble = std::mem::take(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
        if trouble.is_out {
            info!(servers = %self.servers, "Kafka answers again.");
        }
    }

    fn failed(&self, error: &KafkaError, reason: &str) {
        debug!(servers = %self.servers, reason, "A client of Kafka reports an error.");
        // What concerns a topic or a group goes to whoever asked for it.
        if !is_passing(error) {
            return;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_summary = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !is_summary || trouble.last.is_none() {
            trouble.last = Some((kind_of(error), reason.to_owned()));
        }
        // Single brokers come and go; worth a line is that none is left, or that they refuse us.
        if !trouble.is_out && (is_summary || kind_of(error) == ErrorKind::Refused) {
            trouble.is_out = true;
            let reason = trouble.last.as_ref().map_or(reason, |(_, reason)| reason);
            warn!(servers = %self.servers, reason, "Kafka does not answer; connections are tried again until it does.");
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        let servers = &self.servers;
        match (level, facility) {
            // What comes as an error too, and is told there.
            (_, "FAIL" | "ERROR") => trace!(%servers, facility, line, "librdkafka writes."),
            (Emerg | Alert | Critical | Error | Warning, _) => {
                warn!(%servers, facility, line, "librdkafka warns.");
            }
            (Notice | Info, _) => debug!(%servers, facility, line, "librdkafka informs."),
            (Debug, _) => trace!(%servers, facility, line, "librdkafka writes."),
        }
    }
}

/// Takes down for the cluster what a client of librdkafka reports.
#[derive(Debug, Clone)]
pub(crate) struct Listener(pub(crate) Arc<Cluster>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.failed(&error, reason);
    }
}

impl ConsumerContext for Listener {}
