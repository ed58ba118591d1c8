//! Who comes in, and what is answered where no contract applies.

use serde_json::{Value, json};

use crate::support::{BASE, Server, send};

#[tokio::test]
async fn nothing_is_answered_without_the_password() {
    let server = Server::start().await;
    let paths = [format!("{BASE}/v4/apis"), "/".to_owned(), "/no/such/place".to_owned()];
    for path in paths {
        let anonymous = send(server.anonymous("GET", &path)).await;
        anonymous.refused(401, "auth.required");
        assert!(anonymous.header("www-authenticate").starts_with("Basic realm="));
        let wrong = server.anonymous("GET", &path).basic_auth("admin", Some("wrong"));
        send(wrong).await.refused(401, "auth.required");
    }
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_answered_in_json() {
    let server = Server::start().await;
    server.call("GET", "no/such/place", None).await.refused(404, "route.notFound");
    let answer = server.call("DELETE", "v4/apis", None).await;
    answer.refused(405, "route.method");
    assert!(answer.header("allow").contains("POST"));
    server.call("GET", "v4/apis/%ff", None).await.refused(400, "request.invalid");
}

#[tokio::test]
async fn a_body_that_can_not_be_read_is_told_with_its_place() {
    let server = Server::start().await;
    let broken = send(server.request("POST", "v4/apis").body("{\"name\": \"x\",\n  oops}")).await;
    broken.refused(400, "document.syntax");
    assert!(broken.json()["message"].as_str().unwrap().contains("line 2, column 3"), "{}", broken.text);
    send(server.request("POST", "v4/apis")).await.refused(400, "document.syntax");
    send(server.request("POST", "v4/apis").body(vec![0xff])).await.refused(400, "document.syntax");
    send(server.request("POST", "v4/apis").body("[".repeat(100_000))).await.refused(400, "document.syntax");
    let kind = send(server.request("POST", "v4/apis").body(r#"{"name": 5}"#)).await;
    assert_eq!(kind.refused(400, "document.field").json()["parameters"]["path"], "name");
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused() {
    let server = Server::start().await;
    let long = json!({"name": "x".repeat(1 << 20)});
    server.call("POST", "v4/apis", Some(&long)).await.refused(413, "body.tooLarge");
}

#[tokio::test]
async fn random_bytes_in_a_body_change_nothing() {
    let server = Server::start().await;
    // A fixed sequence: what fails here fails every time.
    let mut state = 0x2545_f491_u32;
    for length in 0..200 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .take(length)
        .collect();
        assert_eq!(send(server.request("POST", "v4/apis").body(bytes)).await.status, 400);
    }
    assert_eq!(server.call("GET", "v4/apis", None).await.json(), Value::Array(Vec::new()));
}
