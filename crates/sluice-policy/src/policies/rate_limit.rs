//! `rate-limit`: how often clients may connect or post in a time. It counts what comes to the gateway, never the
//! messages of a stream.
//!
//! Counters are in memory, each gateway's own, and begin anew when an API is deployed anew. There is a bound on
//! how many there are; what happens beyond it is a setting.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::Expression;

use crate::{Caller, Entry, Hook, Policy, Rejection, catalogue::schema_of, site::Site};

pub(crate) const ENTRY: Entry = Entry {
    id: "rate-limit",
    aliases: &[],
    name: "Rate limit",
    description: "Says how often a client may connect or post in a time.",
    documentation: "It counts connections and posts, never the messages of a stream. Clients are told apart by plan \
                    and subscription, under a key-less plan by their address; `key` tells them apart further. \
                    Beyond the limit the answer is 429 with `X-Rate-Limit-Limit`, `X-Rate-Limit-Remaining` and \
                    `X-Rate-Limit-Reset` (milliseconds since 1970). Counters are kept in the memory of the gateway, \
                    at most 65,536 for each use of the policy, and begin anew when the API is deployed anew.",
    example: r#"{"addHeaders": true, "rate": {"limit": 100, "periodTime": 1, "periodTimeUnit": "MINUTES"}}"#,
    hooks: &[Hook::Connect],
    schema: schema_of::<Settings>,
    build,
};

/// The error key of the contract, for response templates.
const KEY: &str = "RATE_LIMIT_TOO_MANY_REQUESTS";
/// The error key where nothing can be counted.
const FAILED_KEY: &str = "RATE_LIMIT_SERVER_ERROR";
/// How many counters a policy keeps in each of its two generations.
const COUNTERS: usize = 32_768;
/// The longest period, in seconds.
const LONGEST: u64 = 24 * 60 * 60;

/// Settings of `rate-limit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Whether answers have the `X-Rate-Limit` headers also below the limit. Default false.
    #[serde(default)]
    add_headers: bool,
    /// Without meaning here: counters in memory are always exact. Default false.
    #[serde(default, rename = "async")]
    _async: bool,
    /// What becomes of a client that cannot be counted, because there are too many counters or the limit has
    /// no value. Default `FALLBACK_PASS_TROUGH`.
    #[serde(default)]
    error_strategy: ErrorStrategy,
    /// How often in which time. Required.
    rate: Rate,
}

/// What becomes of a client that cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ErrorStrategy {
    /// It is let in.
    #[default]
    FallbackPassTrough,
    /// It is turned away with 500.
    BlockOnInternalError,
}

/// How often in which time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rate {
    /// Tells clients apart further; it may have expressions in it.
    #[serde(default)]
    key: String,
    /// Whether only `key` tells clients apart. Default false.
    #[serde(default)]
    use_key_only: bool,
    /// How often; 0 leaves it to `dynamicLimit`. Default 0.
    #[serde(default)]
    limit: u64,
    /// How often, as an expression; read where `limit` is 0.
    #[serde(default)]
    dynamic_limit: String,
    /// In how long, in the unit of `periodTimeUnit`; at most a day. Default 1.
    #[serde(default = "Rate::default_period")]
    period_time: u64,
    /// The unit of `periodTime`. Default `SECONDS`.
    #[serde(default)]
    period_time_unit: PeriodUnit,
}

impl Rate {
    const fn default_period() -> u64 {
        1
    }
}

/// The unit of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum PeriodUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Minutes.
    Minutes,
}

#[derive(Debug)]
struct RateLimit {
    add_headers: bool,
    block_on_error: bool,
    key: Expression,
    key_only: bool,
    limit: Limit,
    /// The period as it is set, with its unit.
    period: (u64, &'static str),
    hasher: RandomState,
    counters: Mutex<Counters>,
}

#[derive(Debug)]
enum Limit {
    Fixed(u64),
    Dynamic(Expression),
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { add_headers, error_strategy, rate, .. } =
        from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let key = site.text("rate.key", &rate.key);
    if rate.use_key_only && rate.key.is_empty() {
        let message = "With useKeyOnly a key is needed, or all clients share one counter.";
        problems.push(Problem::new("rate.key", "document.field", message));
    }
    let limit = match (rate.limit, &*rate.dynamic_limit) {
        (0, "") => {
            let message = "A limit of at least 1 is needed here, or a dynamicLimit.";
            Err(Problem::new("rate.limit", "document.field", message))
        }
        (0, dynamic) => site.text("rate.dynamicLimit", dynamic).map(Limit::Dynamic),
        (fixed, _) => Ok(Limit::Fixed(fixed)),
    };
    let (unit, unit_seconds) = match rate.period_time_unit {
        PeriodUnit::Seconds => ("seconds", 1),
        PeriodUnit::Minutes => ("minutes", 60),
    };
    let seconds = rate.period_time.saturating_mul(unit_seconds);
    if !(1..=LONGEST).contains(&seconds) {
        problems.push(Problem::new("rate.periodTime", "document.field", "It can be from 1 second to a day."));
    }
    if !rate.use_key_only {
        // The address of a client without a subscription.
        site.read_request();
    }
    match (key, limit) {
        (Ok(key), Ok(limit)) if problems.is_empty() => Ok(Arc::new(RateLimit {
            add_headers,
            block_on_error: error_strategy == ErrorStrategy::BlockOnInternalError,
            key,
            key_only: rate.use_key_only,
            limit,
            period: (rate.period_time, unit),
            hasher: RandomState::new(),
            counters: Mutex::new(Counters::new(Duration::from_secs(seconds), COUNTERS, Instant::now())),
        })),
        (key, limit) => {
            problems.extend(key.err());
            problems.extend(limit.err());
            Err(problems)
        }
    }
}

impl RateLimit {
    /// Counts a client; why it is turned away, if it is.
    fn refusal(&self, caller: &mut Caller) -> Option<Rejection> {
        let Some((key, limit)) = self.key(caller).zip(self.limit(caller)) else {
            return self.uncounted("its key or its limit has no value for this client");
        };
        let counted =
            self.counters.lock().unwrap_or_else(PoisonError::into_inner).count(key, limit, Instant::now());
        let Some(counted) = counted else {
            return self.uncounted("it has as many counters as it may");
        };
        if self.add_headers || counted.over {
            let headers = [
                ("X-Rate-Limit-Limit", u128::from(limit)),
                ("X-Rate-Limit-Remaining", u128::from(limit.saturating_sub(counted.count))),
                ("X-Rate-Limit-Reset", epoch_ms(counted.remaining)),
            ];
            for (name, number) in headers {
                caller.answer_headers.set(name, number.to_string());
            }
        }
        counted.over.then(|| self.exceeded(limit))
    }

    fn exceeded(&self, limit: u64) -> Rejection {
        let (time, unit) = self.period;
        let message =
            format!("Rate limit exceeded ! You reach the limit of {limit} requests per {time} {unit}");
        let mut rejection = Rejection::new(429, "policy.rate-limit.exceeded", KEY, message);
        for (name, value) in [
            ("limit", limit.to_string()),
            ("period_time", time.to_string()),
            ("period_unit", unit.to_owned()),
        ] {
            rejection.parameters.insert(name.to_owned(), value);
        }
        rejection
    }

    /// By what this client is told apart; `None` where the key has no value. A hash, since what clients send may
    /// be long; it is seeded, so that nobody can choose whose counter to share.
    fn key(&self, caller: &Caller) -> Option<u64> {
        let context = caller.context();
        let own = self.key.text(&context).ok()??;
        if self.key_only {
            return Some(self.hasher.hash_one(own));
        }
        let plan = caller.plan().map(|plan| &*plan.0);
        let subscription = caller.subscription().map(|subscription| &*subscription.id.0);
        let address = || caller.request().map(|request| &*request.remote_address);
        Some(self.hasher.hash_one((plan, subscription.is_some(), subscription.or_else(address), own)))
    }

    fn limit(&self, caller: &Caller) -> Option<u64> {
        match &self.limit {
            Limit::Fixed(limit) => Some(*limit),
            Limit::Dynamic(expression) => expression.text(&caller.context()).ok()??.trim().parse().ok(),
        }
    }

    fn uncounted(&self, why: &str) -> Option<Rejection> {
        self.block_on_error.then(|| {
            let message = format!("The rate limit of this API cannot count: {why}. Its operator has to act.");
            Rejection::new(500, "policy.rate-limit.failed", FAILED_KEY, message)
        })
    }
}

impl Policy for RateLimit {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn connect<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        future::ready(self.refusal(caller).map_or(Ok(()), Err)).boxed()
    }
}

/// Counters that each run for one period from their first count.
///
/// There are two generations: new counters go to the younger, and each period the elder is forgotten whole,
/// when the last of its counters has run out. So no client ever waits while all are looked through.
#[derive(Debug)]
struct Counters {
    period: Duration,
    /// How many a generation may have.
    most: usize,
    young: HashMap<u64, Counter>,
    old: HashMap<u64, Counter>,
    /// When the younger generation began.
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    count: u64,
    began: Instant,
}

/// What came of a count.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    count: u64,
    over: bool,
    /// How long the counter still runs.
    remaining: Duration,
}

impl Counters {
    fn new(period: Duration, most: usize, now: Instant) -> Self {
        Self { period, most, young: HashMap::new(), old: HashMap::new(), since: now }
    }

    /// Counts one more; `None` where there is no room for another counter.
    fn count(&mut self, key: u64, limit: u64, now: Instant) -> Option<Counted> {
        let age = now.saturating_duration_since(self.since);
        if age >= self.period {
            // Beyond two periods the younger ones have run out, too.
            let young = std::mem::take(&mut self.young);
            self.old = if age < self.period * 2 { young } else { HashMap::new() };
            self.since = now;
        }
        let period = self.period;
        let runs = |counter: &&mut Counter| now.saturating_duration_since(counter.began) < period;
        // The elder first: while it runs it is the only one of its key. The younger run for certain.
        let counter = match self.old.get_mut(&key).filter(runs) {
            Some(counter) => counter,
            None if self.young.contains_key(&key) || self.young.len() < self.most => {
                self.young.entry(key).or_insert(Counter { count: 0, began: now })
            }
            None => return None,
        };
        let over = counter.count >= limit;
        if !over {
            counter.count += 1;
        }
        let remaining = (counter.began + period).saturating_duration_since(now);
        Some(Counted { count: counter.count, over, remaining })
    }
}

/// The time after so long, in milliseconds since 1970-01-01 UTC.
fn epoch_ms(after: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + after).as_millis()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_api::PlanId;

    use super::*;
    use crate::{
        Chains,
        tests::{caller, compiled, connected, refused, request, step},
    };

    fn limited(settings: Json) -> Chains {
        let plans = json!([
            {"id": "one", "name": "One", "security": {"type": "key-less"}},
            {"id": "two", "name": "Two", "security": {"type": "key-less"}},
        ]);
        let flows = json!([{"connect": [step("rate-limit", settings)]}]);
        let key = json!({"RATE_LIMIT_TOO_MANY_REQUESTS": {"text/plain": {"status": 429,
            "body": "{#parameters['limit']} per {#parameters['period_time']} {#parameters['period_unit']}"}}});
        compiled(json!({"plans": plans, "flows": flows, "responseTemplates": key}))
    }

    fn on(plan: &str, chains: &Chains) -> Caller {
        caller(chains, "http-post", &[("tier", "2")]).with_plan(&PlanId(plan.to_owned()))
    }

    fn header(headers: &sluice_message::Headers, name: &str) -> Option<u64> {
        std::str::from_utf8(headers.get(name)?).ok()?.parse().ok()
    }

    #[tokio::test]
    async fn beyond_the_limit_a_client_is_told_when_to_come_again() {
        let chains = limited(
            json!({"addHeaders": true, "rate": {"limit": 2, "periodTime": 20, "periodTimeUnit": "MINUTES"}}),
        );
        for remaining in [1, 0] {
            let mut caller = connected(&chains, on("one", &chains)).await.unwrap();
            let mut answer = sluice_expression::Response { status: 202, ..Default::default() };
            assert!(chains.responds(&caller));
            chains.respond(&mut caller, &mut answer);
            assert_eq!(header(&answer.headers, "x-rate-limit-limit"), Some(2));
            assert_eq!(header(&answer.headers, "x-rate-limit-remaining"), Some(remaining));
        }
        let rejection = connected(&chains, on("one", &chains)).await.unwrap_err();
        assert_eq!(
            (rejection.status, &*rejection.key, rejection.code),
            (429, KEY, "policy.rate-limit.exceeded")
        );
        assert_eq!(
            rejection.message,
            "Rate limit exceeded ! You reach the limit of 2 requests per 20 minutes"
        );
        assert_eq!(header(&rejection.headers, "x-rate-limit-remaining"), Some(0));
        let reset = u128::from(header(&rejection.headers, "x-rate-limit-reset").unwrap());
        assert!(reset > epoch_ms(Duration::ZERO) && reset <= epoch_ms(Duration::from_secs(20 * 60)));
        assert_eq!(rejection.response.unwrap().body, "2 per 20 minutes");
    }

    #[tokio::test]
    async fn clients_are_told_apart_by_plan_address_and_key() {
        let chains = limited(json!({"rate": {"limit": 1, "key": "{#request.headers['tier'][0]}"}}));
        let from = |address: &str, tier: &'static str| {
            let mut request = request(&[("tier", tier)]);
            request.remote_address = address.to_owned();
            Caller::new(&chains, "sse", "")
                .with_request(Arc::new(request))
                .with_plan(&PlanId("one".to_owned()))
        };
        assert!(connected(&chains, from("192.0.2.1", "a")).await.is_ok());
        assert!(connected(&chains, from("192.0.2.1", "a")).await.is_err());
        assert!(connected(&chains, from("192.0.2.1", "b")).await.is_ok());
        assert!(connected(&chains, from("192.0.2.2", "a")).await.is_ok());
        assert!(connected(&chains, on("two", &chains)).await.is_ok());
        let chains = limited(json!({"rate": {"limit": 1, "key": "all", "useKeyOnly": true}}));
        assert!(connected(&chains, on("one", &chains)).await.is_ok());
        assert!(connected(&chains, on("two", &chains)).await.is_err());
    }

    #[tokio::test]
    async fn a_limit_can_be_an_expression_and_who_cannot_be_counted_is_treated_as_set() {
        let dynamic = |limit: &str, strategy: &str| {
            limited(json!({"errorStrategy": strategy, "rate": {"dynamicLimit": limit}}))
        };
        let chains = dynamic("{#request.headers['tier'][0]}", "FALLBACK_PASS_TROUGH");
        for _ in 0..2 {
            let caller = connected(&chains, on("one", &chains)).await.unwrap();
            assert!(caller.answer_headers.is_empty());
        }
        assert_eq!(connected(&chains, on("one", &chains)).await.unwrap_err().status, 429);
        let chains = dynamic("{#request.headers['none'][0]}", "FALLBACK_PASS_TROUGH");
        assert!(connected(&chains, on("one", &chains)).await.is_ok());
        let chains = dynamic("many", "BLOCK_ON_INTERNAL_ERROR");
        let rejection = connected(&chains, on("one", &chains)).await.unwrap_err();
        assert_eq!((rejection.status, rejection.code), (500, "policy.rate-limit.failed"));
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_counter_runs_for_one_period_from_its_first_count() {
        let begin = Instant::now();
        let mut counters = Counters::new(second(10), 100, begin);
        let mut count = |at: u64| counters.count(7, 2, begin + second(at)).unwrap();
        assert_eq!(count(9), Counted { count: 1, over: false, remaining: second(10) });
        assert_eq!(count(11), Counted { count: 2, over: false, remaining: second(8) });
        assert_eq!(count(18), Counted { count: 2, over: true, remaining: second(1) });
        assert_eq!(count(19), Counted { count: 1, over: false, remaining: second(10) });
        assert_eq!(count(500).count, 1);
    }

    #[test]
    fn there_are_no_more_counters_than_may_be_and_room_again_after_a_period() {
        let begin = Instant::now();
        let mut counters = Counters::new(second(10), 2, begin);
        let mut count = |key: char, at: u64| counters.count(key.into(), 5, begin + second(at)).is_some();
        assert!(count('a', 0) && count('b', 1) && !count('c', 2) && count('a', 3));
        assert!(count('c', 10) && count('b', 10) && count('d', 10) && !count('e', 11));
        assert!(count('e', 20));
        assert!(counters.young.len() + counters.old.len() <= 4);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let paths = |rate: Json| {
            let found = refused(&ENTRY, Hook::Connect, json!({"rate": rate}));
            found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(paths(json!({})), ["rate.limit"]);
        assert_eq!(paths(json!({"limit": 1, "useKeyOnly": true})), ["rate.key"]);
        assert_eq!(paths(json!({"limit": 1, "periodTime": 0})), ["rate.periodTime"]);
        assert_eq!(
            paths(json!({"limit": 1, "periodTime": 1441, "periodTimeUnit": "MINUTES"})),
            ["rate.periodTime"]
        );
        assert_eq!(
            paths(json!({"key": "{#message.id}", "dynamicLimit": "{#x}"})),
            ["rate.key", "rate.dynamicLimit"]
        );
        assert_eq!(paths(json!({"limit": -1})), ["rate.limit"]);
    }
}
