//! What a hub counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The numbers of a hub. Handles are shared: a clone counts into the same.
#[derive(Debug, Clone, Default)]
pub struct HubMetrics {
    /// Requests that policies have let through, by what they ask for.
    pub requests: Family<ModeLabel, Counter>,
    /// Requests that their callback has confirmed.
    pub verified: Counter,
    /// Requests that were dropped because their callback did not confirm them.
    pub not_verified: Counter,
    /// Subscribers that were told that they are not, or no longer, subscribed.
    pub denied: Counter,
    /// Subscribers that could not be told so.
    pub denials_failed: Counter,
    /// Requests and denials that went over the limit for one callback host.
    pub rate_limited: Counter,
    /// News that could not be fetched when a publisher told of it.
    pub fetches_failed: Counter,
    /// Requests that were answered and are not settled.
    pub unsettled: Gauge,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModeLabel {
    /// As in `hub.mode`.
    pub mode: &'static str,
}

impl HubMetrics {
    /// Has a registry show them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("websub_requests", "Requests to hubs, by mode", self.requests.clone());
        for (name, help, counter) in [
            ("websub_verified_requests", "Requests that their callback has confirmed", &self.verified),
            (
                "websub_unverified_requests",
                "Requests that their callback did not confirm",
                &self.not_verified,
            ),
            ("websub_denials", "Subscribers that were told that they are not subscribed", &self.denied),
            ("websub_failed_denials", "Subscribers that could not be told so", &self.denials_failed),
            (
                "websub_rate_limited",
                "Requests and denials over the limit of a callback host",
                &self.rate_limited,
            ),
            ("websub_failed_fetches", "News that could not be fetched", &self.fetches_failed),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "websub_unsettled_requests",
            "Requests that are not settled",
            self.unsettled.clone(),
        );
    }
}
