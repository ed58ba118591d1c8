//! Streams on the embedded log.

use serde_json::json;

use crate::harness::{Event, Sse, Starting, log_broker, native_api, until};

#[tokio::test]
async fn content_with_several_lines_comes_back_whole() {
    let gateway = Starting::run().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    let mut stream = Sse::open(&gateway, "/open").await;
    for content in ["one\ntwo\n\nfour", " leading", "", ":colon", "data: forged\n\nevent: forged"] {
        gateway.publish("/open", content).await;
        assert_eq!(stream.message().await, content);
    }
    gateway.publish("/open", "a\r\nb\rc").await;
    assert_eq!(stream.message().await, "a\nb\nc");
    assert_eq!(gateway.post("/open", vec![0xff, 0xfe]).await.status(), 202);
    let binary = stream.event().await.unwrap();
    assert_eq!((binary.event.as_deref(), binary.data.as_deref()), (Some("binary"), Some("//4=")));
}

#[tokio::test]
async fn a_stream_begins_with_a_reconnect_time_and_beats_only_when_idle() {
    let mut api = native_api("Open", "/open", &log_broker("t"));
    api["receivers"][1]["configuration"] = json!({ "heartbeatIntervalInMs": 2000 });
    let gateway = Starting::run().api(&api).start().await;
    let mut stream = Sse::open(&gateway, "/open").await;
    let retry: u64 = stream.block().await.unwrap().retry.unwrap().parse().unwrap();
    assert!((1000..30_000).contains(&retry), "{retry}");
    for number in 0..10 {
        gateway.publish("/open", &number.to_string()).await;
    }
    for number in 0..10 {
        let block = stream.block().await.unwrap();
        assert_eq!(block.data, Some(number.to_string()), "no heartbeat between messages that are there");
    }
    let beat = stream.block().await.unwrap();
    assert_eq!(beat, Event { comments: vec![String::new()], ..Event::default() });
}

#[tokio::test]
async fn every_client_sees_every_message_in_order_through_one_consumer() {
    let gateway = Starting::run().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(Sse::open(&gateway, "/open").await);
    }
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0);
    assert_eq!(gateway.metric("sluice_client_readers").await, 0.0);
    let sent: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for message in &sent {
        gateway.publish("/open", message).await;
    }
    for stream in &mut streams {
        assert_eq!(stream.messages(100).await, sent);
    }
    drop(streams);
    until("the streams to be closed", || async { gateway.metric("sluice_open_streams").await == 0.0 }).await;
}

#[tokio::test]
async fn with_earliest_a_client_sees_what_was_there_and_then_what_comes_each_once() {
    let mut api = native_api("Open", "/open", &log_broker("t"));
    api["brokers"][0]["configuration"]["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let gateway = Starting::run().api(&api).start().await;
    let mut expected = Vec::new();
    for number in 0..300 {
        gateway.publish("/open", &number.to_string()).await;
        expected.push(number.to_string());
    }
    // Clients that come while others publish: the seam between old and new must not show.
    let publishing = async {
        for number in 300..600 {
            gateway.publish("/open", &number.to_string()).await;
        }
    };
    let listening = async {
        for _ in 0..20 {
            let mut stream = Sse::open(&gateway, "/open").await;
            let expected: Vec<_> = (0..600).map(|number| number.to_string()).collect();
            assert_eq!(stream.messages(600).await, expected);
        }
    };
    tokio::join!(publishing, listening);
    until("readers of single clients to be gone", || async {
        gateway.metric("sluice_client_readers").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_told_what_it_missed_and_slows_nobody() {
    let gateway = Starting::run()
        .config("limits: { ringMessages: 16 }")
        .api(&native_api("Open", "/open", &log_broker("t")))
        .start()
        .await;
    let mut slow = Sse::open(&gateway, "/open").await;
    let mut quick = Sse::open(&gateway, "/open").await;
    // More than the sockets between can hold.
    let filler = "x".repeat(200_000);
    for number in 0..200 {
        gateway.publish("/open", &format!("{number} {filler}")).await;
        assert!(quick.message().await.starts_with(&format!("{number} ")));
    }
    let (mut seen, mut skipped) = (0, 0);
    while seen + skipped < 200 {
        let event = slow.event().await.unwrap();
        match event.event.as_deref() {
            Some("message") => seen += 1,
            Some("skipped") => {
                let told: serde_json::Value = serde_json::from_str(&event.data.unwrap()).unwrap();
                skipped += told["messages"].as_u64().unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(skipped > 0);
    assert_eq!(seen + skipped, 200, "every message is delivered or counted");
    assert_eq!(gateway.metric("sluice_skipped_messages_total").await, skipped as f64);
    assert!(gateway.log().contains("A client was too slow"), "{}", gateway.log());
}

#[tokio::test]
async fn request_headers_become_comments_but_credentials_never_do() {
    let mut api = native_api("Open", "/open", &log_broker("t"));
    api["receivers"][0]["configuration"] = json!({ "requestHeadersToMessage": true });
    api["receivers"][1]["configuration"] = json!({ "headersAsComment": true, "metadataAsComment": true });
    let gateway = Starting::run().api(&api).start().await;
    let mut stream = Sse::open(&gateway, "/open").await;
    let request = gateway.client().post(gateway.url("/open")).body("x");
    let request = request.header("X-Colour", "red").header("Cookie", "a=b").basic_auth("me", Some("secret"));
    assert_eq!(request.send().await.unwrap().status(), 202);
    let comments = stream.event().await.unwrap().comments;
    assert!(comments.contains(&"x-colour: red".to_owned()), "{comments:?}");
    assert!(
        comments.contains(&"topic: t".to_owned()) && comments.contains(&"offset: 0".to_owned()),
        "{comments:?}"
    );
    assert!(
        !comments.iter().any(|comment| comment.contains("a=b") || comment.contains("uthorization")),
        "{comments:?}"
    );
}

#[tokio::test]
async fn two_apis_on_one_topic_share_a_consumer_and_one_filtered_does_not_disturb_the_other() {
    let mut filtered = native_api("Filtered", "/filtered", &log_broker("t"));
    filtered["flows"] = json!([{
        "deliver": [{
            "policy": "message-filtering",
            "configuration": { "filter": "{#jsonPath(#message.content, '$.feature') == 'demo'}" },
        }],
    }]);
    let gateway =
        Starting::run().api(&native_api("All", "/all", &log_broker("t"))).api(&filtered).start().await;
    let mut all = Sse::open(&gateway, "/all").await;
    let mut some = Sse::open(&gateway, "/filtered").await;
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0);
    for body in ["no json", r#"{"feature":"other"}"#, r#"{"feature":"demo"}"#] {
        gateway.publish("/all", body).await;
    }
    assert_eq!(all.messages(3).await.len(), 3);
    assert_eq!(some.message().await, r#"{"feature":"demo"}"#);
    assert_eq!(gateway.metric("sluice_policy_dropped_messages_total").await, 2.0);
}
