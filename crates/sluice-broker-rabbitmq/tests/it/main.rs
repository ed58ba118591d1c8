//! The driver against a real RabbitMQ.
//!
//! `cargo xtask test` starts one and sets the variables that [`support`] asks for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests: they stop at the first thing that is not as it says"
)]

mod mapping;
mod outages;
mod publishing;
mod queues;
mod security;
mod support;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sluice_api::RabbitmqConfig;
use sluice_broker::{
    BrokerDriver, ErrorKind,
    conformance::{Subject, Wrong},
    conformance_suite,
};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use sluice_message::Topic;

use crate::support::{auth, unused, variable, with};

/// Few messages on their way at a time, so that the suite meets the bound.
const PREFETCH: usize = 20;

struct RealRabbitmq;

fn prefetching(address: &str) -> RabbitmqConfig {
    support::at(address, json!({"consumer": {"prefetch": PREFETCH}}))
}

fn opened(config: &RabbitmqConfig, publish_timeout: Duration) -> Arc<dyn BrokerDriver> {
    let options = RabbitmqOptions { publish_timeout, ..RabbitmqOptions::default() };
    Arc::new(Rabbitmq::open(config, options).expect("opening needs no broker"))
}

fn wrong(what: &'static str, settings: Value, kind: ErrorKind) -> Wrong {
    Wrong {
        what,
        driver: opened(&with(settings), Duration::from_secs(2)),
        topic: unused("wrong"),
        check: Some(kind),
        publish: Some(kind),
        consume: Some(kind),
    }
}

impl Subject for RealRabbitmq {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        let config = prefetching(&variable("SLUICE_TEST_RABBITMQ"));
        Box::pin(async move { opened(&config, Duration::from_secs(10)) })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        Box::pin(async { unused(name) })
    }

    fn missing_topic(&self) -> Topic {
        unused("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        (2 << 20) + 1
    }

    fn window(&self) -> Option<usize> {
        Some(PREFETCH)
    }

    fn address(&self) -> Option<String> {
        Some(variable("SLUICE_TEST_RABBITMQ"))
    }

    fn driver_at<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        Box::pin(async { opened(&prefetching(address), Duration::from_secs(2)) })
    }

    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        let stranger = json!({"auth": {"username": "nobody", "password": "x"}});
        let mut password = auth();
        password["password"] = json!("wrong");
        let exchange = json!({"exchange": {"name": "forbidden-exchange"}});
        let missing = json!({"exchange": {"name": "no-such-exchange", "declare": false}});
        Box::pin(async move {
            vec![
                wrong("an unknown user", json!({"security": stranger}), ErrorKind::Refused),
                wrong("a wrong password", json!({"security": {"auth": password}}), ErrorKind::Refused),
                wrong("no such virtual host", json!({"virtualHost": "nowhere"}), ErrorKind::Refused),
                wrong(
                    "no such exchange",
                    json!({"consumer": missing.clone(), "producer": missing}),
                    ErrorKind::NoTopic,
                ),
                Wrong {
                    // RabbitMQ lets everybody look.
                    check: None,
                    ..wrong(
                        "an exchange that is not for this user",
                        json!({"consumer": exchange.clone(), "producer": exchange}),
                        ErrorKind::Refused,
                    )
                },
            ]
        })
    }
}

conformance_suite!(RealRabbitmq);
