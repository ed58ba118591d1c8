//! Settings of the `websub` receiver: what its hub agrees to, and how subscribers are called.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CallbackBreaker, CallbackOrder, CallbackRetry, HubSignature, Problem, RetryStrategy, Secret,
    WebhookConfig,
};

/// Settings of `websub`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebsubConfig {
    /// Seconds that a subscription lasts whose subscriber asks for no time. Default 864,000 (ten days).
    #[serde(default = "WebsubConfig::default_lease")]
    pub default_lease_seconds: u64,
    /// Seconds that a subscription lasts at the most; who asks for more gets this. From 1 to 315,360,000, default
    /// 7,776,000 (90 days).
    #[serde(default = "WebsubConfig::default_max_lease")]
    #[schemars(range(min = 1, max = Self::MAX_LEASE_SECONDS))]
    pub max_lease_seconds: u64,
    /// Seconds that a subscription lasts at least; who asks for less gets this. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_lease_seconds: Option<u64>,
    /// How calls are signed for subscribers with a secret. Default `sha256`.
    #[serde(default)]
    pub signature: HubSignature,
    /// Milliseconds that a subscriber has to confirm what it asked for. From 100 to 60,000, default 10,000.
    #[serde(default = "WebsubConfig::default_verification_timeout")]
    #[schemars(range(min = 100, max = 60_000))]
    pub verification_timeout_ms: u64,
    /// Requests a minute that are taken for callbacks of one host, so that nobody has the hub flood somebody else.
    /// From 1 to 1,000,000, default 60.
    #[serde(default = "WebsubConfig::default_requests_per_host")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_host: u32,
    /// Subscriptions at once. From 1 to 1,000,000, default 100,000.
    #[serde(default = "WebsubConfig::default_max_subscriptions")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_subscriptions: u32,
    /// Which messages of a subscription wait for which. By default `none` where the API's qos is `none`, else `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<CallbackOrder>,
    /// What happens after a call that failed and may succeed later. By default it is tried until the lease ends, with
    /// waits that grow from a second to five minutes. Where some is set, the rest is as for `webhook`.
    #[serde(default = "WebsubConfig::default_retry")]
    pub retry: CallbackRetry,
    /// How subscribers are called. By default one that does not answer is left alone and its messages wait.
    #[serde(default = "WebsubConfig::default_delivery")]
    pub delivery: WebhookConfig,
}

impl WebsubConfig {
    /// The largest lease that can be set: ten years, in seconds.
    pub const MAX_LEASE_SECONDS: u64 = 315_360_000;

    const fn default_lease() -> u64 {
        864_000
    }

    const fn default_max_lease() -> u64 {
        7_776_000
    }

    const fn default_verification_timeout() -> u64 {
        10_000
    }

    const fn default_requests_per_host() -> u32 {
        60
    }

    const fn default_max_subscriptions() -> u32 {
        100_000
    }

    // Who subscribed at a hub has nobody to start its subscription again: only the end of its lease ends the retries.
    fn default_retry() -> CallbackRetry {
        CallbackRetry {
            retry_strategy: RetryStrategy::Exponential,
            max_attempts: CallbackRetry::MOST_ATTEMPTS,
            initial_delay_seconds: 1,
            max_delay_seconds: 300,
            ..CallbackRetry::default()
        }
    }

    fn default_delivery() -> WebhookConfig {
        WebhookConfig { circuit_breaker: Some(CallbackBreaker::default()), ..WebhookConfig::default() }
    }

    /// Seconds that a subscription lasts whose subscriber asks for so many, or for none.
    pub fn lease(&self, asked: Option<u64>) -> u64 {
        let least = self.min_lease_seconds.unwrap_or(1);
        asked.unwrap_or(self.default_lease_seconds).max(least).min(self.max_lease_seconds)
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let found = self.delivery.secrets_mut();
        found.into_iter().map(|(path, secret)| (format!("delivery.{path}"), secret)).collect()
    }

    /// Every rule that these settings break, with paths relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> =
            self.delivery.problems().into_iter().map(|problem| problem.within("delivery")).collect();
        let mut bounded = |field: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                problems.push(invalid(field, format!("Must be from {least} to {most}.")));
            }
        };
        let longest = self.max_lease_seconds;
        bounded("maxLeaseSeconds", longest, 1, Self::MAX_LEASE_SECONDS);
        bounded(
            "defaultLeaseSeconds",
            self.default_lease_seconds,
            self.min_lease_seconds.unwrap_or(1),
            longest,
        );
        if let Some(least) = self.min_lease_seconds {
            bounded("minLeaseSeconds", least, 1, longest);
        }
        bounded("verificationTimeoutMs", self.verification_timeout_ms, 100, 60_000);
        bounded("requestsPerHost", self.requests_per_host.into(), 1, 1_000_000);
        bounded("maxSubscriptions", self.max_subscriptions.into(), 1, 1_000_000);
        problems.extend(self.retry.problems().into_iter().map(|problem| problem.within("retry")));
        problems
    }
}

fn invalid(field: &str, message: String) -> Problem {
    Problem::new(field, "listeners.entrypoints.configuration.invalid", message)
}

impl Default for WebsubConfig {
    fn default() -> Self {
        Self {
            default_lease_seconds: Self::default_lease(),
            max_lease_seconds: Self::default_max_lease(),
            min_lease_seconds: None,
            signature: HubSignature::default(),
            verification_timeout_ms: Self::default_verification_timeout(),
            requests_per_host: Self::default_requests_per_host(),
            max_subscriptions: Self::default_max_subscriptions(),
            order: None,
            retry: Self::default_retry(),
            delivery: Self::default_delivery(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_value;

    fn problems(settings: Value) -> Vec<String> {
        let settings: WebsubConfig = from_value(settings).unwrap();
        settings.problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn settings_are_good_up_to_their_bounds_and_refused_beyond_by_their_path() {
        assert_eq!(problems(json!({})), [""; 0]);
        for (field, least, most) in [
            ("minLeaseSeconds", 1, 864_000_u64),
            ("defaultLeaseSeconds", 1, 7_776_000),
            ("verificationTimeoutMs", 100, 60_000),
            ("requestsPerHost", 1, 1_000_000),
            ("maxSubscriptions", 1, 1_000_000),
        ] {
            assert_eq!(problems(json!({ field: least })), [""; 0], "{field}");
            assert_eq!(problems(json!({ field: most })), [""; 0], "{field}");
            let found = [problems(json!({ field: least - 1 })), problems(json!({ field: most + 1 }))];
            assert!(found.iter().all(|found| !found.is_empty()), "{field}");
        }
        let longest = json!({ "maxLeaseSeconds": WebsubConfig::MAX_LEASE_SECONDS });
        assert_eq!(problems(longest), [""; 0]);
        let longer = json!({ "maxLeaseSeconds": WebsubConfig::MAX_LEASE_SECONDS + 1 });
        assert_eq!(problems(longer), ["maxLeaseSeconds"]);
        assert_eq!(problems(json!({ "retry": { "maxAttempts": 0 } })), ["retry.maxAttempts"]);
    }

    #[test]
    fn a_lease_is_never_without_an_end() {
        let usual = WebsubConfig::default();
        assert_eq!((usual.lease(None), usual.lease(Some(1))), (864_000, 1));
        assert_eq!(usual.lease(Some(u64::MAX)), 7_776_000);
        let bounded: WebsubConfig =
            from_value(json!({ "minLeaseSeconds": 60, "defaultLeaseSeconds": 70, "maxLeaseSeconds": 80 }))
                .unwrap();
        let leases = [None, Some(0), Some(59), Some(75), Some(81)].map(|asked| bounded.lease(asked));
        assert_eq!(leases, [70, 60, 60, 75, 80]);
    }

    #[test]
    fn by_default_a_subscriber_that_is_away_is_called_again_for_as_long_as_the_longest_lease() {
        let usual: WebsubConfig = from_value(json!({})).unwrap();
        assert_eq!(usual, WebsubConfig::default());
        let CallbackRetry { max_attempts, max_delay_seconds, .. } = usual.retry;
        assert!(u64::from(max_attempts) * u64::from(max_delay_seconds) > usual.max_lease_seconds);
        assert!(usual.delivery.circuit_breaker.unwrap().failures <= max_attempts);
        assert_eq!(problems(serde_json::to_value(WebsubConfig::default()).unwrap()), [""; 0]);
    }

    #[test]
    fn a_setting_that_there_is_not_is_refused() {
        let refused = from_value::<WebsubConfig>(json!({ "leaseSeconds": 5 }));
        assert!(refused.unwrap_err().message.contains("leaseSeconds"));
    }
}
