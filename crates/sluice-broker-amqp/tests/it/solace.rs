//! The suite against a peer that keeps Solace's documented rules, with and without its management.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_api::{Secret, SolaceConfig, SolaceSemp};
use sluice_broker::{
    BrokerDriver, ErrorKind, StartAt,
    conformance::{Subject, Wrong},
    conformance_suite,
};
use sluice_message::Topic;

use crate::{
    peer::{Peer, SEMP_PASSWORD, USER},
    support::{
        CREDIT, TOO_LARGE, auth, commit, consume, group, messages, open_solace, options, payloads, publish,
        quick, solace, unused_name,
    },
};

pub(crate) struct Solace {
    pub(crate) peer: Peer,
    has_semp: bool,
}

impl Solace {
    async fn start(has_semp: bool) -> Self {
        Self { peer: Peer::start().await, has_semp }
    }

    fn at(&self, address: &str) -> SolaceConfig {
        let semp = self.has_semp.then(|| SolaceSemp {
            url: self.peer.semp.clone(),
            username: "admin".to_owned(),
            password: Secret::new(SEMP_PASSWORD),
        });
        SolaceConfig { semp, ..solace(address, Some(auth(USER.0, USER.1))) }
    }

    fn config(&self) -> SolaceConfig {
        self.at(&self.peer.address)
    }
}

impl Subject for Solace {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        Box::pin(async { open_solace(&self.config(), options()) as Arc<dyn BrokerDriver> })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        Box::pin(async move { Topic::from(format!("topic://tests/{}", unused_name(name))) })
    }

    fn missing_topic(&self) -> Topic {
        unused_name("tests/missing").into()
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        TOO_LARGE
    }

    fn window(&self) -> Option<usize> {
        Some(CREDIT as usize)
    }

    fn address(&self) -> Option<String> {
        Some(self.peer.address.clone())
    }

    fn driver_at<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        Box::pin(async move { open_solace(&self.at(address), quick()) as Arc<dyn BrokerDriver> })
    }

    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        Box::pin(async {
            let password = SolaceConfig { security: Some(auth(USER.0, "wrong")), ..self.config() };
            let wrong = |what, config: &SolaceConfig, topic: &str, kind| Wrong {
                what,
                driver: open_solace(config, quick()),
                topic: topic.into(),
                check: None,
                publish: Some(kind),
                consume: Some(kind),
            };
            vec![
                Wrong {
                    check: Some(ErrorKind::Refused),
                    ..wrong("a wrong password", &password, "any", ErrorKind::Refused)
                },
                wrong("a topic without permission", &self.config(), "forbidden/topic", ErrorKind::Refused),
            ]
        })
    }
}

mod without_management {
    use super::*;

    conformance_suite!(Solace::start(false).await);
}

mod with_management {
    use super::*;

    conformance_suite!(Solace::start(true).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_reads_several_topics_and_tells_which() {
    let peer = Solace::start(false).await;
    let driver = open_solace(&peer.config(), options());
    let mut reader = consume(&driver, &"sensors/*/temp".into(), StartAt::Latest).await;
    publish(&driver, &"sensors/7/humidity".into(), "not wanted").await;
    publish(&driver, &"topic://sensors/7/temp".into(), "21.5").await;
    let found = messages(&mut reader, 1).await.remove(0);
    assert_eq!(found.payload(), b"21.5");
    let told = found.metadata().find(|(name, _)| *name == "topic").map(|(_, value)| value.into_owned());
    assert_eq!(told.as_deref(), Some("topic://sensors/7/temp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_leaves_no_temporary_endpoint_behind() {
    let peer = Solace::start(false).await;
    let driver = open_solace(&peer.config(), options());
    let reader = consume(&driver, &"a/b".into(), StartAt::Latest).await;
    assert_eq!(peer.peer.state.names().len(), 1);
    drop(reader);
    // Whoever reads next waits for the farewell of who read before.
    let _next = consume(&driver, &"a/b".into(), StartAt::Latest).await;
    assert_eq!(peer.peer.state.names().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_reader_of_an_exclusive_queue_waits_for_the_first_to_go() {
    let peer = Solace::start(false).await;
    let driver = open_solace(&peer.config(), options());
    let queue: Topic = "queue://orders".into();
    let mut first = consume(&driver, &queue, group("any", false)).await;
    let mut second = consume(&driver, &queue, group("any", false)).await;
    for payload in ["one", "two"] {
        publish(&driver, &queue, payload).await;
    }
    let read = messages(&mut first, 2).await;
    commit(&mut first, &read[0]).await;
    drop(first);
    assert_eq!(payloads(&mut second, 1).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vpn_is_told_as_the_host() {
    let peer = Solace::start(false).await;
    let driver = open_solace(&peer.config(), options());
    publish(&driver, &"a".into(), "x").await;
    let hosts = peer.peer.state.hosts.lock().expect("nobody panicked").clone();
    // Of the connection that publishes, and of the one that asked for the address.
    assert_eq!(hosts, ["tests", "tests"]);
}
