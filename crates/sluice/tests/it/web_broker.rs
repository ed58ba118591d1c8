//! `WebBrokerApi`: channels by WebSocket and SSE in front of topics of a broker.

use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Gateway, Leash, Socket, Sse, Starting, kafka, kafka_records, kafka_send, kafka_topic, node, succeeded,
    tool, until, webbroker_api,
};

/// A gateway with this resource.
async fn with(resource: &Value) -> Gateway {
    let gateway = Starting::run().start().await;
    gateway.make(resource).await;
    gateway
}

fn ticks() -> Value {
    webbroker_api("ticks", "/ticks", &json!({ "prices": {}, "eu/quotes": {} }))
}

/// A resource whose only receiver is a WebSocket with these properties.
fn by_websocket(properties: &Value) -> Value {
    let mut resource = ticks();
    resource["spec"]["receiver"] = json!({ "name": "ws", "type": "websocket", "properties": properties });
    resource
}

fn on_kafka(mut resource: Value) -> Value {
    let brokers: Vec<_> = kafka().split(',').map(str::to_owned).collect();
    resource["spec"]["broker"] =
        json!({ "name": "k", "type": "kafka", "properties": { "brokers": brokers } });
    resource
}

#[tokio::test]
async fn a_channel_is_chosen_by_header_path_query_or_subprotocol_by_websocket_and_sse_at_once() {
    let gateway = with(&ticks()).await;
    let header = ("X-channel", "eu/quotes");
    let mut sockets = Vec::new();
    for (path, headers) in [
        ("/ticks", &[header][..]),
        ("/ticks/eu/quotes", &[]),
        ("/ticks?channel=eu/quotes", &[]),
        ("/ticks", &[("Sec-WebSocket-Protocol", "prices")]),
        ("/ticks/eu/quotes", &[header]),
        ("/ticks", &[("Sec-WebSocket-Protocol", "chat, channel.eu/quotes")]),
    ] {
        sockets.push(Socket::asked(&gateway, path, headers).await.unwrap());
    }
    let mut streams = Vec::new();
    for path in ["/ticks/eu/quotes", "/ticks?channel=eu/quotes"] {
        streams.push(Sse::open(&gateway, path).await);
    }
    assert_eq!(Sse::asked(&gateway, "/ticks", header).await.status(), 200);

    let mut prices = sockets.remove(3);
    prices.send("for the other channel").await;
    assert_eq!(prices.text().await, "for the other channel");
    sockets[0].send("to all").await;
    for socket in &mut sockets {
        assert_eq!(socket.text().await, "to all");
    }
    for stream in &mut streams {
        assert_eq!(stream.message().await, "to all");
    }
}

#[tokio::test]
async fn no_channel_is_400_and_an_unknown_one_404_for_both_receivers() {
    let gateway = with(&ticks()).await;
    let unknown: [(&str, &[(&str, &str)]); 4] = [
        ("/ticks/other", &[]),
        ("/ticks?channel=other", &[]),
        ("/ticks", &[("X-channel", "PRICES")]),
        ("/ticks", &[("Sec-WebSocket-Protocol", "channel.other")]),
    ];
    for (path, headers) in unknown {
        assert_eq!(Socket::asked(&gateway, path, headers).await.err(), Some(404), "{path} {headers:?}");
    }
    assert_eq!(Socket::asked(&gateway, "/ticks", &[]).await.err(), Some(400));
    let both = ("X-channel", "prices");
    assert_eq!(
        Socket::asked(&gateway, "/ticks/eu/quotes", &[both]).await.err(),
        Some(400),
        "two that do not agree"
    );
    assert_eq!(Sse::request(&gateway, "/ticks").await.status(), 400);
    assert_eq!(Sse::request(&gateway, "/ticks/other").await.status(), 404);
    assert_eq!(Sse::request(&gateway, "/tick").await.status(), 404);
}

#[tokio::test]
async fn a_page_chooses_a_channel_by_a_subprotocol_and_listens_by_event_source() {
    let gateway = with(&ticks()).await;
    let browser = tool("SLUICE_TEST_CHROMIUM");
    let mut page = Leash::start(node("browser.cjs").arg(browser).arg(gateway.url("")));
    let url = gateway.url("/ticks").replacen("http", "ws", 1);
    page.tell(&json!({ "socket": "s", "url": url, "protocols": ["prices"] }).to_string());
    assert_eq!(page.json(), json!({ "socket": "s", "open": "prices" }));
    page.tell(&json!({ "stream": "/ticks/prices" }).to_string());
    assert_eq!(page.json(), json!({ "stream": "/ticks/prices", "open": true }));
    page.tell(&json!({ "socket": "s", "send": "typed" }).to_string());
    let mut seen = [page.json(), page.json()];
    seen.sort_by_key(|event| event["stream"].is_null());
    assert_eq!(seen[0]["message"], "typed", "{seen:?}");
    assert_eq!(seen[1]["text"], "typed", "as text, which a page can read");
    page.tell(&json!({ "socket": "other", "url": url, "protocols": ["channel.other"] }).to_string());
    assert_eq!(page.json(), json!({ "socket": "other", "close": 1006 }));
    assert_eq!(page.rest(), [] as [&str; 0]);
}

async fn text_stays_text(resource: Value) {
    let gateway = with(&resource).await;
    let mut socket = Socket::open(&gateway, "/ticks/prices").await;
    for frame in [
        Message::text("ü"),
        Message::binary("text in bytes"),
        Message::binary(vec![0xff, 0]),
        Message::text(""),
    ] {
        socket.send_frame(frame.clone()).await;
        assert_eq!(socket.frame().await.unwrap(), frame);
    }
}

#[tokio::test]
async fn text_stays_text_and_bytes_stay_bytes_on_the_embedded_log() {
    text_stays_text(ticks()).await;
}

#[tokio::test]
async fn text_stays_text_and_bytes_stay_bytes_on_kafka() {
    let topic = json!({ "topic": kafka_topic("kinds", 1).await });
    let channels = json!({ "prices": { "produceTo": topic, "consumeFrom": topic } });
    text_stays_text(on_kafka(webbroker_api("ticks", "/ticks", &channels))).await;
}

#[tokio::test]
async fn topics_of_a_channel_are_those_that_a_client_of_kafka_sees() {
    let (to, from) = (kafka_topic("produce-to", 1).await, kafka_topic("consume-from", 1).await);
    let channels = json!({ "prices": { "produceTo": { "topic": to }, "consumeFrom": { "topic": from } } });
    let mut resource = on_kafka(webbroker_api("ticks", "/ticks", &channels));
    let publisher = json!({ "envelope": true, "acknowledge": true });
    resource["spec"]["receiver"][0]["properties"] =
        json!({ "frames": "json", "qos": "at-least-once", "publisher": publisher });
    let gateway = with(&resource).await;
    let mut socket = Socket::open(&gateway, "/ticks/prices").await;
    assert!(socket.next().await.unwrap()["begin"]["position"].is_string());

    let envelope =
        json!({ "id": "7", "key": "EURUSD", "content": "1.08", "headers": { "X-Desk": ["a", "b"] } });
    socket.send(&envelope.to_string()).await;
    assert_eq!(socket.next().await.unwrap(), json!({ "ack": { "id": "7", "sequence": 1 } }));
    let record = kafka_records(&to, 1).await.remove(0);
    assert_eq!((record.key.as_deref(), &*record.payload), (Some(&b"EURUSD"[..]), &b"1.08"[..]));
    assert_eq!(record.headers, [("x-desk".to_owned(), b"a".to_vec()), ("x-desk".to_owned(), b"b".to_vec())]);

    kafka_send(&from, "k", "from elsewhere").await;
    let message = socket.next().await.unwrap();
    assert_eq!((&message["key"], &message["content"]), (&json!("k"), &json!("from elsewhere")), "{message}");
    assert!(message["id"].is_string() && message["headers"].is_object(), "{message}");
    assert_eq!(message["metadata"]["topic"], json!(from));

    // What was missed is there when the client comes again with its position.
    let position = message["id"].as_str().unwrap().to_owned();
    drop(socket);
    kafka_send(&from, "k", "while it was away").await;
    let cursor: String = reqwest::Url::parse_with_params("http://a/", [("cursor", position)]).unwrap().into();
    let query = cursor.split_once('?').unwrap().1.to_owned();
    let mut again = Socket::open(&gateway, &format!("/ticks/prices?{query}")).await;
    assert!(again.next().await.unwrap()["begin"].is_object());
    assert_eq!(again.next().await.unwrap()["content"], "while it was away");
}

#[tokio::test]
async fn a_message_that_is_refused_is_told_so_and_the_next_is_taken() {
    let publisher = json!({ "envelope": true, "acknowledge": true });
    let properties = json!({ "frames": "json", "publisher": publisher, "maxMessageSize": 2000 });
    let gateway = with(&by_websocket(&properties)).await;
    let mut socket = Socket::open(&gateway, "/ticks/prices").await;
    socket.send("no envelope").await;
    let told = socket.next().await.unwrap();
    assert_eq!(
        (&told["error"]["sequence"], &told["error"]["code"]),
        (&json!(1), &json!("websocket.envelope"))
    );
    socket.send(&json!({ "id": "b", "content": "sound" }).to_string()).await;
    let mut seen = [socket.next().await.unwrap(), socket.next().await.unwrap()];
    seen.sort_by_key(|document| document["ack"].is_null());
    assert_eq!(seen[0], json!({ "ack": { "id": "b", "sequence": 2 } }));
    assert_eq!(seen[1]["content"], "sound", "{seen:?}");
    socket.send(&json!({ "content": "x".repeat(2000) }).to_string()).await;
    assert_eq!(socket.next().await, Err(1009), "receiver properties count");
}

#[tokio::test]
async fn properties_of_a_receiver_are_honoured_or_refused() {
    let gateway = with(&by_websocket(&json!({ "maxConnections": 1, "pingInterval": "20s" }))).await;
    let first = Socket::open(&gateway, "/ticks/prices").await;
    assert_eq!(Socket::try_open(&gateway, "/ticks/eu/quotes").await.err(), Some(503));
    drop(first);
    until("the place to be free", || async { Socket::try_open(&gateway, "/ticks/prices").await.is_ok() })
        .await;
    for (properties, field) in [
        (json!({ "colour": "red" }), "spec.receiver"),
        (json!({ "pingInterval": "soon" }), "pingInterval"),
        (json!({ "maxMessageSize": -1 }), "maxMessageSize"),
    ] {
        let mut resource = by_websocket(&properties);
        resource["metadata"]["name"] = json!("other");
        resource["spec"]["displayName"] = json!("other");
        resource["spec"]["context"] = json!("/other");
        let answer = gateway.resource(Method::POST, "/webbroker-apis").json(&resource).send().await.unwrap();
        let told = succeeded(answer, 400).await;
        assert!(told["errors"].to_string().contains(field), "{field} is not in {told}");
    }
}

#[tokio::test]
async fn a_burst_of_a_client_is_published_as_a_whole_and_one_that_is_slow_misses_none_of_it() {
    const MESSAGES: usize = 1000;
    let gateway = Starting::run().config("limits: { ringMessages: 64 }").start().await;
    gateway.make(&ticks()).await;
    let mut slow = Socket::open(&gateway, "/ticks/prices").await;
    let mut quick = Socket::open(&gateway, "/ticks/prices").await;
    // More than the sockets between can hold.
    let filler = "x".repeat(20_000);
    let numbered = |number: usize| format!("{number} {filler}");
    for number in 0..MESSAGES {
        quick.send(&numbered(number)).await;
        // It hears its own.
        assert_eq!(quick.text().await, numbered(number));
    }
    for number in 0..MESSAGES {
        assert_eq!(slow.text().await, numbered(number));
    }
    assert_eq!(gateway.metric("sluice_skipped_messages_total").await, 0.0);
}

#[tokio::test]
async fn clients_that_come_and_go_while_messages_pass_harm_nobody() {
    let gateway = with(&ticks()).await;
    let mut stays = Socket::open(&gateway, "/ticks/prices").await;
    let publishing = async {
        let mut sender = Socket::open(&gateway, "/ticks/prices").await;
        for number in 0..200 {
            sender.send(&number.to_string()).await;
            while sender.text().await != number.to_string() {}
        }
    };
    let coming_and_going = async {
        for _ in 0..200 {
            let mut socket = Socket::open(&gateway, "/ticks/prices").await;
            socket.send("in passing").await;
        }
    };
    let reading = async {
        let mut next = 0;
        while next < 200 {
            let text = stays.text().await;
            if text != "in passing" {
                assert_eq!(text, next.to_string());
                next += 1;
            }
        }
    };
    tokio::join!(publishing, coming_and_going, reading);
    until("those who went to be gone", || async { gateway.metric("sluice_open_streams").await == 1.0 }).await;
}

#[tokio::test]
async fn a_changed_resource_counts_at_once_and_what_was_taken_out_acts_no_more() {
    let gateway = Starting::run().start().await;
    let mut resource = ticks();
    let auth = json!({ "policies": [{ "name": "api-key-auth", "version": "v1" }] });
    resource["spec"]["channels"]["prices"]["on_connection_init"] = auth;
    gateway.make(&resource).await;
    assert_eq!(Socket::try_open(&gateway, "/ticks/prices").await.err(), Some(401));
    let mut changed = ticks();
    changed["spec"]["context"] = json!("/moved");
    let answer = gateway.change(&changed).await;
    assert_eq!(answer["spec"]["context"], "/moved", "{answer}");
    assert!(answer["spec"]["channels"]["prices"].get("on_connection_init").is_none(), "{answer}");
    Socket::open(&gateway, "/moved/prices").await;
    assert_eq!(Socket::try_open(&gateway, "/ticks/prices").await.err(), Some(404));

    changed["spec"]["deploymentState"] = json!("undeployed");
    gateway.change(&changed).await;
    assert_eq!(Socket::try_open(&gateway, "/moved/prices").await.err(), Some(404));
    let list = gateway.resource(Method::GET, "/webbroker-apis?status=undeployed").send().await.unwrap();
    assert_eq!(succeeded(list, 200).await["count"], 1);
}

#[tokio::test]
async fn a_vhost_is_the_only_host_by_which_an_api_is_reached() {
    let mut resource = ticks();
    resource["spec"]["vhosts"] = json!({ "main": "ticks.example", "sandbox": "try.ticks.example" });
    let gateway = with(&resource).await;
    for (host, expected) in
        [("ticks.example", None), ("try.ticks.example", None), ("other.example", Some(404))]
    {
        let request =
            gateway.client().get(gateway.url("/ticks/prices")).header("Accept", "text/event-stream");
        let status = request.header("Host", host).send().await.unwrap().status().as_u16();
        assert_eq!(status, expected.unwrap_or(200), "{host}");
    }
}

#[tokio::test]
async fn an_api_whose_kafka_is_away_keeps_no_other_from_being_made() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Starting::run().config("limits: { openTimeoutMs: 500 }").start().await;
    let mut away = webbroker_api("away", "/away", &json!({ "c": {} }));
    let properties = json!({ "brokers": [nobody.to_string()] });
    away["spec"]["broker"] = json!({ "name": "k", "type": "kafka", "properties": properties });
    gateway.make(&away).await;
    gateway.make(&ticks()).await;
    Socket::open(&gateway, "/ticks/prices").await;
    assert_eq!(Socket::try_open(&gateway, "/away/c").await.err(), Some(503));
}
