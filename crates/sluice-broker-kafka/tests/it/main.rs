//! The driver against a real Apache Kafka, and against librdkafka's mock of one where a broker must fail.
//!
//! `cargo xtask test` starts Kafka and sets the variables that [`support`] asks for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests: they stop at the first thing that is not as it says"
)]

mod faults;
mod making;
mod many;
mod oauth;
mod patterns;
mod properties;
mod raw_record;
mod security;
mod spool;
mod support;
mod topics;
mod transactions;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_broker::{BrokerDriver, conformance::Subject, conformance_suite};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::Topic;

struct RealKafka;

impl Subject for RealKafka {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        Box::pin(async {
            let kafka = Kafka::open(&support::plain(), KafkaOptions::default());
            Arc::new(kafka.expect("opening needs no broker")) as Arc<dyn BrokerDriver>
        })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        Box::pin(support::new_topic(name, 1))
    }

    fn missing_topic(&self) -> Topic {
        support::unused_name("missing")
    }

    fn makes_topics(&self) -> bool {
        false
    }

    fn too_large(&self) -> usize {
        2 << 20
    }
}

conformance_suite!(RealKafka);
