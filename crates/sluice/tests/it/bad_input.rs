//! What clients should not send, and what they get for it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Starting, log_broker, native_api};

#[tokio::test]
async fn a_body_over_the_limit_of_the_api_is_413_and_one_at_the_limit_is_taken() {
    let mut small = native_api("Small", "/small", &log_broker("t"));
    small["limits"] = json!({ "maxBodyBytes": 1000 });
    let gateway =
        Starting::run().api(&small).api(&native_api("Default", "/default", &log_broker("t"))).start().await;

    for (path, limit) in [("/small", 1000), ("/default", 1 << 20)] {
        assert_eq!(gateway.post(path, "x".repeat(limit)).await.status(), 202, "{path}");
        let refused = gateway.post(path, "x".repeat(limit + 1)).await;
        assert_eq!(refused.status(), 413, "{path}");
        assert_eq!(refused.headers()["connection"], "close", "the unread rest must not meet another request");
        let told: Value = refused.json().await.unwrap();
        assert_eq!(told["code"], "request.body.too-large");
        assert_eq!(told["http_status_code"], 413);
        assert!(told["message"].as_str().unwrap().contains(&limit.to_string()));
    }
    // Without a length, the limit is met while reading.
    let pieces = futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    assert_eq!(gateway.post("/small", reqwest::Body::wrap_stream(pieces)).await.status(), 413);
}

#[tokio::test]
async fn a_request_that_no_api_takes_is_told_why() {
    let mut closed = native_api("Closed", "/closed", &log_broker("t"));
    closed["plans"] = json!([]);
    let gateway =
        Starting::run().api(&native_api("Open", "/open", &log_broker("t"))).api(&closed).start().await;
    let code = |response: reqwest::Response| async {
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code(gateway.post("/nowhere", "x").await).await, (404, "route.none".to_owned()));
    assert_eq!(code(gateway.post("/opener", "x").await).await, (404, "route.none".to_owned()));
    assert_eq!(code(gateway.post("/closed", "x").await).await, (401, "plan.none".to_owned()));
    let put = gateway.client().put(gateway.url("/open")).send().await.unwrap();
    assert_eq!(code(put).await, (404, "receiver.none".to_owned()));
    assert_eq!(gateway.metric("sluice_unrouted_requests_total").await, 4.0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_too_long_an_address_is_414() {
    let gateway = Starting::run().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    let with_header = |bytes: usize| {
        let request = gateway.client().post(gateway.url("/open")).header("x-large", "x".repeat(bytes));
        async { request.send().await.unwrap().status() }
    };
    // The bound is met between one and two times its figure, depending on how the bytes arrive.
    assert_eq!(with_header(64_000).await, 202);
    assert_eq!(with_header(140_000).await, 431);
    // Longer than the client would let us ask for.
    let mut stream = TcpStream::connect(gateway.url("").replace("http://", "")).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream.write_all(format!("GET /open/{} HTTP/1.1\r\n", "x".repeat(140_000)).as_bytes()).ok();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert!(matches!(&answer, b"HTTP/1.1 414" | b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn random_bytes_on_either_port_do_no_harm() {
    let gateway = Starting::run().api(&native_api("Open", "/open", &log_broker("t"))).start().await;
    // A xorshift generator from a fixed seed: the same bytes on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let beginnings =
        ["", "GET ", "POST /open HTTP/1.1\r\n", "POST /open HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"];
    for round in 0..300 {
        let address = if round % 2 == 0 { gateway.url("") } else { gateway.management_url("") };
        let mut stream = TcpStream::connect(address.replace("http://", "")).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = beginnings[round % beginnings.len()].as_bytes().to_vec();
        bytes.extend((0..random() % 400).map(|_| random() as u8));
        // The other side may close at any byte.
        let _sent = stream.write_all(&bytes);
        let _read = stream.read(&mut [0; 512]);
    }
    gateway.publish("/open", "still serving").await;
    assert_eq!(gateway.client().get(gateway.management_url("/metrics")).send().await.unwrap().status(), 401);
    assert!(!gateway.log().contains("never should"), "{}", gateway.log());
}

#[tokio::test]
async fn more_connections_than_allowed_are_answered_503_and_places_become_free_again() {
    let gateway =
        Starting::run().config("limits: { maxConnections: 3, headerTimeoutMs: 60000 }").start().await;
    let address = gateway.url("").replace("http://", "");
    let answer = |mut stream: TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok();
        text
    };
    let held: Vec<_> = (0..3).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // The held ones are accepted in order before this one.
    let refused = TcpStream::connect(&address).unwrap();
    let mut text = String::new();
    (&refused).read_to_string(&mut text).ok();
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    drop(held);
    crate::harness::until("a free place", || {
        let text = answer(TcpStream::connect(&address).unwrap());
        async move { text.starts_with("HTTP/1.1 404") }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_cut_off() {
    let gateway = Starting::run().config("limits: { headerTimeoutMs: 200 }").start().await;
    for beginning in ["", "GET / HT"] {
        let mut stream = TcpStream::connect(gateway.url("").replace("http://", "")).unwrap();
        stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
    }
}

#[tokio::test]
async fn more_request_bodies_than_may_be_held_are_503_and_harm_no_other_request() {
    let mut large = native_api("Large", "/large", &log_broker("t"));
    large["limits"] = json!({ "maxBodyBytes": 1 << 20 });
    let gateway = Starting::run().config("limits: { bodyBytes: 1048576 }").api(&large).start().await;
    let address = gateway.url("").replace("http://", "");
    crate::harness::until("the room to be taken", || async {
        // Announces a body that takes all the room, and keeps it for as long as the connection lasts.
        let mut held = TcpStream::connect(&address).unwrap();
        held.write_all(b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\nx").unwrap();
        let refused = gateway.post("/large", "x").await;
        refused.status() == 503 && refused.headers().contains_key("retry-after")
    })
    .await;
    crate::harness::until("room again", || async { gateway.post("/large", "x").await.status() == 202 }).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_what_was_held_for_it_is_free() {
    let gateway = Starting::run()
        .config("limits: { writeTimeoutMs: 300 }")
        .api(&native_api("Open", "/open", &log_broker("t")))
        .start()
        .await;
    let mut stuck = TcpStream::connect(gateway.url("").replace("http://", "")).unwrap();
    stuck.write_all(b"GET /open HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    crate::harness::until("the stream to be open", || async {
        gateway.metric("sluice_open_streams").await == 1.0
    })
    .await;
    // More than the sockets between can hold.
    for _ in 0..100 {
        gateway.publish("/open", &"x".repeat(200_000)).await;
    }
    crate::harness::until("the stream to be closed", || async {
        gateway.metric("sluice_open_streams").await == 0.0
    })
    .await;
    drop(stuck);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_manage() {
    let gateway = Starting::run().start().await;
    for (name, value) in
        [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
    {
        let request = gateway.manage(reqwest::Method::POST, "/v4/apis").header(name, value).body("{}");
        assert_eq!(request.send().await.unwrap().status(), 403, "{name}: {value}");
    }
    let own = gateway.management_addresses()[0].clone();
    let request = gateway.manage(reqwest::Method::GET, "/v4/apis").header("Origin", own);
    assert_eq!(request.send().await.unwrap().status(), 200);
}
