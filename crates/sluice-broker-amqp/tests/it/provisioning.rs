//! Queues and subscriptions that are made through the management of a Solace broker.

use sluice_api::{Secret, SolaceConfig, SolaceSemp};
use sluice_broker::ErrorKind;
use sluice_message::Topic;

use crate::{
    peer::{Peer, SEMP_PASSWORD},
    support::{consume, group, open_solace, options, payloads, publish, solace, try_consume},
};

fn config(peer: &Peer, url: &str, password: &str) -> SolaceConfig {
    let semp =
        SolaceSemp { url: url.to_owned(), username: "admin".to_owned(), password: Secret::new(password) };
    SolaceConfig { semp: Some(semp), ..solace(&peer.address, None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_a_queue_with_its_subscription_once() {
    let peer = Peer::start().await;
    let driver = open_solace(&config(&peer, &peer.semp, SEMP_PASSWORD), options());
    let topic: Topic = "orders/>".into();
    drop(consume(&driver, &topic, group("api-1", false)).await);
    assert_eq!(peer.state.names(), ["api-1:orders/%3E"]);
    publish(&driver, &"orders/7/new".into(), "kept").await;
    // What is there already is as good as made.
    let mut reader = consume(&driver, &topic, group("api-1", false)).await;
    assert_eq!(payloads(&mut reader, 1).await, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_read_by_its_name_is_made() {
    let peer = Peer::start().await;
    let driver = open_solace(&config(&peer, &peer.semp, SEMP_PASSWORD), options());
    let queue: Topic = "queue://orders".into();
    let mut reader = consume(&driver, &queue, group("any", false)).await;
    publish(&driver, &queue, "through").await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_management_refuses_is_told_without_the_password() {
    let peer = Peer::start().await;
    let read = async |config: SolaceConfig| {
        let driver = open_solace(&config, options());
        try_consume(&driver, &"a".into(), group("g", false)).await.err().expect("nothing was made")
    };
    let error = read(config(&peer, &peer.semp, "wrong-password")).await;
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains(&peer.semp) && error.message.contains("401"), "{error}");
    assert!(!error.message.contains("wrong-password"), "{error}");
    let elsewhere =
        SolaceConfig { vpn_name: Some("elsewhere".to_owned()), ..config(&peer, &peer.semp, SEMP_PASSWORD) };
    let error = read(elsewhere).await;
    assert!(error.kind == ErrorKind::NoTopic && error.message.contains("no such VPN"), "{error}");
    let error = read(config(&peer, "http://127.0.0.1:9", SEMP_PASSWORD)).await;
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}
