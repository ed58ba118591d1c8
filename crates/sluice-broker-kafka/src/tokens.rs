//! The token by which Kafka lets the gateway in (SASL OAUTHBEARER): asked for with client credentials, kept, and renewed
//! well before it ends.
//!
//! One token serves all clients of a driver. librdkafka asks for it where it must not be kept waiting, so it is fetched
//! beside that, on a thread of its own that needs no runtime of the caller. While there is none every call fails at once
//! with what the token endpoint said.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::client::OAuthToken;
use sluice_api::ClientCredentials;
use sluice_broker::{DriverError, ErrorKind};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::token_endpoint::{Endpoint, Granted};

/// The shortest and longest wait between two tries to get a token.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// The shortest time between two tokens, whatever the endpoint says of their lives.
const LEAST: Duration = Duration::from_secs(1);
/// How long the thread of a producer waits for a token, so that it has it as soon as there is one. librdkafka asks
/// again ten seconds after it got none.
const PATIENCE: Duration = Duration::from_secs(60);

/// The token of one driver. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Tokens {
    kept: Arc<Kept>,
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct Kept {
    state: Mutex<State>,
    /// For threads that wait for a token, and for tasks.
    changed: Condvar,
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// Why the last try brought none.
    trouble: Option<DriverError>,
    is_over: bool,
}

#[derive(Debug)]
struct Token {
    granted: Granted,
    ends: SystemTime,
}

impl State {
    fn token(&self) -> Option<&Token> {
        self.token.as_ref().filter(|token| token.ends > SystemTime::now())
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
        self.told.notify_waiters();
    }
}

impl Tokens {
    /// Begins to ask for tokens.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the certificates to trust cannot be read.
    pub(crate) fn begin(credentials: ClientCredentials) -> Result<Self, DriverError> {
        let (kept, over) = (Arc::<Kept>::default(), CancellationToken::new());
        let endpoint = Endpoint::new(credentials)?;
        let unable = |error| {
            let text = format!("No thread could be started to ask for tokens of Kafka: {error}.");
            DriverError::new(ErrorKind::Configuration, text)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unable)?;
        let (keeping, ending) = (kept.clone(), over.clone());
        let thread = thread::Builder::new().name("kafka-tokens".to_owned());
        let asking = move || {
            runtime.block_on(ending.run_until_cancelled(keep(&endpoint, &keeping)));
        };
        thread.spawn(asking).map_err(unable)?;
        Ok(Self { kept, over })
    }

    /// Resolves when there is a token; fails with what the endpoint said if there is none.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), DriverError> {
        let waiting = async {
            loop {
                let mut told = std::pin::pin!(self.kept.told.notified());
                told.as_mut().enable();
                {
                    let state = self.kept.state();
                    if state.token().is_some() {
                        return Ok(());
                    }
                    if let Some(trouble) = &state.trouble {
                        return Err(trouble.clone());
                    }
                }
                told.await;
            }
        };
        let overdue = "The token endpoint has not answered yet";
        timeout(patience, waiting)
            .await
            .unwrap_or_else(|_| Err(DriverError::new(ErrorKind::Unreachable, overdue)))
    }

    /// The token for a client of librdkafka; waits for one only on a thread that has nothing else to do without it.
    pub(crate) fn token(&self, may_wait: bool) -> Result<OAuthToken, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.kept.state();
        loop {
            if let Some(Token { granted, ends }) = state.token() {
                // librdkafka asks for the next one when four fifths of this are over, by a clock that ticks each second.
                let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
                let trusted = SystemTime::now() + left.mul_f64(0.9);
                let lifetime_ms = trusted.duration_since(UNIX_EPOCH).map_or(0, |ends| ends.as_millis());
                return Ok(OAuthToken {
                    token: granted.token.expose().to_owned(),
                    principal_name: granted.principal.clone(),
                    lifetime_ms: i64::try_from(lifetime_ms).unwrap_or(i64::MAX),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !may_wait || state.is_over || left.is_zero() {
                return Err("there is no token yet".to_owned());
            }
            state = self.kept.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Keeps no thread waiting any more.
    pub(crate) fn end(&self) {
        self.over.cancel();
        self.kept.change(|state| state.is_over = true);
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gets tokens, one after the other, for as long as it is let.
async fn keep(endpoint: &Endpoint, kept: &Kept) {
    let mut backoff = BACKOFF.0;
    loop {
        let asked = SystemTime::now();
        match endpoint.ask().await {
            Ok(granted) => {
                // Before librdkafka asks for the next one.
                let renewal = granted.lifetime.mul_f64(0.7).max(LEAST);
                let ends = asked + granted.lifetime;
                let mut recovered = false;
                kept.change(|state| {
                    recovered = state.trouble.take().is_some();
                    state.token = Some(Token { granted, ends });
                });
                if recovered {
                    info!(%endpoint, "The token endpoint gives out tokens again.");
                }
                backoff = BACKOFF.0;
                sleep(renewal).await;
            }
            Err(error) => {
                let mut begins = false;
                kept.change(|state| begins = state.trouble.replace(error.clone()).is_none());
                if begins {
                    warn!(%endpoint, %error, "There is no new token for Kafka; it is asked for again until there is.");
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}
