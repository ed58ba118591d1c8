//! The hub of WebSub (W3C Recommendation): takes requests to subscribe and to unsubscribe, asks the callback whether it
//! means it, keeps leases, tells who is denied, and takes news from publishers.
//!
//! A request is [read](Asked), its channel found and its policies met by the gateway; [`Hub::accept`] answers it as
//! soon as it is durable. What follows happens in the background, also after a restart: requests for one callback and
//! channel wait in a [line](lines), each is [verified and settled](settling) in its turn. What is kept is behind the
//! [`Desk`]; messages are brought to subscribers by the crate `sluice-delivery`, and this one never sees them on that
//! way.

mod accepting;
mod addresses;
mod asked;
mod denying;
mod desk;
mod form;
mod hosts;
mod hub;
mod intent;
mod lines;
mod metrics;
mod news;
mod of_api;
mod settling;

pub use addresses::{Addresses, discovery};
pub use asked::{Asked, AskedMode};
pub use desk::{Begins, Desk, DeskError, HubRequest, Mode, Standing};
pub use form::Fields;
pub use hub::{Hub, HubOptions};
pub use metrics::{HubMetrics, ModeLabel};
