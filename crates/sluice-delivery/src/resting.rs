//! How a subscription stands that is not served: paused, or failed. Nothing is kept in memory of one, so that the store and
//! the broker are asked.

use sluice_api::{ApiId, SubscriptionId};
use sluice_message::{Position, Topic};
use sluice_stream::{behind, subscription_reader};
use tokio::time::{Instant, timeout_at};

use crate::{Deliveries, Failure};

/// How far a subscription has come that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resting {
    /// Behind what it was brought, as it is stored.
    pub position: Option<Position>,
    /// Messages that it will be brought when it goes on, about; `None` where nobody says in time.
    pub lag: Option<u64>,
}

impl Deliveries {
    /// How far a subscription to an API, or to a channel of it, has come that is not served. The broker is given until
    /// `deadline` to say how much is behind that.
    ///
    /// # Errors
    /// The store cannot be read (`store.failed`).
    pub async fn resting(
        &self,
        id: &SubscriptionId,
        api: &ApiId,
        channel: Option<&str>,
        deadline: Instant,
    ) -> Result<Resting, Failure> {
        let stored = self.0.positions.load(&subscription_reader(&id.0)).await;
        let position = stored.map_err(|error| Failure::new("store.failed", error.to_string()))?;
        let Some(position) = position.filter(|position| !position.is_empty()) else {
            return Ok(Resting::default());
        };
        let route = self.0.route_of_api(api);
        let topics: Vec<Topic> =
            route.as_ref().and_then(|route| route.topics_at(channel).ok()).unwrap_or_default().to_vec();
        let bounds = match &route {
            Some(route) if !topics.is_empty() => {
                timeout_at(deadline, route.driver.bounds(&topics)).await.ok().and_then(Result::ok)
            }
            _ => None,
        };
        let lag = bounds.map(|bounds| behind(&position, &bounds));
        Ok(Resting { position: Some(position), lag })
    }
}
