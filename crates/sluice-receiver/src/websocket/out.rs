//! The way out while its beginning is not settled, and then the way out itself.

use std::future;

use futures_util::future::BoxFuture;
use sluice_broker::DriverError;
use sluice_stream::Step;
use tokio::time::sleep_until;

use super::{deliverer::Deliverer, first_frame::FirstFrame};
use crate::{Refusal, resume::Placed};

/// How far the way out is settled.
pub(super) enum Out {
    /// The API sends its clients nothing.
    Off,
    /// The client is yet to say where it begins.
    Awaited(FirstFrame),
    /// Its place is being looked for, or was found when it came.
    Placing(BoxFuture<'static, Result<Placed, Refusal>>),
    /// It is sent messages.
    On(Box<Deliverer>),
}

/// What has come of waiting.
pub(super) enum News {
    /// The client has not said where it begins.
    Overdue,
    /// Its place, or why it has none.
    Placed(Result<Placed, Refusal>),
    /// The next step on its way.
    Step(Result<Step, DriverError>),
}

impl Out {
    /// Waits for what comes next; for messages only while the wire is idle. Cancel-safe.
    pub(super) async fn next(&mut self, idle: bool) -> News {
        match self {
            Self::Awaited(first) => {
                sleep_until(first.due).await;
                News::Overdue
            }
            Self::Placing(placing) => News::Placed(placing.await),
            Self::On(deliverer) if idle => News::Step(deliverer.next().await),
            Self::Off | Self::On(_) => future::pending().await,
        }
    }
}
