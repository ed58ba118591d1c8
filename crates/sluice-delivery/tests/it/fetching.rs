//! What a hub asks strangers: guarded, bounded, once.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use sluice_api::WebhookConfig;
use sluice_delivery::{Deliveries, Failure, Fetched, Fetcher};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    bench::{Bench, PATIENCE},
    guard::{Names, PUBLIC},
    receiver::{Receiver, Reply},
};

const ENOUGH: usize = 1 << 20;

fn fetcher(deliveries: &Deliveries) -> Fetcher {
    let webhook: WebhookConfig = sluice_api::from_value(json!({})).unwrap();
    deliveries.fetcher(&webhook).unwrap()
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Fetched, Failure> {
    fetcher.get(url, PATIENCE, ENOUGH).await
}

async fn code(fetcher: &Fetcher, url: &str) -> &'static str {
    get(fetcher, url).await.unwrap_err().code
}

/// A server that answers everything with this and then a byte every moment.
async fn dripping(head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _asked = stream.read(&mut [0; 4096]).await;
                let mut next = stream.write_all(head.as_bytes()).await;
                while next.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    next = stream.write_all(b"x").await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_is_given_as_it_is_and_a_redirect_is_not_followed() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let fetcher = fetcher(&bench.deliveries);
    let fetched = get(&fetcher, &receiver.url("/a?b=c&d=%20")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), &fetched.body[..]), (200, &b"noted"[..]));
    assert_eq!(receiver.call().await.path, "/a?b=c&d=%20");
    let elsewhere = receiver.url("/elsewhere");
    receiver.answers([Reply::With(302, "location", elsewhere.clone()), Reply::Status(404)]);
    let fetched = get(&fetcher, &receiver.url("/")).await.unwrap();
    assert_eq!((fetched.status.as_u16(), fetched.headers["location"].to_str().unwrap()), (302, &*elsewhere));
    assert_eq!(get(&fetcher, &receiver.url("/")).await.unwrap().status.as_u16(), 404);
    assert_eq!((receiver.call().await.path, receiver.call().await.path), ("/".to_owned(), "/".to_owned()));
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound_and_a_larger_one_is_refused() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    let fetcher = fetcher(&bench.deliveries);
    receiver.answers([4, 5].map(|bytes| Reply::Body(200, "x".repeat(bytes))));
    let fetched = fetcher.get(&receiver.url("/"), PATIENCE, 4).await.unwrap();
    assert_eq!(fetched.body.len(), 4);
    let failure = fetcher.get(&receiver.url("/"), PATIENCE, 4).await.unwrap_err();
    assert_eq!(failure.code, "delivery.answer.too-large");
    // One that does not say how large it is.
    let endless = dripping("HTTP/1.1 200 OK\r\n\r\n").await;
    let failure = fetcher.get(&format!("http://{endless}/"), PATIENCE, 4).await.unwrap_err();
    assert_eq!(failure.code, "delivery.answer.too-large");
}

#[tokio::test]
async fn an_answer_that_drips_is_late_like_one_that_does_not_come() {
    let bench = Bench::new();
    let fetcher = fetcher(&bench.deliveries);
    for head in ["HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "] {
        let url = format!("http://{}/", dripping(head).await);
        let failure = fetcher.get(&url, Duration::from_millis(200), ENOUGH).await.unwrap_err();
        assert_eq!(failure.code, "delivery.timeout", "{head}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_or_nobody_there_is_a_failure() {
    let bench = Bench::new();
    let fetcher = fetcher(&bench.deliveries);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let cut = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _asked = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
    });
    assert_eq!(code(&fetcher, &url).await, "delivery.broken");
    cut.await.unwrap();
    assert_eq!(code(&fetcher, &url).await, "delivery.unreachable");
}

#[tokio::test]
async fn what_is_no_address_or_one_inside_is_refused_and_not_asked() {
    let mut inside = Receiver::start().await;
    let bench = Bench::guarded(Names::new([&["10.0.0.1"]]).guard(&[]));
    let fetcher = fetcher(&bench.deliveries);
    let port = inside.address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "hooks.example", "169.254.169.254"] {
        assert_eq!(code(&fetcher, &format!("http://{host}:{port}/")).await, "delivery.address.refused");
    }
    for url in
        ["", "ftp://8.8.8.8/", "//hooks.example/", "http://me:pw@hooks.example/", "http://me@hooks.example/"]
    {
        assert_eq!(code(&fetcher, url).await, "delivery.address.invalid", "{url}");
    }
    let long = format!("http://{}/{}", inside.address, "a".repeat(100_000));
    get(&fetcher, &long).await.unwrap_err();
    assert!(!inside.has_call());
}

#[tokio::test]
async fn a_name_that_turns_inside_after_it_was_judged_is_refused_at_the_connection() {
    let mut inside = Receiver::start().await;
    let names = Names::new([&[PUBLIC], &["127.0.0.1"]]);
    let guard = names.guard(&[]);
    let bench = Bench::guarded(guard.clone());
    let url = format!("http://hooks.example:{}/", inside.address.port());
    bench.deliveries.check_url(&url).unwrap();
    guard.resolve("hooks.example").await.unwrap();
    assert_eq!(code(&fetcher(&bench.deliveries), &url).await, "delivery.address.refused");
    assert!(!inside.has_call());
}

#[tokio::test]
async fn an_address_of_a_subscriber_is_judged_before_anything_is_sent() {
    let bench = Bench::guarded(Names::new([&[PUBLIC]]).guard(&[]));
    let check = |url: &str| bench.deliveries.check_url(url).map_err(|problem| (problem.code, problem.path));
    assert_eq!(check("https://hooks.example/a?b=c"), Ok(()));
    let base = "http://hooks.example/";
    let of = |bytes: usize| format!("{base}{}", "a".repeat(bytes - base.len()));
    assert_eq!(check(&of(2048)), Ok(()));
    let invalid = Err(("subscription.configuration.invalid", String::new()));
    for url in ["", "ftp://hooks.example/", "javascript:alert(1)", "http://me:pw@hooks.example/", &*of(2049)]
    {
        assert_eq!(check(url), invalid, "{url}");
    }
    let refused = Err(("subscription.address.refused", String::new()));
    for url in ["http://127.0.0.1/", "https://10.1.2.3/", "http://localhost/", "http://[::1]/"] {
        assert_eq!(check(url), refused, "{url}");
    }
}
