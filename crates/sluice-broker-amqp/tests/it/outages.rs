//! Publishing while the broker is away, and messages that make it go away.

use std::time::Duration;

use futures_util::future::{join, join_all};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_amqp::{Amqp, AmqpOptions};
use sluice_message::Topic;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    peer::Peer,
    support::{consume, message, open_solace, options, payloads, publish, solace, step, try_publish},
};

/// More than any step may take: what waits for it fails its test.
const FOR_EVER: Duration = Duration::from_hours(1);
/// A message with this in it cuts the connection that it is sent on.
const POISON: &[u8] = b"poison";

/// One that stands between clients and the peer: it can be away, and cuts connections over what clients send.
struct Way {
    address: String,
    is_open: watch::Sender<bool>,
}

impl Way {
    async fn to(peer: &Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        let (is_open, open) = watch::channel(true);
        let peer = peer.address.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *open.borrow() {
                    tokio::spawn(relay(client, peer.clone(), open.clone()));
                }
            }
        });
        Self { address, is_open }
    }
}

async fn relay(mut client: TcpStream, peer: String, mut open: watch::Receiver<bool>) {
    open.mark_unchanged();
    let mut peer = TcpStream::connect(peer).await.expect("the peer is there");
    let ((mut from_client, mut to_client), (mut from_peer, mut to_peer)) = (client.split(), peer.split());
    let sent = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let is_poisoned = buffer[..count].windows(POISON.len()).any(|window| window == POISON);
            if is_poisoned || to_peer.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = sent => {}
        _ = tokio::io::copy(&mut from_peer, &mut to_client) => {}
        _ = open.changed() => {}
    }
}

async fn through(way: &Way, options: AmqpOptions) -> std::sync::Arc<Amqp> {
    open_solace(&solace(&way.address, None), options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_each_connection_is_rejected_and_the_others_arrive() {
    let peer = Peer::start().await;
    let way = Way::to(&peer).await;
    let driver = through(&way, options()).await;
    let topic: Topic = "a".into();
    let mut reader = consume(&driver, &topic, StartAt::Latest).await;
    publish(&driver, &topic, "before").await;
    let others = join_all((0..20).map(|_| driver.publish(&topic, message("other"))));
    let poisoned = driver.publish(&topic, message("poison"));
    let (error, others) = step("publish", join(poisoned, others)).await;
    let error = error.expect_err("no connection stands it");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    let told = ["broke each of 3 times", "of 6 bytes to 'a'", "maximumMessageSize", &way.address];
    assert!(told.iter().all(|text| error.message.contains(text)), "{error}");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    publish(&driver, &topic, "after").await;
    // Twice is possible where a connection broke before the answer came; nothing is lost.
    let mut found = 0;
    while payloads(&mut reader, 1).await != ["after"] {
        found += 1;
    }
    assert!(found > 20, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_broker_closes_its_link_is_not_sent_for_ever() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), options());
    let error =
        try_publish(&driver, &"crashing".into(), "x").await.expect_err("its link is closed each time");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.message.contains("crashed"), "{error}");
    publish(&driver, &"a".into(), "others go on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_told_at_once_that_the_broker_is_away_and_go_on_when_it_is_back() {
    let peer = Peer::start().await;
    let way = Way::to(&peer).await;
    let patient = AmqpOptions { publish_timeout: FOR_EVER, ..options() };
    let driver = through(&way, patient).await;
    publish(&driver, &"a".into(), "before").await;
    way.is_open.send_replace(false);
    for _ in 0..2 {
        let error = try_publish(&driver, &"a".into(), "during").await.expect_err("the broker is away");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(&way.address), "{error}");
    }
    way.is_open.send_replace(true);
    let is_back = async {
        while let Err(error) = driver.publish(&"a".into(), message("after")).await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
            tokio::task::yield_now().await;
        }
    };
    step("publish once the broker is back", is_back).await;
    publish(&driver, &"a".into(), "and on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_nobody_noticed_fails_no_message() {
    let peer = Peer::start().await;
    let way = Way::to(&peer).await;
    let driver = through(&way, AmqpOptions { publish_timeout: FOR_EVER, ..options() }).await;
    for _ in 0..3 {
        publish(&driver, &"a".into(), "the connection stands").await;
        way.is_open.send_replace(false);
        way.is_open.send_replace(true);
        publish(&driver, &"a".into(), "the next one waits for another").await;
    }
}
