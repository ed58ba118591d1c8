//! Delivering messages of a subscription once more: one call, the same in every contract. In those of other
//! products it is an addition of ours.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_api::{ApiId, Problem, SubscriptionId};
use sluice_delivery::Replay;
use sluice_message::Position;

use crate::{
    Registry,
    contract::{Call, post},
    refusal::Refusal,
    request::{json, read},
    time,
};

/// Which messages; exactly one of the three.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WantedReplay")]
struct Wanted {
    /// Those behind this position, as `topic@partition#offset`, or as clients are given it.
    position: Option<String>,
    /// Those that were published at this time or later, as `2026-11-21T04:48:04Z`.
    since: Option<String>,
    /// `true`: those that went to the dead letters.
    dead_letters: Option<bool>,
}

/// The call at this path, which names an API and a subscription.
pub(crate) fn call(path: String) -> Call {
    post(path, "replaySubscription", "Delivers messages of a subscription once more", replay)
        .takes::<Wanted>()
        .gives_nothing(202, "They will be delivered, behind what is under way.")
        .refuses(409, "The subscription is not served at the moment.")
        .refuses(503, "The broker does not say what it has.")
}

async fn replay(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    registry.subscription_to(&api, &id)?;
    let document = json(&body)?;
    let replay = wanted(read(&document)?).map_err(|problem| Refusal::from(problem).about(&document))?;
    registry.replay(&id, replay).await?;
    Ok(StatusCode::ACCEPTED)
}

fn wanted(wanted: Wanted) -> Result<Replay, Problem> {
    match (wanted.position, wanted.since, wanted.dead_letters) {
        (Some(text), None, None) => position(&text).map(Replay::After),
        (None, Some(since), None) => match time::read("since", Some(&since))? {
            Some(since) => Ok(Replay::Since(since.0)),
            None => Err(not_one()),
        },
        (None, None, Some(true)) => Ok(Replay::DeadLetters),
        _ => Err(not_one()),
    }
}

fn not_one() -> Problem {
    let message = "Say which messages: by one of 'position', 'since' and 'deadLetters' (true).";
    Problem::new("", "replay.invalid", message)
}

/// The plain form always has an `@`, the form for clients never.
fn position(text: &str) -> Result<Position, Problem> {
    let read = if text.contains('@') { text.parse() } else { Position::decode(text) };
    let named = read.map_err(|error| error.to_string()).and_then(|position| {
        if position.is_empty() { Err("The position names no topic.".to_owned()) } else { Ok(position) }
    });
    named.map_err(|message| Problem::new("position", "replay.position.invalid", message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(document: Value) -> Result<Replay, &'static str> {
        let read = sluice_api::from_value(document).and_then(wanted);
        read.map_err(|problem| problem.code)
    }

    #[test]
    fn a_position_is_read_in_either_form() {
        for text in ["orders@0#41", "b3JkZXJzQDAjNDE="] {
            let Ok(Replay::After(position)) = asked(json!({ "position": text })) else {
                panic!("{text} is no position");
            };
            assert_eq!(position.to_string(), "orders@0#41");
        }
        for text in ["", "orders", "orders@0", "orders@0#x", "!"] {
            assert_eq!(asked(json!({ "position": text })).err(), Some("replay.position.invalid"), "{text}");
        }
    }

    #[test]
    fn exactly_one_choice_is_made() {
        assert!(matches!(asked(json!({ "since": "1970-01-01T00:00:01Z" })), Ok(Replay::Since(1000))));
        assert!(matches!(asked(json!({ "deadLetters": true })), Ok(Replay::DeadLetters)));
        for document in [
            json!({}),
            json!({ "deadLetters": false }),
            json!({ "position": "a@0#1", "deadLetters": true }),
            json!({ "position": "a@0#1", "since": "1970-01-01T00:00:01Z" }),
        ] {
            assert_eq!(asked(document.clone()).err(), Some("replay.invalid"), "{document}");
        }
        assert_eq!(asked(json!({ "since": "yesterday" })).err(), Some("document.field"));
        assert_eq!(asked(json!({ "until": "1970-01-01T00:00:01Z" })).err(), Some("document.field"));
    }
}
