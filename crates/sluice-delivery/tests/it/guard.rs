//! Addresses that are not called, judged when the connection is made.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::json;
use sluice_delivery::{Failed, Guard, GuardOptions, Lookup, Refused};

use crate::{
    bench::{Bench, Offer, with},
    receiver::{Receiver, Reply},
};

pub(crate) const PUBLIC: &str = "8.8.8.8";

/// Knows every name by the same addresses: each lookup has the next of them, the last one stays.
pub(crate) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicU64,
}

impl Names {
    pub(crate) fn new<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let parsed = answers.map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
        Arc::new(Self { answers: Mutex::new(parsed.into()), asked: AtomicU64::new(0) })
    }

    pub(crate) fn guard(self: &Arc<Self>, allow: &[&str]) -> Guard {
        let names = Arc::clone(self);
        let lookup: Lookup = Arc::new(move |_| {
            names.asked.fetch_add(1, Ordering::SeqCst);
            let mut answers = names.answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            Box::pin(std::future::ready(Ok(answer.unwrap())))
        });
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Guard::with_lookup(GuardOptions { allow }, lookup)
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn failure(mut bench: Bench, url: &str) -> Failed {
    bench.offer(&Offer::default());
    bench.subscribe("s", with(url.to_owned(), 3, json!({}))).await;
    bench.publish("one").await;
    let failed = bench.failure().await;
    assert_eq!(failed.cause.code, "delivery.address.refused", "{failed:?}");
    assert_eq!(bench.metrics.failed_calls.get(), 1, "an address that is refused is not tried again");
    failed
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_though_something_answers_there() {
    let mut inside = Receiver::start().await;
    let url = format!("http://hooks.example:{}/", inside.address.port());
    for (address, kind) in [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("fd00:ec2::254", "a private address"),
    ] {
        let names = Names::new([&[address]]);
        let failed = failure(Bench::guarded(names.guard(&[])), &url).await;
        assert!(failed.cause.message.starts_with(&format!("hooks.example is {kind}")), "{failed:?}");
        assert_eq!(names.asked(), 1);
    }
    assert!(!inside.has_call());
}

#[tokio::test]
async fn a_name_that_was_public_when_it_was_judged_is_refused_at_the_connection() {
    let mut inside = Receiver::start().await;
    let url = format!("http://hooks.example:{}/", inside.address.port());
    for address in ["127.0.0.1", "10.0.0.1"] {
        let names = Names::new([&[PUBLIC], &[address]]);
        let guard = names.guard(&[]);
        guard.check_url(&url).unwrap();
        assert_eq!(guard.resolve("hooks.example").await.unwrap(), [PUBLIC.parse::<IpAddr>().unwrap()]);
        failure(Bench::guarded(guard), &url).await;
        assert_eq!(names.asked(), 2);
    }
    assert!(!inside.has_call());
}

#[tokio::test]
async fn a_name_that_changes_between_two_messages_is_refused_at_the_second() {
    let mut receiver = Receiver::start().await;
    let names = Names::new([&["127.0.0.1"], &["10.0.0.1"]]);
    let mut bench = Bench::guarded(names.guard(&["127.0.0.1/32"]));
    bench.offer(&Offer::default());
    let url = format!("http://hooks.example:{}/", receiver.address.port());
    bench.subscribe("s", with(url, 3, json!({}))).await;
    // No connection is left for the second call to use.
    receiver.answers([Reply::With(200, "connection", "close".to_owned())]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    bench.publish("two").await;
    let cause = bench.failure().await.cause;
    assert_eq!(cause.code, "delivery.address.refused", "{cause}");
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_allowed_are_called() {
    let mut receiver = Receiver::start().await;
    let names = Names::new([&["10.0.0.1", "169.254.169.254", "127.0.0.1"]]);
    let bench = Bench::guarded(names.guard(&["127.0.0.0/8"]));
    bench.offer(&Offer::default());
    let url = format!("http://hooks.example:{}/", receiver.address.port());
    bench.subscribe("s", with(url, 1, json!({}))).await;
    bench.publish("one").await;
    let call = receiver.call().await;
    let host = format!("hooks.example:{}", receiver.address.port());
    assert_eq!((call.text(), call.header("host")), ("one", &*host));
}

#[tokio::test]
async fn a_token_endpoint_is_judged_at_the_connection_too() {
    let (mut receiver, mut inside) = (Receiver::start().await, Receiver::start().await);
    let names = Names::new([&["10.0.0.1"]]);
    let mut bench = Bench::guarded(names.guard(&["127.0.0.0/8"]));
    bench.offer(&Offer::default());
    let endpoint = format!("http://id.example:{}/", inside.address.port());
    let oauth2 = json!({ "endpoint": endpoint, "clientId": "a", "clientSecret": "b" });
    let auth = json!({ "auth": { "type": "oauth2", "oauth2": oauth2 } });
    bench.subscribe("s", with(receiver.url("/"), 3, auth)).await;
    bench.publish("one").await;
    let cause = bench.failure().await.cause;
    assert_eq!(cause.code, "delivery.address.refused", "{cause}");
    assert!(cause.message.contains("id.example is a private address"), "{cause}");
    assert!(!receiver.has_call() && !inside.has_call());
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_judged_without_a_lookup() {
    let names = Names::new([&[PUBLIC]]);
    let guard = names.guard(&[]);
    for address in ["8.8.8.8", "2606:4700::1111", "[2606:4700::1111]"] {
        let found = guard.resolve(address).await.unwrap();
        let expected = address.trim_matches(['[', ']']).parse::<IpAddr>().unwrap();
        assert_eq!(found, [expected]);
    }
    for address in ["127.0.0.1", "::1", "[::1]", "[fe80::1]"] {
        let error = guard.resolve(address).await.unwrap_err();
        assert!(error.downcast_ref::<Refused>().is_some(), "{address}: {error}");
    }
    assert_eq!(names.asked(), 0);
}
