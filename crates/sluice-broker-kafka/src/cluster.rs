//! What all clients of one driver know about their cluster together: its address, and the trouble it is in.
//!
//! librdkafka reconnects and retries by itself, and tells why only beside the calls that fail for it. Here
//! the two come together: an error names the address and the last trouble. An outage is told at its beginning and at its
//! end, however many clients meet it, to who debugs: operators hear of it once for each API, from who asks brokers.

use std::{
    error::Error,
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_broker::{DriverError, ErrorKind};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::TaskTracker;
use tracing::{Level, debug, trace, warn};

use crate::{
    error::{is_passing, kind_of},
    throttle::{QUIET, Throttle},
    tokens::Tokens,
};

/// How long a refusal must stand until calls under way count as refused. One broker of several may refuse for a
/// moment while others answer.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How librdkafka begins to say that it was given no token, which the token endpoint's own trouble explains.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";

/// What it means where the first words of the protocol are not understood, before librdkafka's own words.
const NOT_KAFKA: &str =
    "what answers there seems not to speak Kafka, or to speak it with another security.protocol";

/// The cluster behind a driver.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: String,
    trouble: Mutex<Trouble>,
    /// Whether there is trouble that an answer may end, so that each acknowledgement need not take a lock to see.
    is_troubled: AtomicBool,
    /// Since when no connection can come about until somebody acts, as far as the cluster has said so since it answered.
    refused: watch::Sender<Option<Instant>>,
    /// What Kafka wants to see of a login by token.
    tokens: Option<Tokens>,
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
    /// Whether a connection ended at its first words last.
    fn is_strange(&self) -> bool {
        self.last.as_ref().is_some_and(|(_, reason)| reason.starts_with(NOT_KAFKA))
    }

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
    pub(crate) fn new(servers: &str, tokens: Option<Tokens>) -> Arc<Self> {
        Arc::new(Self {
            servers: servers.to_owned(),
            trouble: Mutex::default(),
            is_troubled: AtomicBool::new(false),
            refused: watch::Sender::new(None),
            tokens,
            warnings: Mutex::default(),
            ends: TaskTracker::new(),
        })
    }

    /// The addresses, as the settings have them.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Whether clients log in by a token, which they must be given before they can connect.
    pub(crate) const fn uses_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Resolves when there is what a login takes.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), DriverError> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let servers = &self.servers;
        Box::pin(tokens.ready(patience)).await.map_err(|DriverError { kind, message }| {
            DriverError::new(
                kind,
                format!("There is no token to log in to Kafka at {servers} with: {message}"),
            )
        })
    }

    /// Keeps no client waiting for a token any more.
    pub(crate) fn end(&self) {
        self.tokens.iter().for_each(Tokens::end);
    }

    /// What a call comes to, or its error as soon as it is plain that no connection can come about.
    pub(crate) async fn unless_refused<T>(
        &self,
        doing: impl Display,
        call: impl Future<Output = T>,
    ) -> Result<T, DriverError> {
        tokio::select! {
            biased;
            done = call => Ok(done),
            () = self.refused() => Err(self.timed_out(doing)),
        }
    }

    /// Whether the cluster has refused every login for a while.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.borrow().is_some_and(|since| since.elapsed() >= GRACE)
    }

    /// Resolves when [`is_refused`](Self::is_refused).
    async fn refused(&self) {
        let mut refused = self.refused.subscribe();
        loop {
            // The sender is this cluster's.
            let _ = refused.wait_for(Option::is_some).await;
            tokio::select! {
                () = sleep(GRACE) => return,
                _ = refused.wait_for(Option::is_none) => {}
            }
        }
    }

    /// The error of a call; `doing` begins its sentence, as in "Publishing to the topic 'orders'".
    pub(crate) fn error(&self, doing: impl Display, error: &KafkaError) -> DriverError {
        let servers = &self.servers;
        let kind = kind_of(error);
        let reason = match error {
            KafkaError::ClientConfig(_, reason, name, _) => format!("the property '{name}': {reason}"),
            _ => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
        };
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
        if !self.is_troubled.load(Ordering::Acquire) {
            return;
        }
        self.refused.send_if_modified(|since| since.take().is_some());
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = trouble.ends(Instant::now());
        self.is_troubled.store(trouble.out_since.is_some(), Ordering::Release);
        drop(trouble);
        if ends {
            debug!(servers = %self.servers, "Kafka answers again.");
        }
    }

    fn failed(&self, error: &KafkaError, reason: &str) {
        debug!(servers = %self.servers, reason, "A client of Kafka reports an error.");
        let is_strange = is_unheard(reason);
        // What concerns a topic or a group goes to whoever asked for it.
        if !(is_strange || is_passing(error)) || reason.starts_with(NO_TOKEN) {
            return;
        }
        let kind = if is_strange { ErrorKind::Unreachable } else { kind_of(error) };
        let mut is_refusal = kind == ErrorKind::Refused || is_about_certificates(error, reason);
        let reason = if is_strange { format!("{NOT_KAFKA}: {reason}") } else { reason.to_owned() };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_troubled.store(true, Ordering::Release);
        let is_summary = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !is_summary || trouble.last.is_none() {
            trouble.last = Some((kind, reason.clone()));
        }
        // One connection may end at its first words over anything, as where a proxy stands before a broker that is
        // away. Where all ended, and the last one like that, nobody there speaks Kafka.
        is_refusal |= is_summary && trouble.is_strange();
        // Single brokers come and go; worth a line is that none is left, or that they refuse us.
        let is_outage = is_summary || is_refusal;
        if is_refusal {
            let now = Instant::now();
            self.refused.send_if_modified(|since| {
                let begins = since.is_none();
                since.get_or_insert(now);
                begins
            });
        }
        if is_outage && trouble.begins(Instant::now()) {
            let reason = trouble.last.as_ref().map_or(&reason, |(_, reason)| reason);
            debug!(servers = %self.servers, reason, "Kafka does not answer; connections are tried again until it does.");
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let servers = &self.servers;
        if facility == "FAIL" && is_unheard(line) {
            // A connection that was just closed is told here alone.
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_troubled.store(true, Ordering::Release);
            let words = line.split_once("]: ").map_or(line, |(_thread, words)| words);
            trouble.last = Some((ErrorKind::Unreachable, format!("{NOT_KAFKA}: {words}")));
        }
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

/// Whether one side does not trust the other, which lasts. librdkafka has one code for all that can go wrong with TLS.
fn is_about_certificates(error: &KafkaError, reason: &str) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::SSL) && reason.contains("certificate")
}

/// Whether a connection ended at the first words of TLS or of Kafka's protocol, and not over a certificate.
fn is_unheard(reason: &str) -> bool {
    let in_handshake = reason.contains("Disconnected") && reason.contains("in state SSL_HANDSHAKE");
    (in_handshake || reason.contains("in state APIVERSION_QUERY")) && !reason.contains("certificate")
}

/// How much a line of librdkafka's log matters to an operator.
fn severity(level: RDKafkaLogLevel, facility: &str, line: &str) -> Level {
    use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
    match (level, facility) {
        // What comes as an error too, and is told there.
        (_, "FAIL" | "ERROR") => Level::TRACE,
        // Properties are given to producers and readers alike, and each of them takes what concerns it.
        (_, "CONFWARN") => Level::DEBUG,
        // A Kafka that is just starting has no numbers to give to producers yet.
        (Warning, "GETPID") if line.ends_with("retrying") => Level::DEBUG,
        (Emerg | Alert | Critical | Error | Warning, _) => Level::WARN,
        (Notice | Info, _) => Level::DEBUG,
        (Debug, _) => Level::TRACE,
    }
}

/// Takes down for the cluster what a client of librdkafka reports, and gives it tokens.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) cluster: Arc<Cluster>,
    /// Whether the thread that asks for a token may be kept waiting for it.
    may_wait: bool,
}

impl Listener {
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Self {
        Self { cluster: cluster.clone(), may_wait: false }
    }

    /// For a client with a thread of its own.
    pub(crate) fn patient(cluster: &Arc<Cluster>) -> Self {
        Self { may_wait: true, ..Self::new(cluster) }
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.cluster.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.cluster.failed(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.cluster.tokens.as_ref().ok_or("there is nowhere to get a token from")?;
        Ok(tokens.token(self.may_wait)?)
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
    fn words_that_are_not_understood_count_as_a_refusal_once_no_broker_is_left() {
        let unheard = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        let unheard_words = "Disconnected: requesting ApiVersion (after 1ms in state APIVERSION_QUERY)";
        let none_left = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        let is_refusing = |cluster: &Cluster| cluster.refused.borrow().is_some();

        let strange = Cluster::new("a", None);
        strange.failed(&unheard, unheard_words);
        assert!(!is_refusing(&strange), "another broker may answer");
        let error = strange.timed_out("Publishing").message;
        assert!(error.contains(NOT_KAFKA), "it is the explanation all the same: {error}");
        strange.failed(&none_left, "1/1 brokers are down");
        assert!(is_refusing(&strange));

        let away = Cluster::new("a", None);
        away.failed(&unheard, "Connect to a failed: Connection refused (after 1ms in state CONNECT)");
        away.failed(&none_left, "1/1 brokers are down");
        away.failed(&unheard, unheard_words);
        assert!(!is_refusing(&away), "what stands before a broker that is away may end connections so");
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
