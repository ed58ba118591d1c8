//! Settings of the `webhook` receiver: what all its subscribers have in common. What each of them says for
//! itself is a [`Callback`](crate::Callback).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problem, Secret, broker::yes};

/// Settings of `webhook`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// Times and connections of the calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: CallbackHttp,
    /// The proxy that calls go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<CallbackProxy>,
    /// Leaves subscribers alone for a while that do not take anything at the moment; always called when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CallbackBreaker>,
    /// Whether a subscription fails when its server answers 5xx after all retries and there is no dead letter
    /// endpoint; where false the message is given up, and counted. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub interrupt_consumption_on_server_error: bool,
    /// The same for a server that cannot be reached or does not answer. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub interrupt_consumption_on_exception: bool,
}

/// When a subscriber is left alone. After so many calls in a row that failed nothing is sent for a while; then one
/// message is, and the others follow when that succeeds. While it is left alone, calls that did not reach it, or
/// that it answered 429 or 503, do not count as attempts: its messages wait, in order, until it is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackBreaker {
    /// Calls in a row that failed, after which nothing is sent. From 1 to 1000, default 5.
    #[serde(default = "CallbackBreaker::default_failures")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// Milliseconds until the first call that tries again. From 100 to 3,600,000, default 5000.
    #[serde(default = "CallbackBreaker::default_first_wait")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub first_wait_ms: u64,
    /// Milliseconds that the wait may grow to, twice as long each time; not less than `firstWaitMs`. Up to
    /// 86,400,000, default 300,000.
    #[serde(default = "CallbackBreaker::default_longest_wait")]
    #[schemars(range(min = 100, max = 86_400_000))]
    pub longest_wait_ms: u64,
}

impl CallbackBreaker {
    const fn default_failures() -> u32 {
        5
    }

    const fn default_first_wait() -> u64 {
        5000
    }

    const fn default_longest_wait() -> u64 {
        300_000
    }
}

impl Default for CallbackBreaker {
    fn default() -> Self {
        Self {
            failures: Self::default_failures(),
            first_wait_ms: Self::default_first_wait(),
            longest_wait_ms: Self::default_longest_wait(),
        }
    }
}

/// Times and connections of the calls of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackHttp {
    /// Milliseconds until a connection must stand. From 1 to 60,000, default 3000.
    #[serde(default = "CallbackHttp::default_connect")]
    #[schemars(range(min = 1, max = 60_000))]
    pub connect_timeout: u64,
    /// Milliseconds until the answer must be there. From 1 to 300,000, default 10,000.
    #[serde(default = "CallbackHttp::default_read")]
    #[schemars(range(min = 1, max = 300_000))]
    pub read_timeout: u64,
    /// Milliseconds that an unused connection is kept. Up to 3,600,000, default 60,000.
    #[serde(default = "CallbackHttp::default_idle")]
    #[schemars(range(max = 3_600_000))]
    pub idle_timeout: u64,
    /// Calls under way at once for one subscription, from 1 to 20, default 5; one where it wants all messages
    /// in order.
    #[serde(default = "CallbackHttp::default_connections")]
    #[schemars(range(min = 1, max = 20))]
    pub max_concurrent_connections: u32,
}

/// The proxy that calls go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackProxy {
    /// Whether it is used. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether the proxy of the gateway's own environment is used, in place of `host` and `port`.
    #[serde(default)]
    pub use_system_proxy: bool,
    /// What it speaks. Default `HTTP`.
    #[serde(rename = "type", default)]
    pub kind: ProxyType,
    /// Its host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its port.
    #[serde(default)]
    pub port: u16,
    /// The name to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProxyType {
    /// HTTP, with CONNECT for https.
    #[default]
    Http,
    /// SOCKS version 4.
    Socks4,
    /// SOCKS version 5 (RFC 1928).
    Socks5,
}

impl CallbackHttp {
    const fn default_connect() -> u64 {
        3000
    }

    const fn default_read() -> u64 {
        10_000
    }

    const fn default_idle() -> u64 {
        60_000
    }

    const fn default_connections() -> u32 {
        5
    }
}

impl Default for CallbackHttp {
    fn default() -> Self {
        Self {
            connect_timeout: Self::default_connect(),
            read_timeout: Self::default_read(),
            idle_timeout: Self::default_idle(),
            max_concurrent_connections: Self::default_connections(),
        }
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            http: CallbackHttp::default(),
            proxy: None,
            circuit_breaker: None,
            interrupt_consumption_on_server_error: true,
            interrupt_consumption_on_exception: true,
        }
    }
}

impl WebhookConfig {
    /// Every rule that these settings break, with paths relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let invalid = |field: &str, message: &str| {
            Problem::new(field, "listeners.entrypoints.configuration.invalid", message)
        };
        let http = &self.http;
        let breaker = self.circuit_breaker.clone().unwrap_or_default();
        let bounded = [
            ("circuitBreaker.failures", u64::from(breaker.failures), 1..=1000),
            ("circuitBreaker.firstWaitMs", breaker.first_wait_ms, 100..=3_600_000),
            ("circuitBreaker.longestWaitMs", breaker.longest_wait_ms, breaker.first_wait_ms..=86_400_000),
            ("http.connectTimeout", http.connect_timeout, 1..=60_000),
            ("http.readTimeout", http.read_timeout, 1..=300_000),
            ("http.idleTimeout", http.idle_timeout, 0..=3_600_000),
            ("http.maxConcurrentConnections", u64::from(http.max_concurrent_connections), 1..=20),
        ];
        for (field, value, allowed) in bounded {
            if !allowed.contains(&value) {
                let message = format!("Must be from {} to {}.", allowed.start(), allowed.end());
                problems.push(invalid(field, &message));
            }
        }
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.enabled && !proxy.use_system_proxy)
            && (proxy.host.is_empty() || proxy.port == 0)
        {
            problems.push(invalid("proxy.host", "A proxy needs a host and a port."));
        }
        if let Some(proxy) = &self.proxy {
            if proxy.kind == ProxyType::Socks4 && proxy.username.is_some() {
                problems.push(invalid("proxy.username", "SOCKS4 takes no credentials; SOCKS5 does."));
            }
            if proxy.password.is_some() && proxy.username.is_none() {
                problems.push(invalid("proxy.username", "Must be there where a password is."));
            }
        }
        problems
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let password = self.proxy.as_mut().and_then(|proxy| proxy.password.as_mut());
        password.map(|password| ("proxy.password".to_owned(), password)).into_iter().collect()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_true(flag: &bool) -> bool {
    *flag
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(proxy: &Value) -> Vec<String> {
        let webhook: WebhookConfig = crate::from_value(json!({ "proxy": proxy })).unwrap();
        webhook.problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_proxy_has_an_address_and_only_credentials_that_are_used() {
        let proxy = |kind: &str, username: Option<&str>, password: Option<&str>| json!({ "type": kind, "host": "proxy", "port": 1, "username": username, "password": password });
        assert_eq!(problems(&proxy("SOCKS5", Some("me"), Some("secret"))), Vec::<String>::new());
        assert_eq!(problems(&proxy("SOCKS4", None, None)), Vec::<String>::new());
        assert_eq!(problems(&proxy("SOCKS4", Some("me"), None)), ["proxy.username"]);
        assert_eq!(problems(&proxy("HTTP", None, Some("secret"))), ["proxy.username"]);
        assert_eq!(problems(&json!({ "type": "HTTP", "host": "proxy" })), ["proxy.host"]);
        assert_eq!(problems(&json!({ "useSystemProxy": true })), Vec::<String>::new());
    }

    #[test]
    fn a_circuit_opens_after_some_failures_and_for_a_bounded_time() {
        let problems = |field: &str, value: u64| {
            let breaker = json!({ "circuitBreaker": { field: value } });
            let webhook: WebhookConfig = crate::from_value(breaker).unwrap();
            webhook.problems().into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        for (field, good, bad) in [
            ("failures", [1, 1000], [0, 1001]),
            ("firstWaitMs", [100, 300_000], [99, 300_001]),
            ("longestWaitMs", [5000, 86_400_000], [4999, 86_400_001]),
        ] {
            assert!(good.iter().all(|value| problems(field, *value).is_empty()), "{field}");
            assert!(bad.iter().all(|value| !problems(field, *value).is_empty()), "{field}");
        }
    }
}
