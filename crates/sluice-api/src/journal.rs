//! Whether an event API reads from a journal, where its broker keeps no messages for later readers. The one place that
//! says so; the journal itself is the gateway's.

use crate::{EventApi, Qos, Receiver, ReceiverConfig, SlowClients};

impl EventApi {
    /// Whether what this API promises needs messages that stay: then the gateway keeps those of a broker that does not
    /// in a journal of its own, and reads them from there. One receiver that needs it is enough for all of them.
    ///
    /// That is so where a receiver that delivers
    /// - has the qos `at-most-once` or `at-least-once`, since clients come back with a position;
    /// - is `http-get` or `webhook` and has a qos other than `none`: a client that is gone between two answers, or a
    ///   subscriber that takes its time, goes on where it was;
    /// - is `websub`: a subscription begins where the hub has answered it, and is verified after that;
    /// - lets its slow clients [hold](SlowClients::Hold) on to what they missed.
    ///
    /// Without it messages are read live, by those who are there: Server-Sent Events and WebSockets with the qos `none`
    /// or `auto`, and webhooks that promise nothing.
    pub fn reads_from_a_journal(&self) -> bool {
        self.receivers.iter().filter(|receiver| receiver.configuration.delivers()).any(|receiver| {
            let holds = self.guarantees.slow_clients_of(receiver.qos) == SlowClients::Hold;
            receiver.qos.tells_positions() || holds || comes_back(receiver)
        })
    }
}

/// Whether its clients are away now and then, and miss nothing all the same.
fn comes_back(receiver: &Receiver) -> bool {
    match receiver.configuration {
        ReceiverConfig::HttpGet(_) | ReceiverConfig::Webhook(_) => receiver.qos != Qos::None,
        ReceiverConfig::Websub(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{EventApi, from_value};

    fn reads(receivers: &Value, guarantees: &Value) -> bool {
        let api: EventApi = from_value(json!({
            "name": "a",
            "paths": [{ "path": "/a" }],
            "receivers": receivers,
            "brokers": [{ "type": "mqtt5", "configuration": {
                "serverHost": "localhost", "serverPort": 1883, "topic": "t"
            } }],
            "guarantees": guarantees,
        }))
        .unwrap();
        api.reads_from_a_journal()
    }

    fn alone(receiver: &str, qos: &str) -> bool {
        reads(&json!([{ "type": receiver, "qos": qos }]), &json!({}))
    }

    #[test]
    fn streams_that_promise_no_position_are_read_live() {
        for receiver in ["sse", "websocket"] {
            assert!(!alone(receiver, "none") && !alone(receiver, "auto"), "{receiver}");
            assert!(alone(receiver, "at-most-once") && alone(receiver, "at-least-once"), "{receiver}");
        }
    }

    #[test]
    fn clients_that_are_away_now_and_then_are_read_for_unless_they_are_promised_nothing() {
        for receiver in ["http-get", "webhook"] {
            assert!(!alone(receiver, "none"), "{receiver}");
            assert!(
                ["auto", "at-most-once", "at-least-once"].iter().all(|qos| alone(receiver, qos)),
                "{receiver}"
            );
        }
        assert!(alone("websub", "none"), "a subscription begins where it was answered");
    }

    #[test]
    fn publishing_needs_no_journal_and_one_receiver_is_enough() {
        assert!(!alone("http-post", "auto"));
        let sender_only = json!([{ "type": "websocket", "qos": "at-least-once", "configuration": {
            "frames": "json", "subscriber": { "enabled": false }
        } }]);
        assert!(!reads(&sender_only, &json!({})));
        let both = json!([{ "type": "sse", "qos": "auto" }, { "type": "webhook", "qos": "auto" }]);
        assert!(reads(&both, &json!({})));
    }

    #[test]
    fn slow_clients_that_hold_on_need_what_they_missed() {
        let receivers = json!([{ "type": "sse", "qos": "auto" }]);
        assert!(reads(&receivers, &json!({ "slowClients": "hold" })));
        assert!(!reads(&receivers, &json!({ "slowClients": "disconnect" })));
    }
}
