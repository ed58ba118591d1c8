//! What a newcomer does first, with the commands of the README and a real curl.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::harness::{Sse, Starting};

#[tokio::test]
async fn the_two_curls_of_the_readme_work_as_they_stand() {
    let gateway = Starting::dev().start().await;

    let posted = Command::new("curl")
        .args(["-sS", "-w", "%{http_code}", "-X", "POST", "-d", "my_payload"])
        .arg(gateway.url("/data/ingestion"))
        .output()
        .expect("curl is needed for this test; `cargo xtask test` installs it");
    assert_eq!(String::from_utf8_lossy(&posted.stdout), "202", "an empty body and 202");

    let mut listening = Command::new("curl")
        .args(["-sS", "-N", "-H", "Accept:text/event-stream"])
        .arg(gateway.url("/demo/sse"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(listening.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("retry: "));
    assert_eq!(lines.next().unwrap(), "");
    assert_eq!(lines.next().unwrap(), "event: message");
    assert_eq!(lines.next().unwrap(), "data: my_payload");
    listening.kill().unwrap();
    listening.wait().unwrap();
}

#[tokio::test]
async fn dev_prints_what_runs_and_what_to_try() {
    let gateway = Starting::dev().start().await;
    let printed = gateway.printed();
    let port = gateway.url("").rsplit(':').next().unwrap().to_owned();
    assert!(
        printed.contains(&format!("curl -X POST -d \"my_payload\" http://localhost:{port}/data/ingestion"))
    );
    assert!(
        printed
            .contains(&format!("curl -N -H \"Accept:text/event-stream\" http://localhost:{port}/demo/sse"))
    );
    assert!(printed.contains(&format!("websocat ws://localhost:{port}/demo/ws")), "{printed}");
    assert!(printed.contains("While there is nothing to show"), "{printed}");
    assert_eq!(gateway.log(), "", "no log line disturbs a newcomer");
}

#[tokio::test]
async fn every_example_does_what_it_says() {
    let gateway = Starting::dev().start().await;
    gateway.publish("/data/ingestion", "plain").await;
    gateway.publish("/data/ingestion", r#"{"feature": "other"}"#).await;
    gateway.publish("/data/ingestion", r#"{"feature": "demo", "n": 1}"#).await;

    let mut all = Sse::open(&gateway, "/demo/sse").await;
    assert_eq!(all.messages(3).await[0], "plain");
    let mut filtered = Sse::open(&gateway, "/demo/filtered").await;
    assert_eq!(filtered.message().await, r#"{"feature": "demo", "n": 1}"#);
    let mut whole = Sse::open(&gateway, "/demo/resume").await;
    let id = whole.event().await.unwrap().id.unwrap();
    let mut rest = Sse::resume(&gateway, "/demo/resume", &id).await;
    assert_eq!(rest.message().await, r#"{"feature": "other"}"#);
    let mut ticks = Sse::open(&gateway, "/demo/ticks").await;
    let first = ticks.event().await.unwrap();
    assert_eq!((first.id.as_deref(), first.data.as_deref()), (Some("0"), Some("tick 0")));
    assert_eq!(ticks.message().await, "tick 1");
}
