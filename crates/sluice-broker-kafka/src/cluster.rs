//! What all clients of one driver know about their cluster together: its address, and the trouble it is in.
//!
//! librdkafka reconnects and retries by itself, and tells why only beside the calls that fail for it. Here
//! the two come together: an error names the address and the last trouble, and an outage is one log line at
//! its beginning and one at its end, however many clients meet it.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_broker::{DriverError, ErrorKind};
use tokio_util::task::TaskTracker;
use tracing::{Level, debug, info, trace, warn};

use crate::{
    error::{is_passing, kind_of},
    throttle::{QUIET, Throttle},
};

/// The cluster behind a driver.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: String,
    trouble: Mutex<Trouble>,
    /// What librdkafka warned of, by the name that it gives to the occasion.
    warnings: Mutex<Throttle>,
    /// The ends of clients under way, so that closing can wait for them.
    pub(crate) ends: TaskTracker,
}

#[derive(Debug, Default)]
struct Trouble {
    /// The last error of a connection since the cluster answered, with librdkafka's own words.
    last: Option<(ErrorKind, String)>,
    /// When the outage was logged whose end is still to be.
    out_since: Option<Instant>,
}

impl Trouble {
    /// Whether this is the beginning of an outage, rather than more of one.
    fn begins(&mut self, now: Instant) -> bool {
        let begins = self.out_since.is_none();
        self.out_since.get_or_insert(now);
        begins
    }

    /// Whether this is the end of an outage. Where some clients are answered and others are not, outages
    /// would begin and end with every attempt to connect, so each lasts a while.
    fn ends(&mut self, now: Instant) -> bool {
        self.last = None;
        self.out_since.take_if(|since| now.duration_since(*since) >= QUIET).is_some()
    }
}

impl Cluster {
    pub(crate) fn new(servers: &str) -> Arc<Self> {
        Arc::new(Self {
            servers: servers.to_owned(),
            trouble: Mutex::default(),
            warnings: Mutex::default(),
            ends: TaskTracker::new(),
        })
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

    /// The error where brokers answer and do not say which cluster they are of.
    pub(crate) fn nameless(&self) -> DriverError {
        let servers = &self.servers;
        let text = format!(
            "Kafka at {servers} answers without an id of its cluster, by which positions there are told from \
             those at others. Brokers have one since Kafka 0.10.1."
        );
        DriverError::new(ErrorKind::Other, text)
    }

    /// Notes that the cluster answers, so that older trouble explains no later error.
    pub(crate) fn answered(&self) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).ends(Instant::now()) {
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
        let is_outage = is_summary || kind_of(error) == ErrorKind::Refused;
        if is_outage && trouble.begins(Instant::now()) {
            let reason = trouble.last.as_ref().map_or(reason, |(_, reason)| reason);
            warn!(servers = %self.servers, reason, "Kafka does not answer; connections are tried again until it does.");
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let servers = &self.servers;
        match severity(level, facility, line) {
            Level::WARN => {
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(left_out) = warnings.admit(facility, Instant::now()) {
                    warn!(%servers, facility, line, left_out, "librdkafka warns.");
                }
            }
            Level::DEBUG => debug!(%servers, facility, line, "librdkafka informs."),
            _ => trace!(%servers, facility, line, "librdkafka writes."),
        }
    }
}

/// How much a line of librdkafka's log matters to an operator.
fn severity(level: RDKafkaLogLevel, facility: &str, line: &str) -> Level {
    use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
    match (level, facility) {
        // What comes as an error too, and is told there.
        (_, "FAIL" | "ERROR") => Level::TRACE,
        // A Kafka that is just starting has no numbers to give to producers yet.
        (Warning, "GETPID") if line.ends_with("retrying") => Level::DEBUG,
        (Emerg | Alert | Critical | Error | Warning, _) => Level::WARN,
        (Notice | Info, _) => Level::DEBUG,
        (Debug, _) => Level::TRACE,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_number_of_a_producer_is_no_warning() {
        let line = "Failed to acquire idempotence PID from broker b: Coordinator load in progress: retrying";
        assert_eq!(severity(RDKafkaLogLevel::Warning, "GETPID", line), Level::DEBUG);
        let line = "Acquired invalid PID{-1,0}: ignoring";
        assert_eq!(severity(RDKafkaLogLevel::Warning, "GETPID", line), Level::WARN);
        assert_eq!(severity(RDKafkaLogLevel::Warning, "COMMITFAIL", "retrying"), Level::WARN);
    }

    #[test]
    fn an_outage_lasts_a_while_where_some_clients_are_answered() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        assert!(trouble.begins(start));
        assert!(!trouble.ends(start + QUIET / 2));
        assert!(!trouble.begins(start + QUIET / 2));
        assert!(trouble.ends(start + QUIET));
        assert!(!trouble.ends(start + QUIET), "it ended already");
        assert!(trouble.begins(start + QUIET));
    }
}
