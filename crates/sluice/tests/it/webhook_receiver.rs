//! Webhooks in: what the libraries of the big senders sign is taken and comes out as it came in, everything else is not;
//! and nothing of a sender's credentials goes on.

use std::{collections::HashMap, path::Path, time::UNIX_EPOCH};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{
    CALLS_HERE, Gateway, Leash, Listener, Starting, Subscriber, hub_api, kafka_of_channels, kafka_records,
    kafka_topic, node, output, policies, succeeded, websub_api, within,
};

const SECRET: &str = "It's a Secret to Everybody";

fn log() -> Value {
    json!({ "type": "log" })
}

/// A gateway with a hub and a webhook receiver for the channel `c` at `/in`, the receiver with these settings.
async fn receiving(settings: Value) -> Gateway {
    receiving_into(&log(), "in", settings).await
}

async fn receiving_into(broker: &Value, topic: &str, settings: Value) -> Gateway {
    let mut api = hub_api("In", "/in", broker, &["c"]);
    api["channels"]["c"] = json!({ "produceTo": topic, "consumeFrom": topic });
    api["receivers"][1]["configuration"] = settings;
    Starting::run().config(CALLS_HERE).api(&api).start().await
}

async fn status(request: RequestBuilder) -> u16 {
    let answer = within("the answer to a webhook", request.send()).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert!(status != 202 || text.is_empty(), "202 has no body: {text}");
    status
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// What a library that was not written here prints.
fn printed(script: &str, arguments: &[&str]) -> String {
    String::from_utf8(output(node(script).args(arguments)).stdout).unwrap()
}

#[tokio::test]
async fn the_github_example_works_as_its_readme_walks_through_it() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/github-events");
    let file = example.join("github-events.yaml");
    let gateway = Starting::dev().argument("--api").argument(file.to_str().unwrap()).start().await;
    let all = Listener::start(&["--verify-hub", "one"]);
    let issues_only = Listener::start(&["--verify-hub", "two"]);
    for (listener, topic, secret) in [(&all, "events", "one"), (&issues_only, "issues", "two")] {
        let (callback, mode) = (listener.url(), ("hub.mode", "subscribe"));
        let form = [mode, ("hub.topic", topic), ("hub.callback", callback), ("hub.secret", secret)];
        gateway.ask_hub("/github", &form).await;
        let asked = listener.next();
        assert_eq!((&asked["method"], &asked["status"]), (&json!("GET"), &json!(200)), "{asked}");
    }
    let sign = |body: &str| {
        let mac = std::process::Command::new("openssl")
            .args(["dgst", "-sha256", "-hmac", SECRET, "-hex"])
            .arg(example.join(body))
            .output()
            .unwrap();
        String::from_utf8(mac.stdout).unwrap().trim().rsplit(' ').next().unwrap().to_owned()
    };
    let send = async |event: &str, id: &str, change: &str| {
        let body = std::fs::read_to_string(example.join(format!("{event}.json"))).unwrap();
        let push = gateway.push("/github", "events", format!("{body}{change}"));
        let push = push.header("Content-Type", "application/json").header("X-GitHub-Event", event);
        let push = push.header("X-GitHub-Delivery", id);
        let signature = format!("sha256={}", sign(&format!("{event}.json")));
        status(push.header("X-Hub-Signature-256", signature)).await
    };
    assert_eq!(send("ping", "1", "").await, 202);
    assert_eq!(send("issues", "2", "x").await, 401, "another body than was signed");
    assert_eq!(send("ping", "1", "").await, 202, "the same delivery once more is not published again");
    assert_eq!(send("issues", "2", "").await, 202);

    let delivered = |listener: &Listener| {
        let told = listener.next();
        assert_eq!(told["signature"], "verified", "{told}");
        let event = told["headers"]["x-github-event"].as_str().unwrap().to_owned();
        let body = std::fs::read_to_string(example.join(format!("{event}.json"))).unwrap();
        assert_eq!(told["body"], body, "byte for byte");
        event
    };
    assert_eq!([delivered(&all), delivered(&all)], ["ping", "issues"]);
    assert_eq!(delivered(&issues_only), "issues");
    for (listener, count) in [(all, 3), (issues_only, 2)] {
        assert_eq!(listener.end().pop().unwrap()["requests"], count, "and nothing besides");
    }
}

async fn github_comes_out_byte_for_byte(broker: &Value, topic: &str) {
    let sender = json!({ "provider": "github", "secrets": [SECRET] });
    let gateway = receiving_into(broker, topic, json!({ "sender": sender })).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/in", "c", &[]).await;
    let url = gateway.url("/in/webhook-receiver?topic=c");
    let sending = tokio::task::spawn_blocking(move || {
        let github = Leash::start(node("github.cjs").args([&*url, SECRET]));
        github.rest().iter().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    });
    let mut sent = HashMap::new();
    for told in within("GitHub to have sent everything", sending).await.unwrap() {
        assert_eq!(told["status"], 202, "{told}");
        let delivery = told["delivery"].as_str().unwrap().to_owned();
        sent.insert(
            delivery,
            (told["event"].as_str().unwrap().to_owned(), told["sha256"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(sent.len(), 329);
    while !sent.is_empty() {
        let delivery = subscriber.delivery().await;
        let id = delivery.header("x-github-delivery").unwrap();
        let (event, sha256) = sent.remove(id).unwrap_or_else(|| panic!("{id} came twice"));
        assert_eq!(delivery.header("x-github-event"), Some(&*event));
        assert_eq!(delivery.header("content-type"), Some("application/json"));
        assert_eq!(
            delivery.header("x-hub-signature-256"),
            None,
            "the sender's signature is not the subscriber's"
        );
        assert_eq!(hex(Sha256::digest(&delivery.body)), sha256, "{event}");
    }
}

#[tokio::test]
async fn every_payload_of_github_comes_out_byte_for_byte_on_the_embedded_log() {
    github_comes_out_byte_for_byte(&log(), "in").await;
}

#[tokio::test]
async fn every_payload_of_github_comes_out_byte_for_byte_on_kafka() {
    github_comes_out_byte_for_byte(&kafka_of_channels(), &kafka_topic("github", 1).await).await;
}

#[tokio::test]
async fn what_the_library_of_stripe_signs_is_taken_while_it_is_fresh_and_whole() {
    let sender = json!({ "provider": "stripe", "secrets": ["whsec_old", "whsec_test"] });
    let gateway = receiving(json!({ "sender": sender })).await;
    let body = "{\"id\": \"evt_1\", \"object\": \"event\"}";
    let sign = |secret: &str, time: u64| printed("sign-stripe.cjs", &[secret, &time.to_string(), body]);
    let push = |body: &str, signature: String| {
        gateway.push("/in", "c", body.to_owned()).header("Stripe-Signature", signature)
    };
    let right = sign("whsec_test", now());
    assert_eq!(status(push(body, right.clone())).await, 202);
    assert_eq!(status(push(&body.replace('1', "2"), right)).await, 401, "another body");
    assert_eq!(status(push(body, sign("whsec_other", now()))).await, 401, "another secret");
    assert_eq!(status(push(body, sign("whsec_test", now() - 400))).await, 401, "too old");
    assert_eq!(status(gateway.push("/in", "c", body)).await, 401, "unsigned");
}

#[tokio::test]
async fn what_the_library_of_standard_webhooks_signs_is_taken_and_published_once() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let gateway =
        receiving(json!({ "sender": { "provider": "standard-webhooks", "secrets": [secret] } })).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/in", "c", &[]).await;
    let time = now().to_string();
    let push = |prefix: &str, id: &str, signed_id: &str| {
        let signature = printed("sign.cjs", &[secret, signed_id, &time, "{\"n\": 1}"]);
        let push = gateway.push("/in", "c", "{\"n\": 1}").header(format!("{prefix}-id"), id);
        push.header(format!("{prefix}-timestamp"), &time).header(format!("{prefix}-signature"), signature)
    };
    assert_eq!(status(push("webhook", "msg_1", "msg_1")).await, 202);
    let again = push("webhook", "msg_1", "msg_1").send().await.unwrap();
    assert_eq!(
        (again.status().as_u16(), &again.headers()["idempotency-replayed"]),
        (202, &"true".parse().unwrap())
    );
    assert_eq!(status(push("webhook", "msg_2", "msg_1")).await, 401, "the id is signed, too");
    assert_eq!(status(push("svix", "msg_3", "msg_3")).await, 202);
    let unsigned = gateway.client().post(gateway.url("/in/hub?hub.mode=publish&hub.topic=c"));
    let unsigned = unsigned.header("Content-Type", "text/plain").body("x");
    assert_eq!(status(unsigned).await, 403, "there is no way around the signature");
    assert_eq!(status(push("svix", "msg_4", "msg_4")).await, 202);
    for id in [None, Some("msg_3"), Some("msg_4")] {
        let delivery = subscriber.delivery().await;
        assert_eq!((delivery.header("svix-id"), &*delivery.body), (id, &b"{\"n\": 1}"[..]), "each once");
    }
}

const ESCAPED: &str = "Gr%C3%BC%C3%9Fe%20%E2%82%AC";

async fn cloud_events_come_through(broker: &Value, topic: &str) {
    let settings = json!({ "cloudEvents": "require", "handshake": { "allowedOrigins": ["sender.example"] } });
    let gateway = receiving_into(broker, topic, settings).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/in", "c", &[]).await;
    let mut library = Leash::start(&mut node("cloudevents.cjs"));
    let event = json!({
        "id": "1", "source": "/tests", "specversion": "1.0", "type": "order.paid", "subject": "orders/7",
        "time": "2026-11-21T10:00:00.000Z", "datacontenttype": "application/json", "data": { "amount": 1.5 },
        "tenant": "a",
    });
    for mode in ["binary", "structured"] {
        library.tell(&json!({ "write": mode, "event": event }).to_string());
        let written = library.json();
        let mut push = gateway.push("/in", "c", written["body"].as_str().unwrap().to_owned());
        for (name, value) in written["headers"].as_object().unwrap() {
            push = push.header(name, value.as_str().unwrap());
        }
        assert_eq!(status(push).await, 202, "{written}");
        let delivery = subscriber.delivery().await;
        let headers: serde_json::Map<_, _> = delivery
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
            .collect();
        let body = String::from_utf8(delivery.body).unwrap();
        library.tell(&json!({ "read": { "headers": headers, "body": body } }).to_string());
        assert_eq!(library.json(), event, "{mode} {headers:?}");
    }
    // What the library does neither escape nor unescape.
    let mut push = gateway.push("/in", "c", "<a/>").header("Content-Type", "text/xml");
    for (name, value) in [("ce-id", "2"), ("ce-source", "/a"), ("ce-specversion", "1.0"), ("ce-type", "t")] {
        push = push.header(name, value);
    }
    assert_eq!(status(push.header("ce-subject", ESCAPED)).await, 202);
    assert_eq!(subscriber.delivery().await.header("ce-subject"), Some(ESCAPED));
    assert_eq!(status(gateway.push("/in", "c", "no event")).await, 400);
    let batch = gateway.push("/in", "c", "[]").header("Content-Type", "application/cloudevents-batch+json");
    assert_eq!(status(batch).await, 415);
}

#[tokio::test]
async fn cloud_events_come_through_in_both_modes_on_the_embedded_log() {
    cloud_events_come_through(&log(), "in").await;
}

#[tokio::test]
async fn cloud_events_come_through_in_both_modes_on_kafka_where_they_are_events_of_kafka() {
    let topic = kafka_topic("events", 1).await;
    cloud_events_come_through(&kafka_of_channels(), &topic).await;
    let records = kafka_records(&topic, 3).await;
    assert_eq!(records[0].header("ce_type"), Some(&b"order.paid"[..]), "{records:?}");
    assert_eq!(records[2].header("ce_subject"), Some("Grüße €".as_bytes()));
    let content_type = records[1].header("content-type").unwrap();
    assert!(content_type.starts_with(b"application/cloudevents+json"), "{records:?}");
}

#[tokio::test]
async fn a_sender_that_asks_whether_it_may_push_is_told() {
    let allowed = json!({ "allowedOrigins": ["sender.example"], "allowedRate": 100 });
    let gateway = receiving(json!({ "handshake": allowed })).await;
    let ask = |origin: &str| {
        let url = gateway.url("/in/webhook-receiver?topic=c");
        let request = gateway.client().request(Method::OPTIONS, url).header("WebHook-Request-Origin", origin);
        request.header("WebHook-Request-Rate", "120").send()
    };
    let told = ask("sender.example").await.unwrap();
    let header = |name| told.headers().get(name).map(|value: &http::HeaderValue| value.to_str().unwrap());
    assert_eq!(told.status(), 200);
    assert_eq!(header("webhook-allowed-origin"), Some("sender.example"));
    assert_eq!((header("webhook-allowed-rate"), header("allow")), (Some("100"), Some("POST")));
    let refused = ask("other.example").await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), refused.headers().contains_key("webhook-allowed-origin")),
        (403, false)
    );
}

#[tokio::test]
async fn credentials_of_a_sender_reach_neither_the_broker_nor_a_subscriber() {
    let topic = kafka_topic("credentials", 1).await;
    let everything = json!({ "headers": ["x-*", "*"], "key": { "jsonPath": "$.id" } });
    let gateway = receiving_into(&kafka_of_channels(), &topic, everything).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/in", "c", &[]).await;
    let credentials = [
        ("authorization", "Bearer secret-1"),
        ("proxy-authorization", "Basic secret-2"),
        ("cookie", "session=secret-3"),
        ("x-api-key", "secret-4"),
        ("api-key", "secret-5"),
        ("x-hub-signature-256", "sha256=secret-6"),
        ("webhook-signature", "v1,secret-7"),
        ("x-auth-token", "secret-8"),
    ];
    let mut push =
        gateway.push("/in", "c", "{\"id\": 7}").header("X-Kept", "kept").header("Connection", "x-hop");
    push = push.header("X-Hop", "secret-9");
    for (name, value) in credentials {
        push = push.header(name, value);
    }
    assert_eq!(status(push).await, 202);
    let record = kafka_records(&topic, 1).await.remove(0);
    let delivery = subscriber.delivery().await;
    assert_eq!((record.header("x-kept"), delivery.header("x-kept")), (Some(&b"kept"[..]), Some("kept")));
    assert_eq!((record.key.as_deref(), &*record.payload), (Some(&b"7"[..]), &b"{\"id\": 7}"[..]));
    let values = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()));
    let delivered =
        delivery.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    for (name, value) in values.chain(delivered) {
        assert!(!value.contains("secret-"), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_secret_of_the_api_signs_what_is_pushed_and_its_former_text_does_for_a_while() {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    let mut api = websub_api("orders", "/orders", &json!({ "paid": {} }));
    let policy = policies("websub-hmac-auth", &json!({ "algorithm": "sha256" }));
    api["spec"]["allChannels"] = json!({ "on_message_received": policy });
    gateway.make(&api).await;
    let call = async |method: Method, path: &str, body: Value, expected: u16| {
        let request = gateway.resource(method, &format!("/websub-apis/orders/secrets{path}")).json(&body);
        succeeded(request.send().await.unwrap(), expected).await
    };
    let push = async |secret: &str| {
        let mac = printed("sign-github.cjs", &[secret, "content"]);
        status(gateway.push("/orders/v1.0", "paid", "content").header("X-Hub-Signature-256", mac)).await
    };
    assert_eq!(push("any").await, 401, "there is no secret yet");
    let made = call(Method::POST, "", json!({ "displayName": "Sender One" }), 201).await;
    let first = made["secret"].as_str().unwrap().to_owned();
    assert!(first.starts_with("whsec_") && first.len() == 70, "{made}");
    assert_eq!(made["webhookSecret"]["name"], "sender-one", "{made}");
    let other = call(Method::POST, "", json!({ "displayName": "Other" }), 201).await["secret"].clone();
    for (secret, expected) in [(&*first, 202), (other.as_str().unwrap(), 202), ("whsec_other", 401)] {
        assert_eq!(push(secret).await, expected);
    }
    assert_eq!(status(gateway.push("/orders/v1.0", "paid", "content")).await, 401, "unsigned");

    let graceful = call(Method::POST, "/sender-one/regenerate", json!({}), 200).await;
    let second = graceful["secret"].as_str().unwrap().to_owned();
    assert_eq!((push(&first).await, push(&second).await), (202, 202), "both, for a while");
    let at_once = json!({ "gracePeriodSeconds": 0 });
    let third = call(Method::POST, "/sender-one/regenerate", at_once, 200).await["secret"].clone();
    assert_eq!((push(&second).await, push(third.as_str().unwrap()).await), (401, 202), "without grace");

    let gateway = gateway.kill().config(CALLS_HERE).start().await;
    let mac = printed("sign-github.cjs", &[third.as_str().unwrap(), "content"]);
    let push = gateway.push("/orders/v1.0", "paid", "content").header("X-Hub-Signature-256", mac);
    assert_eq!(status(push).await, 202, "they outlive a restart");
    let list =
        succeeded(gateway.resource(Method::GET, "/websub-apis/orders/secrets").send().await.unwrap(), 200)
            .await;
    assert!(list["totalCount"] == 2 && !list.to_string().contains("whsec_"), "{list}");
    for secret in [&first, &second] {
        assert!(!gateway.keeps_in_the_clear(secret));
    }
}
