//! What becomes of a message that the broker does not accept, and of readers and publishers at their bounds.

use std::{future::poll_fn, task::Poll, time::Duration};

use futures_util::future::join_all;
use sluice_broker::{BatchLimit, BrokerDriver, ErrorKind};
use sluice_broker_amqp::AmqpOptions;
use sluice_message::{Message, Topic};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    peer::{MAX_MESSAGE, Peer},
    support::{
        CREDIT, commit, consume, group, message, messages, open_solace, options, payloads, publish, quick,
        solace, step, try_publish,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_is_an_error_that_says_whether_to_try_again() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), quick());
    let expected = [
        ("rejected", ErrorKind::Invalid, "not wanted"),
        ("full", ErrorKind::Other, "spool full"),
        ("too-large", ErrorKind::TooLarge, "message-size-exceeded"),
        ("released", ErrorKind::Other, "gave the message back"),
        ("modified", ErrorKind::Other, "gave the message back"),
        ("unanswered", ErrorKind::Unreachable, "did not answer"),
        ("closed", ErrorKind::NoTopic, "gone"),
        ("queue://nowhere", ErrorKind::NoTopic, "Unknown Queue"),
        ("forbidden", ErrorKind::Refused, "no permission"),
    ];
    for (topic, kind, text) in expected {
        let error = try_publish(&driver, &topic.into(), "x").await.expect_err("the peer does not accept it");
        assert_eq!(error.kind, kind, "{topic}: {error}");
        assert!(error.message.contains(text) && error.message.contains(&peer.address), "{topic}: {error}");
        publish(&driver, &"accepted".into(), "and others go on").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_links_limit_is_refused_before_it_is_sent() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), AmqpOptions::default());
    let topic: Topic = "a".into();
    let mut reader = consume(&driver, &topic, group("g", true)).await;
    let limit = usize::try_from(MAX_MESSAGE).expect("it is small");
    let large = |size| Message::builder().payload(vec![b'x'; size]).build();
    let refused =
        step("publish", driver.publish(&topic, large(limit))).await.expect_err("headers come on top");
    assert_eq!(refused.kind, ErrorKind::TooLarge, "{refused}");
    step("publish", driver.publish(&topic, large(limit - 1024))).await.expect("it is within the limit");
    assert_eq!(messages(&mut reader, 1).await[0].payload().len(), limit - 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_told_the_largest_message_that_is_read() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), AmqpOptions { message_kib: 64, ..options() });
    consume(&driver, &"a".into(), group("g", true)).await;
    assert_eq!(*peer.state.largest.lock().expect("no test panics with it"), [Some(64 << 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_under_way_is_told_as_overload() {
    let peer = Peer::start().await;
    let bounds = AmqpOptions { queue_messages: 2, ..quick() };
    let driver = open_solace(&solace(&peer.address, None), bounds);
    let topic: Topic = "unanswered".into();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut publish = driver.publish(&topic, message("x"));
        let polled = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        waiting.push(publish);
    }
    let error = try_publish(&driver, &topic, "one too many").await.expect_err("two are under way");
    assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
    drop(waiting);
    publish(&driver, &"a".into(), "there is room again").await;
    let large = Message::builder().payload(vec![0; 2 << 20]).build();
    let error =
        step("publish", driver.publish(&topic, large)).await.expect_err("it is more than all the room");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_on_a_link_that_is_closed_go_on_by_another() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), options());
    let topic: Topic = "closing".into();
    publish(&driver, &topic, "the last on the first link").await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut publish = driver.publish(&topic, message("waits"));
        let polled = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        waiting.push(publish);
    }
    peer.state.close.notify_one();
    for published in step("publish", join_all(waiting)).await {
        published.unwrap_or_else(|error| panic!("{error}"));
    }
    publish(&driver, &topic, "and others go on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_addresses_share_few_links() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), AmqpOptions { links: 2, ..options() });
    let mut reader = consume(&driver, &"t/*".into(), group("g", true)).await;
    for round in 0..3 {
        for topic in 0..5 {
            publish(&driver, &format!("t/{topic}").into(), &format!("{round} {topic}")).await;
        }
    }
    let found = payloads(&mut reader, 15).await;
    assert_eq!((found[0].as_str(), found[14].as_str()), ("0 0", "2 4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_holds_the_broker_back_until_a_commit() {
    let peer = Peer::start().await;
    let driver = open_solace(&solace(&peer.address, None), options());
    let queue: Topic = "queue://q".into();
    let mut reader = consume(&driver, &queue, group("g", true)).await;
    for number in 0..=CREDIT {
        publish(&driver, &queue, &number.to_string()).await;
    }
    let read = messages(&mut reader, CREDIT as usize).await;
    let mut batch = Vec::new();
    let fetch = reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 << 20 });
    let more = tokio::time::timeout(Duration::from_millis(50), fetch).await;
    assert!(more.is_err(), "more than the credit came: {more:?}");
    commit(&mut reader, &read[0]).await;
    assert_eq!(payloads(&mut reader, 1).await, [CREDIT.to_string()]);
}

/// A section of data with this text, as it is encoded.
fn data(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("it is short");
    match u8::try_from(length) {
        Ok(length) => [b"\x00\x53\x75\xa0".as_slice(), &[length], text].concat(),
        Err(_) => [b"\x00\x53\x75\xb0".as_slice(), &length.to_be_bytes(), text].concat(),
    }
}

/// Passes on what a peer sends, frame by frame, with the first bytes in the place of the second wherever they are found.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, swaps: Vec<Swap>) {
    let mut frame = vec![0; 8];
    while from.read_exact(&mut frame).await.is_ok() {
        if !frame.starts_with(b"AMQP") {
            let size = u32::from_be_bytes(frame[..4].try_into().expect("it has eight bytes"));
            frame.resize(size as usize, 0);
            from.read_exact(&mut frame[8..]).await.expect("frames come whole");
        }
        for (sound, hostile) in &swaps {
            if let Some(at) = frame.windows(sound.len()).position(|window| window == sound) {
                frame[at..at + hostile.len()].copy_from_slice(hostile);
            }
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
        frame.resize(8, 0);
    }
}

/// What is looked for, and as many bytes or fewer to take its place.
type Swap = (Vec<u8>, Vec<u8>);

/// The address of one that stands between a client and the peer, and swaps what the peer sends.
async fn swapping(peer: &str, swaps: Vec<Swap>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    let peer = peer.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (swaps, peer) = (swaps.clone(), TcpStream::connect(&peer).await.expect("the peer is there"));
            let ((mut from_client, to_client), (from_peer, mut to_peer)) =
                (client.into_split(), peer.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_peer).await });
            tokio::spawn(pass_on(from_peer, to_client, swaps));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_rejected_and_holds_up_nothing() {
    let peer = Peer::start().await;
    let mut undecodable = data(b"garbled");
    // No type of AMQP has this code.
    undecodable[3] = 0xff;
    let garbled = swapping(&peer.address, vec![(data(b"garbled"), undecodable)]).await;
    let driver = open_solace(&solace(&peer.address, None), options());
    let through = open_solace(&solace(&garbled, None), options());
    let topic: Topic = "a".into();
    let mut reader = consume(&through, &topic, group("g", true)).await;
    for payload in ["garbled", "one", "garbled", "two"] {
        publish(&driver, &topic, payload).await;
    }
    let read = messages(&mut reader, 2).await;
    assert_eq!((read[0].payload(), read[1].payload()), (b"one".as_slice(), b"two".as_slice()));
    drop(reader);
    // What was rejected does not come again, and what was not committed does.
    let mut reader = consume(&through, &topic, group("g", true)).await;
    assert_eq!(payloads(&mut reader, 2).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_are_rejected_and_hold_up_nothing() {
    let peer = Peer::start().await;
    // Values in values in values, of which a decoder that recurs dies; and a size that takes all memory.
    let (deep, huge) = (vec![b'd'; 60_000], vec![b'h'; 300]);
    let described = b"\x00\x53\x77".repeat(20_000);
    let swaps = vec![(data(&deep), described), (data(&huge), b"\x00\x53\x75\xb0\xff\xff\xff\xff".to_vec())];
    let hostile = swapping(&peer.address, swaps).await;
    let driver = open_solace(&solace(&peer.address, None), options());
    let through = open_solace(&solace(&hostile, None), options());
    let topic: Topic = "a".into();
    let mut reader = consume(&through, &topic, group("g", true)).await;
    for payload in [deep, b"one".to_vec(), huge, b"two".to_vec()] {
        let message = Message::builder().payload(payload).build();
        step("publish", driver.publish(&topic, message)).await.expect("the peer takes it");
    }
    assert_eq!(payloads(&mut reader, 2).await, ["one", "two"]);
    drop(reader);
    let mut reader = consume(&through, &topic, group("g", true)).await;
    assert_eq!(payloads(&mut reader, 2).await, ["one", "two"]);
}
