//! What the name of a request header says about where it may go. Here, because the settings that name headers are
//! validated by the same lists by which receivers copy them.

/// Parts of the names of headers that say who the client is, or may.
const CREDENTIALS: [&str; 12] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "apikey",
    "api-key",
    "csrf",
    "xsrf",
    "session",
];

/// Request headers about this one connection, RFC 9110 section 7.6.1, and about the body's transfer.
const CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
];

/// Request headers about the way here, about the form in which the body came and about its repetition, and those
/// by which a gateway signs what it calls subscribers with, or marks dead letters: a poster could only forge them.
const WAY: [&str; 5] = ["content-encoding", "accept-encoding", "forwarded", "via", "idempotency-key"];
const WAY_PREFIXES: [&str; 3] = ["x-forwarded-", "webhook-", "sluice-"];

/// Parts of the names of headers by which senders of webhooks sign.
const SIGNATURES: [&str; 2] = ["signature", "hmac"];

/// Whether a header of this name, in lower case, never goes from a client to the broker: a credential, whatever a
/// client calls it, or one about the way of the request.
pub fn is_withheld(name: &str) -> bool {
    is_credential(name)
        || CONNECTION.contains(&name)
        || WAY.contains(&name)
        || WAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a header of this name, in lower case, says who the client is, or may.
pub fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|part| name.contains(part))
}

/// Whether a header of this name, in lower case, proves who has sent the request. Whoever reads it behind the gateway
/// could send the same again.
pub fn is_signature(name: &str) -> bool {
    SIGNATURES.iter().any(|part| name.contains(part))
}
