//! Receivers: where web clients connect. One module for each kind.
//!
//! A receiver is given a request that has found its API and been admitted, and a [`Binding`] to that API's
//! broker. `http-post` makes a message of the request and answers once the broker has it; `sse` answers
//! with a stream of messages. Finding the API, admission and connections are the gateway's work.

mod binding;
mod body;
mod failures;
pub mod http_post;
mod refusal;
pub mod sse;

pub use binding::{ApiMetrics, Binding};
pub use body::Body;
pub use failures::FailureLog;
pub use refusal::{Refusal, accepts_json};
