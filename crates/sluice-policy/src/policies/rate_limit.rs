//! `rate-limit`: how often clients may connect, post or ask a hub in a time. It counts what comes to the gateway, never the
//! messages of a stream.
//!
//! Counters are in memory, each gateway's own, and begin anew when an API is deployed anew. There is a bound on
//! how many there are; clients beyond it share one, since what nobody counts is no limit. Subscribers that are
//! called do not come by themselves, and are not counted.

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
    versions: &[],
    name: "Rate limit",
    description: "Says how often a client may connect, post or ask a hub in a time.",
    documentation: "It counts connections, posts and what is asked of a hub, never the messages of a stream. Clients are told apart by plan \
                    and subscription, under a key-less plan by their address; `key` tells them apart further, and is \
                    taken as empty where it has no value. Subscribers that the gateway calls (webhooks) are not \
                    counted: the policy is passed over for them. \
                    Beyond the limit the answer is 429 with `X-Rate-Limit-Limit`, `X-Rate-Limit-Remaining` and \
                    `X-Rate-Limit-Reset` (milliseconds since 1970). Counters are kept in the memory of the gateway, \
                    at most 65,536 for each use of the policy, and begin anew when the API is deployed anew. Clients \
                    for whom there is no room, and with `useKeyOnly` those whose `key` has no value, share one counter.",
    example: r#"{"addHeaders": true, "rate": {"limit": 100, "periodTime": 1, "periodTimeUnit": "MINUTES"}}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe],
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
    /// What becomes of a client that cannot be counted, because the limit has no value. Default `FALLBACK_PASS_TROUGH`.
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
    hook: Hook,
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

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
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
            hook,
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
        let Some(limit) = self.limit(caller) else { return self.uncounted() };
        let key = self.key(caller);
        let counted =
            self.counters.lock().unwrap_or_else(PoisonError::into_inner).count(key, limit, Instant::now());
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

    /// By what this client is told apart; `None` where nothing tells it apart. A hash, since what clients send may
    /// be long; it is seeded, so that nobody can choose whose counter to share.
    fn key(&self, caller: &Caller) -> Option<u64> {
        let context = caller.context();
        let own = self.key.text(&context).ok().flatten();
        if self.key_only {
            return own.map(|own| self.hasher.hash_one(own));
        }
        // Else a client would get past its limit by leaving out what the key is made of.
        let own = own.unwrap_or_default();
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

    fn uncounted(&self) -> Option<Rejection> {
        self.block_on_error.then(|| {
            let message = "The rate limit of this API cannot count: its limit has no value for this client. \
                           Its operator has to act.";
            Rejection::new(500, "policy.rate-limit.failed", FAILED_KEY, message)
        })
    }
}

impl Policy for RateLimit {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        // Called ones begin all at once where an API is deployed, and none of them asks for it.
        let is_called = self.hook == Hook::Connect && caller.is_called();
        let refusal = if is_called { None } else { self.refusal(caller) };
        future::ready(refusal.map_or(Ok(()), Err)).boxed()
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
    /// Of all that have no counter of their own.
    shared: Option<Counter>,
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
        Self { period, most, young: HashMap::new(), old: HashMap::new(), shared: None, since: now }
    }

    /// Counts one more; in the shared counter without a key, or where there is no room for another counter.
    fn count(&mut self, key: Option<u64>, limit: u64, now: Instant) -> Counted {
        let age = now.saturating_duration_since(self.since);
        if age >= self.period {
            // Beyond two periods the younger ones have run out, too.
            let young = std::mem::take(&mut self.young);
            self.old = if age < self.period * 2 { young } else { HashMap::new() };
            self.since = now;
        }
        let period = self.period;
        let runs = |counter: &Counter| now.saturating_duration_since(counter.began) < period;
        let fresh = Counter { count: 0, began: now };
        // The elder first: while it runs it is the only one of its key. The younger run for certain.
        let counter = match key {
            Some(key) if self.old.get(&key).is_some_and(runs) => self.old.entry(key).or_insert(fresh),
            Some(key) if self.young.contains_key(&key) || self.young.len() < self.most => {
                self.young.entry(key).or_insert(fresh)
            }
            _ => {
                self.shared = self.shared.filter(runs);
                self.shared.get_or_insert(fresh)
            }
        };
        let over = counter.count >= limit;
        if !over {
            counter.count += 1;
        }
        let remaining = (counter.began + period).saturating_duration_since(now);
        Counted { count: counter.count, over, remaining }
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
        tests::{caller, chains, compiled, connected, refused, request, step},
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

    #[tokio::test]
    async fn leaving_out_what_the_key_is_made_of_gets_nobody_past_the_limit() {
        for key_only in [false, true] {
            let key = "{#request.headers['none'][0]}";
            let chains = limited(json!({"rate": {"limit": 2, "key": key, "useKeyOnly": key_only}}));
            for _ in 0..2 {
                assert!(connected(&chains, on("one", &chains)).await.is_ok());
            }
            assert_eq!(connected(&chains, on("one", &chains)).await.unwrap_err().status, 429);
            assert_eq!(connected(&chains, on("two", &chains)).await.is_ok(), !key_only);
        }
    }

    #[tokio::test]
    async fn subscribers_that_are_called_are_not_counted() {
        let chains = limited(json!({"addHeaders": true, "rate": {"limit": 1}}));
        for receiver in ["webhook", "webhook", "websub"] {
            let caller = connected(&chains, Caller::new(&chains, receiver, "")).await.unwrap();
            assert!(caller.answer_headers.is_empty());
        }
        assert!(connected(&chains, Caller::new(&chains, "sse", "")).await.is_ok());
        assert!(connected(&chains, Caller::new(&chains, "sse", "")).await.is_err());
    }

    #[tokio::test]
    async fn what_is_asked_of_a_hub_is_counted() {
        let limit = step("rate-limit", json!({"rate": {"limit": 1}}));
        let chains = chains(json!([{"subscribe": [limit.clone()], "unsubscribe": [limit]}]));
        for hook in [Hook::Subscribe, Hook::Unsubscribe] {
            let ask = async || chains.meet(hook, &mut caller(&chains, "websub", &[])).await.is_ok();
            assert!(ask().await && !ask().await);
        }
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_counter_runs_for_one_period_from_its_first_count() {
        let begin = Instant::now();
        let mut counters = Counters::new(second(10), 100, begin);
        let mut count = |at: u64| counters.count(Some(7), 2, begin + second(at));
        assert_eq!(count(9), Counted { count: 1, over: false, remaining: second(10) });
        assert_eq!(count(11), Counted { count: 2, over: false, remaining: second(8) });
        assert_eq!(count(18), Counted { count: 2, over: true, remaining: second(1) });
        assert_eq!(count(19), Counted { count: 1, over: false, remaining: second(10) });
        assert_eq!(count(500).count, 1);
    }

    #[test]
    fn those_beyond_as_many_counters_as_may_be_share_one_until_there_is_room_again() {
        let begin = Instant::now();
        let mut counters = Counters::new(second(10), 2, begin);
        let mut count = |key: Option<char>, at: u64| {
            let counted = counters.count(key.map(u64::from), 2, begin + second(at));
            assert!(counters.young.len() + counters.old.len() <= 4);
            (counted.count, counted.over)
        };
        assert_eq!((count(Some('a'), 0), count(Some('b'), 1)), ((1, false), (1, false)));
        assert_eq!((count(Some('c'), 2), count(Some('d'), 3)), ((1, false), (2, false)));
        assert_eq!((count(Some('e'), 4), count(None, 4)), ((2, true), (2, true)));
        assert_eq!(count(Some('a'), 5), (2, false));
        assert_eq!((count(Some('c'), 10), count(Some('b'), 10)), ((1, false), (2, false)));
        assert_eq!(count(Some('d'), 10), (1, false));
        assert_eq!(count(Some('e'), 11), (2, true));
        assert_eq!((count(None, 12), count(Some('e'), 20)), ((1, false), (1, false)));
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
