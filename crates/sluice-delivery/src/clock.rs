//! The time of day, in milliseconds since 1970, for what outlives the process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long it is until a moment; `None` when it has come.
pub(crate) fn until(moment_ms: i64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Duration::from_millis(u64::try_from(moment_ms).unwrap_or(0));
    moment.checked_sub(now).filter(|wait| !wait.is_zero())
}

/// A time span in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
