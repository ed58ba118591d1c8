//! Why a call did not succeed, in words for people, and with a code of docs/errors.md.

use std::{error::Error, fmt, io};

use crate::guard::Refused;

/// What the HTTP client says at the end of its error when a proxy answers CONNECT with 407. It tells so in words
/// only; a test watches them.
const TUNNEL_REFUSED: &str = "proxy authorization required";

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code, as in docs/errors.md.
    pub code: &'static str,
    /// One sentence: what happened and what to do. It names hosts, never whole addresses, which may hold keys.
    pub message: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Whether the subscriber may have got the message all the same.
    pub(crate) ambiguous: bool,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None, ambiguous: false }
    }

    /// A proxy that does not let the gateway through to `host`.
    pub(crate) fn of_proxy(host: &str) -> Self {
        let message =
            format!("The proxy on the way to {host} answered 407: it does not take the credentials.");
        Self::new("delivery.proxy", message)
    }

    /// What a failed connection or exchange with `host` was.
    pub(crate) fn of_exchange(error: &reqwest::Error, host: &str) -> Self {
        if let Some(refused) = find::<Refused>(error) {
            return Self::new("delivery.address.refused", format!("{refused}."));
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            let message = format!("No secure connection to {host}: {tls}.");
            // A refused certificate of our own is told after the request went out, and the server has
            // thrown that away.
            return Self::new("delivery.tls", message);
        }
        if error.is_connect() {
            let reason = innermost(error);
            if reason.ends_with(TUNNEL_REFUSED) {
                return Self::of_proxy(host);
            }
            return Self::new("delivery.unreachable", format!("No connection to {host}: {reason}."));
        }
        let (code, message) = if error.is_timeout() {
            ("delivery.timeout", format!("{host} did not answer in time."))
        } else {
            let reason = innermost(error);
            ("delivery.broken", format!("The connection to {host} broke before the answer: {reason}."))
        };
        Self { ambiguous: true, ..Self::new(code, message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

/// An error of this type among the causes of another.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error shows the cause of what it holds, and not what it holds.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = held.and_then(|held| find(held)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
