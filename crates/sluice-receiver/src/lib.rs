//! Receivers: where web clients connect. One module for each kind.
//!
//! A receiver is given a request that has found its API and been admitted, and a [`Binding`] to that API's
//! broker. `http-post` makes a message of the request and answers once the broker has it; `http-get` answers
//! with the messages of a while, `sse` with a stream of them; `websocket` does both ways on one connection;
//! `webhook-receiver` takes what webhook senders push.
//! Finding the API, admission and connections are the gateway's work.

mod binding;
mod body;
mod channel;
mod client;
mod endpoints;
mod failures;
mod group;
mod hex;
pub mod http_get;
pub mod http_post;
mod idempotency;
mod intake;
mod message_headers;
mod open_stream;
mod publishing;
mod query;
mod refusal;
mod resume;
mod seldom;
pub mod sse;
mod streams;
mod succession;
#[cfg(test)]
mod testing;
pub mod webhook_receiver;
pub mod websocket;

pub use binding::{ApiMetrics, Binding};
pub use body::Body;
pub use channel::{ChosenChannel, chosen as chosen_channel};
pub use endpoints::{Endpoint, Endpoints, NoEndpoint};
pub use failures::{FailureLog, PublishFailure};
pub use idempotency::{KeysInUse, notes_prefix};
pub use intake::{Held, publish, read_body};
pub use open_stream::Client;
pub use query::parameters;
pub use refusal::{Refusal, accepts_json, put_headers};
pub use streams::{SlowClient, SlowClientEnd, Stream, StreamSummary, Streams};
pub use succession::Succession;
