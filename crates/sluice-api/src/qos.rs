//! Delivery promises, and the one table that says which receiver can keep which of them with which broker.
//!
//! The table is what validation asks, what the native management API serves, and what docs/guarantees.md shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delivery promises, as both dialects name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Qos {
    /// What is sent while the client is connected, as fast as it goes.
    None,
    /// As the broker does it by itself; may repeat after a reconnect.
    #[default]
    Auto,
    /// Never twice.
    AtMostOnce,
    /// Never lost; may repeat.
    AtLeastOnce,
}

impl Qos {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Auto, Self::AtMostOnce, Self::AtLeastOnce];

    /// Its name in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Auto => "auto",
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }

    /// Whether clients are told positions, and resume by them.
    pub const fn tells_positions(self) -> bool {
        matches!(self, Self::AtMostOnce | Self::AtLeastOnce)
    }
}

/// What promises depend on at a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keeps {
    kind: &'static str,
    /// Whether messages have a place that a later reader can start behind.
    replays: bool,
    /// Whether an acknowledged message is kept.
    stores: bool,
}

/// The brokers.
const BROKERS: [Keeps; 7] = [
    Keeps { kind: "log", replays: true, stores: true },
    Keeps { kind: "kafka", replays: true, stores: true },
    // What these do not keep, the gateway's journal does.
    Keeps { kind: "mqtt5", replays: true, stores: true },
    Keeps { kind: "solace", replays: true, stores: true },
    Keeps { kind: "amqp", replays: true, stores: true },
    Keeps { kind: "rabbitmq", replays: true, stores: true },
    // It makes the same messages for each reader, numbered, and keeps nothing that is published.
    Keeps { kind: "mock", replays: true, stores: false },
];

/// The receivers, by how they keep a promise.
const RECEIVERS: [(&str, Needs); 7] = [
    ("http-post", Needs::Storing),
    ("http-get", Needs::Replaying),
    ("sse", Needs::Replaying),
    ("websocket", Needs::Replaying),
    ("webhook", Needs::Replaying),
    ("websub", Needs::Replaying),
    ("webhook-receiver", Needs::Storing),
];

/// What a receiver needs of a broker to promise more than `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// That an acknowledged message is kept.
    Storing,
    /// That a client can go on behind a position.
    Replaying,
}

/// One cell of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Offer {
    /// The receiver, without any alias.
    pub receiver: &'static str,
    /// The kind of broker.
    pub broker: &'static str,
    /// The promises that can be kept.
    pub qos: &'static [Qos],
}

/// The whole table: each receiver with each kind of broker.
pub fn offers() -> Vec<Offer> {
    let cells =
        RECEIVERS.iter().flat_map(|(receiver, _)| BROKERS.iter().map(move |broker| (receiver, broker)));
    cells
        .map(|(receiver, broker)| Offer {
            receiver,
            broker: broker.kind,
            qos: offered(receiver, broker.kind),
        })
        .collect()
}

/// The promises that a receiver of this kind can keep with a broker of that kind; none where either is unknown.
pub fn offered(receiver: &str, broker: &str) -> &'static [Qos] {
    let needs = RECEIVERS.iter().find(|(kind, _)| *kind == receiver).map(|(_, needs)| needs);
    let keeps = BROKERS.iter().find(|keeps| keeps.kind == broker);
    match (needs, keeps) {
        (Some(Needs::Storing), Some(Keeps { stores: true, .. }))
        | (Some(Needs::Replaying), Some(Keeps { replays: true, .. })) => &Qos::ALL,
        (Some(_), Some(_)) => &[Qos::None, Qos::Auto],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_cell_for_each_pair_and_none_is_empty() {
        let table = offers();
        assert_eq!(table.len(), RECEIVERS.len() * BROKERS.len());
        assert!(table.iter().all(|offer| offer.qos.starts_with(&[Qos::None, Qos::Auto])));
        assert_eq!(offered("http-post", "mock"), [Qos::None, Qos::Auto]);
        assert_eq!(offered("sse", "kafka"), Qos::ALL);
        assert!(offered("sse", "pigeon").is_empty());
    }

    #[test]
    fn the_table_in_the_docs_is_this_one() {
        let page = include_str!("../../../docs/guarantees.md");
        let shown = page.split("<!-- matrix -->").nth(1).unwrap_or_default().trim();
        let cell = |qos: &[Qos]| match qos {
            qos if qos == Qos::ALL => "all".to_owned(),
            qos => qos.iter().map(|qos| qos.as_str()).collect::<Vec<_>>().join(", "),
        };
        let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let brokers = BROKERS.iter().map(|broker| format!("`{}`", broker.kind));
        let mut table = vec![row(&std::iter::once("Receiver".to_owned()).chain(brokers).collect::<Vec<_>>())];
        table.push(format!("|{}", "---|".repeat(BROKERS.len() + 1)));
        for (receiver, _) in RECEIVERS {
            let cells = BROKERS.iter().map(|broker| cell(offered(receiver, broker.kind)));
            table.push(row(&std::iter::once(format!("`{receiver}`")).chain(cells).collect::<Vec<_>>()));
        }
        assert_eq!(shown, table.join("\n"));
    }
}
