//! The broker as all connections to it share it: how to get there, what it is called in errors, and whether it is
//! there, which is logged when it changes and not with each try.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_broker::{DriverError, ErrorKind};
use tracing::debug;
use uuid::Uuid;

use crate::{AmqpOptions, error::Cause, settings::Settings};

/// How long a limit that a broker has told is remembered: it may be raised while connections to it stand.
const REMEMBERED: Duration = Duration::from_mins(10);

/// One broker.
pub(crate) struct Broker {
    pub(crate) settings: Settings,
    pub(crate) options: AmqpOptions,
    /// What the last try to connect came to; `None` before the first.
    last: Mutex<Option<Result<(), DriverError>>>,
    largest: Largest,
}

/// The most bytes of a payload that a broker takes, once it has said so.
#[derive(Debug)]
struct Largest {
    bytes: AtomicUsize,
    /// When it said so. Looked at only where there is a limit, so that others take no lock to see that there is none.
    told: Mutex<Option<Instant>>,
}

/// When the next try may be made after tries that failed.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Broker {
    pub(crate) fn new(settings: Settings, options: AmqpOptions) -> Self {
        Self { settings, options, last: Mutex::default(), largest: Largest::default() }
    }

    /// The error of what was done, with the broker's address.
    pub(crate) fn error(&self, doing: impl fmt::Display, cause: &Cause) -> DriverError {
        let text = cause.text.trim_end_matches('.');
        DriverError::new(cause.kind, format!("{doing} at {self} failed: {text}."))
    }

    /// The error of what took too long, with the reason where the broker could not be connected to.
    pub(crate) fn timed_out(&self, doing: impl fmt::Display, time: Duration) -> DriverError {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let why = match &*last {
            Some(Err(error)) => format!("the last try to connect came to this: {}", error.message),
            _ => "the broker did not answer.".to_owned(),
        };
        let text = format!("{doing} at {self} took more than {} ms: {why}", time.as_millis());
        DriverError::new(ErrorKind::Unreachable, text)
    }

    /// The error of a connection that has ended, for who had nothing under way on it.
    pub(crate) fn lost(&self) -> DriverError {
        DriverError::new(ErrorKind::Unreachable, format!("The connection to {self} was lost."))
    }

    /// Notes that a connection stands.
    pub(crate) fn reached(&self) {
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(Ok(()));
        if matches!(before, Some(Err(_))) {
            debug!(broker = %self, "The broker is there again.");
        }
    }

    /// The most bytes of a payload that it takes, as far as it has said so.
    pub(crate) fn largest(&self) -> usize {
        self.largest.at(Instant::now())
    }

    /// Notes the broker's limit.
    pub(crate) fn learn_largest(&self, largest: usize) {
        self.largest.learn(largest, Instant::now());
    }

    /// Notes that none could be made, or that one was lost.
    pub(crate) fn missed(&self, error: &DriverError) {
        // It may come back with another limit.
        self.largest.forget();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(Err(error.clone()));
        let is_news = !matches!(&before, Some(Err(before)) if before.kind == error.kind);
        if is_news {
            debug!(broker = %self, %error, "There is no connection to the broker; that is tried again and again.");
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.settings.endpoint;
        let scheme = if endpoint.encrypted { "amqps" } else { "amqp" };
        match endpoint.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", endpoint.host, endpoint.port),
            false => write!(f, "{scheme}://{}:{}", endpoint.host, endpoint.port),
        }
    }
}

impl Default for Largest {
    fn default() -> Self {
        Self { bytes: AtomicUsize::new(usize::MAX), told: Mutex::default() }
    }
}

impl Largest {
    fn learn(&self, bytes: usize, now: Instant) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn forget(&self) {
        self.bytes.store(usize::MAX, Ordering::Relaxed);
    }

    fn at(&self, now: Instant) -> usize {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes == usize::MAX {
            return bytes;
        }
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.duration_since(told) < REMEMBERED) {
            return bytes;
        }
        self.forget();
        usize::MAX
    }
}

impl Pause {
    /// When the next try may be made.
    pub(crate) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// After a try that failed: twice as long as before, by up to a fourth more or less, so that all who lost one
    /// broker do not come back at once.
    pub(crate) fn lengthen(&mut self, options: &AmqpOptions) {
        let doubled = options.first_pause.saturating_mul(1 << self.failures.min(16));
        let pause = doubled.min(options.longest_pause);
        let jitter = f64::from(u16::from_ne_bytes([unique_byte(), unique_byte()])) / f64::from(u16::MAX);
        self.failures += 1;
        self.until = Some(Instant::now() + pause.mul_f64(0.75 + jitter / 2.0));
    }
}

fn unique_byte() -> u8 {
    Uuid::new_v4().into_bytes()[0]
}

/// A text that nobody else has, for names of containers and links.
pub(crate) fn unique() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_remembered_for_a_while() {
        let (largest, told) = (Largest::default(), Instant::now());
        assert_eq!(largest.at(told), usize::MAX);
        largest.learn(1000, told);
        let last = REMEMBERED - Duration::from_millis(1);
        assert_eq!(largest.at(told + last), 1000);
        assert_eq!(largest.at(told + REMEMBERED), usize::MAX);
        largest.learn(2000, told + REMEMBERED);
        assert_eq!(largest.at(told + REMEMBERED + last), 2000);
        largest.forget();
        assert_eq!(largest.at(told + REMEMBERED), usize::MAX);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let options = AmqpOptions {
            first_pause: Duration::from_secs(8),
            longest_pause: Duration::from_secs(20),
            ..AmqpOptions::default()
        };
        let mut pause = Pause::default();
        for expected in [8.0, 16.0, 20.0, 20.0] {
            let before = Instant::now();
            pause.lengthen(&options);
            let length = pause.until().unwrap().duration_since(before).as_secs_f64();
            assert!((expected * 0.75..expected * 1.26).contains(&length), "{length} for {expected}");
        }
    }
}
