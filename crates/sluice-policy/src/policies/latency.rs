//! `latency`: holds a connection or each message back for a while.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::EvalContext;
use sluice_message::Message;

use crate::{Caller, Entry, Hook, Policy, Rejection, Verdict, catalogue::schema_of, site::Site};

pub(crate) const ENTRY: Entry = Entry {
    id: "latency",
    aliases: &[],
    versions: &[],
    name: "Latency",
    description: "Holds a connection, or each message, back for a while.",
    documentation: "At `connect`, `subscribe` and `unsubscribe` it waits once, at `publish` and `deliver` for each message. Messages of one client \
                    keep their order, so that a time of 100 ms lets at most 10 of them through in a second.",
    example: r#"{"time": 2, "timeUnit": "SECONDS"}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_secs(300);

/// Settings of `latency`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// How long, in the unit of `timeUnit`; at most 5 minutes. Default 100.
    #[serde(default = "Settings::default_time", alias = "delay")]
    time: u64,
    /// The unit of `time`. Default `MILLISECONDS`.
    #[serde(default)]
    time_unit: TimeUnit,
}

impl Settings {
    const fn default_time() -> u64 {
        100
    }
}

/// The unit of a time.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum TimeUnit {
    /// Thousandths of a second.
    #[default]
    Milliseconds,
    /// Seconds.
    Seconds,
}

#[derive(Debug)]
struct Latency(Duration);

fn build(configuration: Json, _: Hook, _: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let time = match settings.time_unit {
        TimeUnit::Milliseconds => Duration::from_millis(settings.time),
        TimeUnit::Seconds => Duration::from_secs(settings.time),
    };
    if time > LONGEST {
        let message = format!("It can be at most {} seconds.", LONGEST.as_secs());
        return Err(vec![Problem::new("time", "document.field", message)]);
    }
    Ok(Arc::new(Latency(time)))
}

impl Policy for Latency {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, _: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        tokio::time::sleep(self.0).map(Ok).boxed()
    }

    fn apply(&self, _: &EvalContext<'_>, message: Message) -> Verdict {
        Verdict::Delay(message, self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, message, refused};

    fn delay(settings: Json) -> Duration {
        let policy = built(&ENTRY, Hook::Deliver, settings).unwrap();
        match policy.apply(&EvalContext::new(), message("x")) {
            Verdict::Delay(_, time) => time,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_waits_as_long_as_is_set() {
        assert_eq!(delay(json!({})), Duration::from_millis(100));
        assert_eq!(delay(json!({"time": 2, "timeUnit": "SECONDS"})), Duration::from_secs(2));
        assert_eq!(delay(json!({"delay": 800})), Duration::from_millis(800));
        assert_eq!(delay(json!({"time": 300_000})), LONGEST);
    }

    #[test]
    fn a_time_out_of_range_is_refused() {
        for time in [json!(300_001), json!(-1), json!("1"), json!(u64::MAX)] {
            let found = refused(&ENTRY, Hook::Publish, json!({"time": time, "timeUnit": "MILLISECONDS"}));
            assert_eq!(found[0].0, "time");
        }
        assert_eq!(
            refused(&ENTRY, Hook::Publish, json!({"time": u64::MAX, "timeUnit": "SECONDS"}))[0].0,
            "time"
        );
        assert_eq!(refused(&ENTRY, Hook::Publish, json!({"timeUnit": "HOURS"}))[0].0, "timeUnit");
    }
}
