//! Clients that share messages: those of one group are handed each message of its topics once between them.
//!
//! Which group a client is in, its API says ([`ChosenBy::group`](sluice_policy::ChosenBy::group)); the group itself is
//! one of the broker, and in `sluice-stream`. It has a position of its own, so that its members are told none.

use std::sync::Arc;

use http::StatusCode;
use sha2::{Digest, Sha256};
use sluice_api::Qos;
use sluice_message::Topic;
use sluice_policy::{Caller, Misled};
use sluice_stream::{Begin, NoGroup, Sharing};

use crate::{Binding, Refusal, hex, resume::Placed};

/// The group that a client is in, if it is in one.
///
/// # Errors
/// 400 where its receiver promises positions or the broker has no groups; what
/// [`ChosenBy::group`](sluice_policy::ChosenBy::group) refuses.
pub(crate) fn of(binding: &Binding, caller: &Caller, qos: Qos) -> Result<Option<String>, Refusal> {
    let Some(group) = binding.counted(binding.chosen_by.group(caller))? else { return Ok(None) };
    if qos.tells_positions() {
        return Err(Misled::NotShared.into());
    }
    let capabilities = binding.driver.capabilities();
    if !capabilities.groups || !capabilities.sharing {
        let text = "The broker behind this API cannot share its messages among the clients of a group. Connect without a \
                    group, or its publisher has to act.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "group.unsupported", text));
    }
    Ok(Some(group))
}

/// A member's place in its group.
///
/// # Errors
/// 503 when this API has as many groups open as it may, or the broker does not answer.
pub(crate) async fn place(
    binding: &Binding,
    topics: &[Topic],
    group: &str,
    qos: Qos,
) -> Result<Placed, Refusal> {
    let sharing = Sharing {
        owner: Arc::from(&*binding.api.0),
        name: name(binding, topics, group).into(),
        from_earliest: binding.begin == Begin::Earliest,
        // With 'none' nothing is promised of what was handed over.
        confirms: qos != Qos::None,
    };
    match binding.hubs.join_group(&binding.driver, topics, &sharing).await {
        Ok(cursor) => Ok(Placed { cursor, has_gap: false, reader: None }),
        Err(NoGroup::Driver(error)) => Err(error.into()),
        Err(NoGroup::TooMany) => {
            let text = "This API has as many groups of clients as it may. Join one that there is, or try again later.";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "group.full", text))
        }
    }
}

/// What the group is called at the broker. No API and no group has the sign between the two in its name, so that no
/// other API's group is called the same. Where not all clients of a name read the same, those that do are a group.
fn name(binding: &Binding, topics: &[Topic], group: &str) -> String {
    let mut name = format!("{}~{group}", binding.api);
    let places = [&binding.channel, &binding.endpoint, &binding.whose];
    if *topics != *binding.deliver_topics || places.iter().any(|place| place.is_some()) {
        let mut digest = Sha256::new();
        let places = places.into_iter().map(|place| place.as_deref().unwrap_or_default());
        for part in places.chain(topics.iter().map(Topic::as_str)) {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        name.push('~');
        name.push_str(&hex::encode(&digest.finalize()[..8]));
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn named(binding: &Binding, topics: &[&'static str]) -> String {
        let topics: Vec<_> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        name(binding, &topics, "g")
    }

    #[tokio::test]
    async fn the_group_of_one_api_is_never_that_of_another() {
        let api = |id: &str| testing::binding_of(&json!({ "id": id }));
        assert_eq!(named(&api("a"), &["t", "u"]), "a~g");
        assert_ne!(named(&api("a.b"), &["t", "u"]), name(&api("a"), &["t".into(), "u".into()], "b.g"));
    }

    #[tokio::test]
    async fn members_that_do_not_read_the_same_are_not_in_the_same_group() {
        let binding = |change: fn(&mut Binding)| {
            let mut binding = testing::binding_of(&json!({}));
            change(&mut binding);
            binding
        };
        let plain = binding(|_| ());
        let names = [
            named(&plain, &["t", "u"]),
            named(&plain, &["t"]),
            named(&plain, &["u", "t"]),
            named(&binding(|binding| binding.channel = Some("c".into())), &["t"]),
            named(&binding(|binding| binding.endpoint = Some("c".into())), &["t"]),
            named(&binding(|binding| binding.whose = Some("c".into())), &["t"]),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{names:?}");
        }
        assert_eq!(names[1], named(&plain, &["t"]));
    }
}
