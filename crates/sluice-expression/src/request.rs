//! What `#request` and `#response` show: the HTTP exchange that a client opened, as plain data. Made once per
//! connection by whoever holds it, and only where an expression asks for it.

use std::fmt;

use bytes::Bytes;
use sluice_message::Headers;

/// A request as expressions see it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The id that the gateway gave it.
    pub id: String,
    /// The id that it shares with the requests it belongs to.
    pub transaction_id: String,
    /// Path and query, as they came.
    pub uri: String,
    /// The whole path, without the query.
    pub path: String,
    /// The path at which the API begins.
    pub context_path: String,
    /// What follows the context path.
    pub path_info: String,
    /// The method, such as `POST`.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host that the client asked for, with the port where it named one.
    pub host: String,
    /// The version of HTTP, such as `HTTP_1_1`.
    pub version: String,
    /// When it came: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// The address of the client, without the port.
    pub remote_address: String,
    /// The address at which it was accepted, without the port.
    pub local_address: String,
    /// The headers.
    pub headers: Headers,
    /// The query parameters in order, repeats kept, decoded.
    pub params: Vec<(String, String)>,
    /// The body, where it was read.
    pub content: Option<Bytes>,
}

/// The request line only: headers, parameters and the body carry credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Request");
        shown.field("id", &self.id).field("method", &self.method).field("path", &self.path);
        shown.finish_non_exhaustive()
    }
}

/// A response as expressions see it. That of an event API has no body to be read: it is a stream.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
}

/// The status only: headers may carry credentials.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
