//! Addresses: any number of each kind, each of which serves everything of its kind; and what the admin address tells
//! those who watch over the process.

use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::connect_async;

use crate::harness::{
    CALLS_HERE, Gateway, Starting, Subscriber, hub_api, log_broker, native_api, until, within,
};

const ANYWHERE: &str = "127.0.0.1:0";

/// With an admin address.
fn watched() -> Starting {
    Starting::run().argument("--admin-listen").argument(ANYWHERE)
}

/// The status and the document that an admin address answers with.
async fn asked(gateway: &Gateway, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", gateway.admin_addresses()[0]);
    let answer = within("the admin address to answer", gateway.client().get(url).send()).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn every_address_serves_everything_of_its_kind() {
    let mut api = hub_api("Open", "/open", &json!({ "type": "log" }), &["c"]);
    let websocket = json!({ "type": "websocket", "configuration": { "frames": "text" } });
    api["receivers"].as_array_mut().unwrap().push(websocket);
    let mut starting =
        Starting::run().file("sluice.yaml", CALLS_HERE).variable("SLUICE_CONFIG", "{dir}/sluice.yaml");
    for flag in ["--gateway-listen", "--management-listen", "--admin-listen"] {
        starting = starting.argument(flag).argument(ANYWHERE).argument(flag).argument(ANYWHERE);
    }
    let gateway = starting.api(&api).start().await;
    let addresses = [gateway.gateway_addresses(), gateway.management_addresses(), gateway.admin_addresses()];
    assert_eq!(addresses.map(<[String]>::len), [2, 2, 2]);

    let mut subscriber = Subscriber::start().await;
    for (number, address) in gateway.gateway_addresses().iter().enumerate() {
        let callback = subscriber.url(&format!("/{number}"));
        let form = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)];
        let answer = gateway.client().post(format!("{address}/open/hub")).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let (_socket, answer) =
            connect_async(format!("{}/open/c", address.replace("http", "ws"))).await.unwrap();
        assert_eq!(answer.status(), 101);
    }
    gateway.has_verified(2.0).await;
    gateway.pushed("/open", "c", "to both").await;
    let mut targets = [subscriber.delivery().await.target, subscriber.delivery().await.target];
    targets.sort_unstable();
    assert_eq!(targets, ["/0", "/1"]);

    for address in gateway.management_addresses() {
        for path in ["/api/v1/apis", "/api/management/v1/websub-apis"] {
            let request = gateway.client().get(format!("{address}{path}")).basic_auth("admin", Some("admin"));
            assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        }
    }
    for address in gateway.admin_addresses() {
        assert_eq!(gateway.client().get(format!("{address}/health")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_admin_address_tells_health_and_counters_without_a_password_and_nothing_else() {
    let gateway = watched().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    gateway.publish("/open", "x").await;
    assert_eq!(asked(&gateway, "/health").await, (200, json!({ "status": "UP" })));
    assert_eq!(asked(&gateway, "/ready").await, (200, json!({ "status": "READY", "notUp": [] })));
    assert_eq!(asked(&gateway, "/api/v1/apis").await.0, 404);
    assert_eq!(asked(&gateway, "/open").await.0, 404);
    let admin = &gateway.admin_addresses()[0];
    let metrics = gateway.client().get(format!("{admin}/metrics")).send().await.unwrap();
    let content_type = metrics.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let page = metrics.text().await.unwrap();
    assert!(page.lines().any(|line| line.starts_with("sluice_") && line.contains("open")), "{page}");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let answer = gateway.client().request(method, format!("{admin}/ready")).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &"GET, HEAD".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn an_api_whose_kafka_is_away_is_named_and_keeps_nobody_from_being_ready() {
    // A port that was free a moment ago, with nothing behind it.
    let nobody = TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let kafka = json!({ "bootstrapServers": nobody.to_string(), "topics": ["t"] });
    let away = json!({ "type": "kafka", "configuration": kafka });
    let gateway = watched()
        .api(&native_api("Away", "/away", &away))
        .api(&native_api("Here", "/here", &log_broker("t")))
        .start()
        .await;
    let (status, ready) = asked(&gateway, "/ready").await;
    assert_eq!((status, &ready["status"]), (200, &json!("READY")), "{ready}");
    let not_up = ready["notUp"].as_array().unwrap();
    assert_eq!(
        (not_up.len(), &not_up[0]["api"], &not_up[0]["code"]),
        (1, &json!("away"), &json!("broker.unreachable"))
    );
    assert!(!ready.to_string().contains(&nobody.to_string()), "addresses are not for everybody: {ready}");
    gateway.publish("/here", "x").await;
}

#[tokio::test]
async fn a_definition_file_that_is_refused_is_named_and_keeps_nobody_from_being_ready() {
    let mut broken = native_api("Broken", "/broken", &log_broker("t"));
    broken["receivers"] = json!([]);
    let gateway = watched().api(&native_api("Here", "/here", &log_broker("t"))).api(&broken).start().await;
    let (status, ready) = asked(&gateway, "/ready").await;
    assert_eq!((status, &ready["status"]), (200, &json!("READY")), "{ready}");
    let not_up = ready["notUp"].as_array().unwrap();
    assert_eq!((not_up.len(), &not_up[0]["code"]), (1, &json!("api.notServed")), "{ready}");
    assert!(
        not_up[0]["file"].is_string() && not_up[0]["reason"].as_str().unwrap().contains("receivers"),
        "{ready}"
    );
}

#[tokio::test]
async fn a_gateway_that_stops_is_not_ready_while_what_is_in_flight_finishes() {
    let mut gateway = watched().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    let address = gateway.gateway_addresses()[0].strip_prefix("http://").unwrap();
    let mut post = TcpStream::connect(address).await.unwrap();
    let head = "POST /open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    post.write_all(head.as_bytes()).await.unwrap();
    // The gateway reads the body from now on.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    within("the gateway to ask for the body", post.read_exact(&mut go_on)).await.unwrap();
    gateway.signal("-TERM");
    let stops =
        || async { asked(&gateway, "/ready").await == (503, json!({ "status": "NOT_READY", "notUp": [] })) };
    until("the gateway to say that it stops", stops).await;
    assert_eq!(asked(&gateway, "/health").await.0, 200);
    post.write_all(b"xy").await.unwrap();
    let mut answer = String::new();
    within("the answer", post.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(gateway.ended().await.code(), Some(0));
}
