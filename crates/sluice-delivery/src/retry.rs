//! When a call is repeated.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};
use sluice_api::{CallbackRetry, RetryStrategy};

/// No call is repeated sooner, whatever the settings say.
const SHORTEST: Duration = Duration::from_millis(100);

/// The wait after so many calls that failed, from 1, without jitter: it grows by the initial delay, or
/// doubles, up to the longest.
fn plain_delay(retry: &CallbackRetry, failed: u32) -> Duration {
    let factor = match retry.retry_strategy {
        RetryStrategy::Linear => failed,
        RetryStrategy::Exponential => 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX),
    };
    let seconds = retry.initial_delay_seconds.saturating_mul(factor).min(retry.max_delay_seconds);
    Duration::from_secs(u64::from(seconds))
}

/// The wait after so many calls that failed, from 1. It is up to a fifth shorter or longer than the plain one,
/// so that subscribers that failed together do not come back together. `random` is from 0 to 1.
pub(crate) fn delay(retry: &CallbackRetry, failed: u32, random: f64) -> Duration {
    jittered(plain_delay(retry, failed), random).max(SHORTEST)
}

/// A wait that is up to a fifth shorter or longer. `random` is from 0 to 1.
pub(crate) fn jittered(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
}

/// A number from 0 to 1 that nobody needs to be unable to guess.
pub(crate) fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

/// What a server says about when to come again: seconds or a date (RFC 9110, section 10.2.3), up to `longest`.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime, longest: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.clamp(SHORTEST, longest))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn waits(strategy: RetryStrategy) -> Vec<u64> {
        let retry = CallbackRetry { retry_strategy: strategy, ..CallbackRetry::default() };
        (1..=5).map(|failed| plain_delay(&retry, failed).as_secs()).collect()
    }

    #[test]
    fn linear_waits_grow_by_the_initial_delay() {
        assert_eq!(waits(RetryStrategy::Linear), [10, 20, 30, 30, 30]);
    }

    #[test]
    fn exponential_waits_double() {
        assert_eq!(waits(RetryStrategy::Exponential), [10, 20, 30, 30, 30]);
        let retry = CallbackRetry {
            retry_strategy: RetryStrategy::Exponential,
            initial_delay_seconds: 1,
            max_delay_seconds: 86_400,
            ..CallbackRetry::default()
        };
        let waits: Vec<_> =
            [1, 2, 3, 4, 17, 33, 90].map(|failed| plain_delay(&retry, failed).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 8, 65_536, 86_400, 86_400]);
    }

    #[test]
    fn jitter_is_a_fifth_either_way_and_no_wait_is_nothing() {
        let retry = CallbackRetry::default();
        assert_eq!(delay(&retry, 1, 0.0), Duration::from_secs(8));
        assert_eq!(delay(&retry, 1, 1.0), Duration::from_secs(12));
        let at_once = CallbackRetry { initial_delay_seconds: 0, ..retry };
        assert_eq!(delay(&at_once, 1, 0.5), SHORTEST);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&random())));
    }

    #[test]
    fn a_server_says_when_to_come_again_in_seconds_or_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, now, Duration::from_secs(3600))
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("0"), Some(SHORTEST));
        assert_eq!(wait("999999"), Some(Duration::from_secs(3600)));
        assert_eq!(wait("Sun, 09 Sep 2001 01:47:10 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 09 Sep 2001 01:46:10 GMT"), Some(SHORTEST));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now, Duration::MAX), None);
    }
}
