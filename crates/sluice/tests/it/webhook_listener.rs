//! `sluice webhook-listener`: what it prints, how it answers, what it takes for signed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::harness::{Listener, node, output, within};

async fn send(request: reqwest::RequestBuilder) -> Response {
    within("the webhook listener to answer", request.send()).await.unwrap()
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn post(listener: &Listener, body: impl Into<reqwest::Body>) -> u16 {
    send(client().post(listener.url()).body(body)).await.status().as_u16()
}

#[tokio::test]
async fn each_request_is_one_json_line_with_all_that_was_sent() {
    let listener = Listener::start(&[]);
    let url = format!("{}hook/1?x=a%20b", listener.url());
    let request = client().put(url).header("X-Twice", "a").header("X-Twice", "b").body("{\"n\": 1}");
    assert_eq!(send(request).await.status(), 200);
    let told = listener.next();
    assert_eq!(
        [&told["number"], &told["method"], &told["path"], &told["body"], &told["bytes"], &told["status"]],
        [&json!(1), &json!("PUT"), &json!("/hook/1?x=a%20b"), &json!("{\"n\": 1}"), &json!(8), &json!(200)]
    );
    assert_eq!(told["headers"]["x-twice"], "a, b");
    assert!(told.get("signature").is_none(), "none was to be checked: {told}");

    assert_eq!(post(&listener, vec![0xff, 0x00]).await, 200);
    assert_eq!(listener.next()["bodyBase64"], "/wA=");
    assert_eq!(listener.end(), [json!({ "requests": 2, "answers": { "200": 2 } })]);
}

#[tokio::test]
async fn a_person_reads_blocks_that_cannot_steer_the_terminal() {
    let mut child = Listener::command().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.next().unwrap().strip_prefix("Listening on ").unwrap().to_owned();
    let request = client().post(&url).header("X-A", "b").body("one\n\u{1b}[2Jtwo");
    assert_eq!(send(request).await.status(), 200);
    assert_eq!(lines.next().unwrap(), "#1 POST / -> 200");
    let block: Vec<String> = lines.by_ref().take_while(|line| !line.ends_with("two")).collect();
    assert!(block.contains(&"  x-a: b".to_owned()), "{block:?}");
    assert_eq!(block[block.len() - 2..], ["", "one"], "the escape character is written out");

    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(lines.last().unwrap(), "Requests: 1. Answers: 200: 1.");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn deliveries_are_answered_in_turn_and_the_last_answer_stays() {
    let listener = Listener::start(&["--status", "503,429,200", "--header", "Retry-After: 3"]);
    let mut answers = Vec::new();
    for method in [Method::GET, Method::POST, Method::OPTIONS, Method::POST, Method::POST, Method::POST] {
        let answer = send(client().request(method.clone(), listener.url())).await;
        let told_when = answer.headers().contains_key("retry-after");
        assert_eq!(told_when, method == Method::POST, "{method}");
        answers.push(answer.status().as_u16());
    }
    assert_eq!(answers, [200, 503, 200, 429, 200, 200], "asking takes no turn");
    let summary = listener.end().pop().unwrap();
    assert_eq!(summary, json!({ "requests": 6, "answers": { "200": 4, "429": 1, "503": 1 } }));
}

#[tokio::test]
async fn a_delayed_delivery_is_printed_before_it_is_answered() {
    let listener = Listener::start(&["--delay", "10m"]);
    let waiting = tokio::spawn(client().post(listener.url()).body("x").send());
    let told = tokio::task::spawn_blocking(move || (listener.next(), listener)).await.unwrap();
    assert_eq!(told.0["body"], "x");
    assert!(!waiting.is_finished());
    told.1.end();
    assert!(within("the connection to be cut off", waiting).await.unwrap().is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_taken() {
    let listener = Listener::start(&["--max-body", "10"]);
    assert_eq!(post(&listener, "0123456789").await, 200);
    assert_eq!(listener.next()["bytes"], 10);
    assert_eq!(post(&listener, "0123456789a").await, 413);
    let told = listener.next();
    assert!(told["status"] == 413 && told.get("body").is_none(), "{told}");
}

#[tokio::test]
async fn the_output_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("received.jsonl");
    for body in ["first", "second"] {
        let listener = Listener::start(&["--output", file.to_str().unwrap()]);
        post(&listener, body).await;
        assert_eq!(listener.next()["body"], body);
    }
    let text = fs::read_to_string(&file).unwrap();
    let bodies: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone()).collect();
    assert_eq!(bodies, ["first", "second"]);
}

#[tokio::test]
async fn what_the_standard_webhooks_library_signs_verifies_and_nothing_else_does() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let listener = Listener::start(&["--verify", secret, "--status", "202"]);
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let signature = |secret: &str, time: u64| {
        let arguments = [secret, "msg_1", &time.to_string(), "{\"n\": 1}"];
        String::from_utf8(output(node("sign.cjs").args(arguments)).stdout).unwrap()
    };
    let deliver = async |id: &'static str, time: u64, signature: String, body: &'static str| {
        let request =
            client().post(listener.url()).header("webhook-id", id).header("webhook-timestamp", time);
        let answer = send(request.header("webhook-signature", signature).body(body)).await;
        (answer.status().as_u16(), listener.next()["signature"].as_str().unwrap().to_owned())
    };
    let right = signature(secret, now);
    let verified = (202, "verified".to_owned());
    assert_eq!(deliver("msg_1", now, right.clone(), "{\"n\": 1}").await, verified);
    let other = signature("whsec_b3RoZXI=", now);
    assert_eq!(deliver("msg_1", now, format!("{other} {right}"), "{\"n\": 1}").await, verified);

    let old = now - 400;
    for (refused, reason) in [
        (deliver("msg_1", now, other, "{\"n\": 1}").await, "matches"),
        (deliver("msg_1", now, right.clone(), "{\"n\": 2}").await, "matches"),
        (deliver("msg_2", now, right, "{\"n\": 1}").await, "matches"),
        (deliver("msg_1", old, signature(secret, old), "{\"n\": 1}").await, "webhook-timestamp"),
    ] {
        assert_eq!(refused.0, 401, "{refused:?}");
        assert!(refused.1.starts_with("failed: ") && refused.1.contains(reason), "{refused:?}");
    }
    assert_eq!(post(&listener, "unsigned").await, 401);
    assert!(listener.next()["signature"].as_str().unwrap().contains("webhook-id is missing"));
}

#[tokio::test]
async fn the_hmac_of_openssl_verifies() {
    let listener = Listener::start(&["--verify-hmac", "s3cret"]);
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", "s3cret", "-binary"]);
    let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    openssl.stdin.take().unwrap().write_all(b"content").unwrap();
    let mac = openssl.wait_with_output().unwrap().stdout;
    let mut base64 = Command::new("base64").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    base64.stdin.take().unwrap().write_all(&mac).unwrap();
    let signature = String::from_utf8(base64.wait_with_output().unwrap().stdout).unwrap();

    for (body, expected) in [("content", 200), ("other", 401)] {
        let request = client().post(listener.url()).header("X-HMAC-Signature", signature.trim()).body(body);
        assert_eq!(send(request).await.status(), expected, "{body}");
    }
}

#[test]
fn flags_that_make_no_sense_are_refused_with_the_flag() {
    let wrong: [&[&str]; 6] = [
        &["--status", "100"],
        &["--delay", "11m"],
        &["--verify", "whsec_%"],
        &["--verify", "c2VjcmV0", "--verify-hmac", "x"],
        &["--max-body", "0"],
        &["--header", "no-value"],
    ];
    for arguments in wrong {
        let refused = Listener::command().args(arguments).output().unwrap();
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains(arguments[0]), "{told}");
    }
    let refused = Listener::command().args(["--output", "/"]).output().unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--output /"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let address = taken.local_addr().unwrap().to_string();
    let refused = command.args(["webhook-listener", "--listen", &address]).output().unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains(&address));
}

#[tokio::test]
async fn it_ends_when_nobody_reads_it() {
    let mut child = Listener::command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    let url = line.trim().strip_prefix("Listening on ").unwrap();
    // The answer may or may not get out before the end.
    let _answer = client().post(url).body("x").send().await;
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("Standard output cannot be written"));
}
