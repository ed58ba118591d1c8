//! Requests that are CloudEvents, or say so.

use super::*;

fn binary() -> Builder {
    post()
        .header("content-type", "application/json")
        .header("ce-id", "1")
        .header("ce-source", "/shop")
        .header("ce-specversion", "1.0")
        .header("ce-type", "com.example.paid")
}

fn structured() -> Builder {
    post().header("content-type", "application/cloudevents+json; charset=utf-8")
}

const EVENT: &str = r#"{ "specversion":"1.0", "id":"1","source":"/shop","type":"t","data":{"a":1} }"#;

#[tokio::test]
async fn an_event_in_headers_keeps_its_body_and_has_the_header_names_of_kafka() {
    let bench = Bench::new(json!({ "cloudEvents": "accept" }));
    let request =
        binary().header("ce-subject", "Euro%20%E2%82%AC").header("ce-comext1", "x").header("x-other", "1");
    let message = bench.taken(request, "{\"a\": 1}\n").await;
    let expected: Headers = [
        ("content-type", "application/json"),
        ("ce_comext1", "x"),
        ("ce_id", "1"),
        ("ce_source", "/shop"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "Euro €"),
        ("ce_type", "com.example.paid"),
    ]
    .into_iter()
    .collect();
    assert_eq!((message.payload(), message.headers()), (&b"{\"a\": 1}\n"[..], &expected));
}

#[tokio::test]
async fn an_event_in_the_body_stays_byte_for_byte_with_its_content_type() {
    let bench = Bench::new(json!({ "cloudEvents": "require" }));
    let message = bench.taken(structured(), EVENT).await;
    let expected: Headers =
        [("content-type", "application/cloudevents+json; charset=utf-8")].into_iter().collect();
    assert_eq!((message.payload(), message.headers()), (EVENT.as_bytes(), &expected));
}

#[tokio::test]
async fn an_attribute_that_is_missing_or_unsound_is_named() {
    let bench = Bench::new(json!({ "cloudEvents": "accept" }));
    for (request, attribute) in [
        (post().header("ce-id", "1"), "'specversion'"),
        (binary().header("ce-time", "now"), "'time'"),
        (binary().header("ce-id", "2"), "'id'"),
        (binary().header("ce-subject", "%ff"), "'subject'"),
        (binary().header("ce-datacontenttype", "text/plain"), "'datacontenttype'"),
        (binary().header("ce-my_ext", "1"), "'my_ext'"),
        (binary().header("ce-", "1"), "''"),
    ] {
        let refusal = bench.send(request, "x").await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "webhook.event"));
        assert!(refusal.message.contains(attribute), "{}", refusal.message);
    }
    for (more, attribute) in [
        (r#""time":"now""#, "'time'"),
        (r#""source":7"#, "'source'"),
        (r#""ext":{}"#, "'ext'"),
        (r#""ext":1.5"#, "'ext'"),
        (r#""ext":2147483648"#, "'ext'"),
        (r#""id":null"#, "'id'"),
        (r#""data_base64":7"#, "'data_base64'"),
        (r#""data":1,"data_base64":"YQ==""#, "'data_base64'"),
    ] {
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t",{more}}}"#);
        let refusal = bench.send(structured(), event).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "webhook.event"), "{more}");
        assert!(refusal.message.contains(attribute), "{more}: {}", refusal.message);
    }
    for none in ["", "[]", "no json"] {
        assert_eq!(bench.refused(structured(), none).await, (400, "webhook.event"));
    }
}

#[tokio::test]
async fn extensions_of_every_type_and_data_of_any_form_are_sound() {
    let bench = Bench::new(json!({ "cloudEvents": "require" }));
    for more in [
        r#""ext":"a","flag":true,"number":-2147483648,"gone":null"#,
        r#""data":null"#,
        r#""data":"text","datacontenttype":"text/plain""#,
        r#""data_base64":"YQ==","datacontenttype":"image/png""#,
        r#""time":"2018-04-05T17:31:00Z","subject":"s","dataschema":"urn:a""#,
    ] {
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t",{more}}}"#);
        assert_eq!(bench.taken(structured(), event.clone()).await.payload(), event.as_bytes());
    }
}

#[tokio::test]
async fn batches_and_other_forms_are_refused_as_such() {
    let bench = Bench::new(json!({ "cloudEvents": "accept" }));
    for content_type in [
        "application/cloudevents-batch+json",
        "application/cloudevents+avro",
        "application/cloudevents",
        "Application/CloudEvents-Batch+JSON; charset=utf-8",
    ] {
        let request = post().header("content-type", content_type);
        assert_eq!(bench.refused(request, "[]").await, (415, "webhook.event.format"), "{content_type}");
    }
}

#[tokio::test]
async fn what_is_no_event_is_taken_unless_events_are_required() {
    let accepting = Bench::new(json!({ "cloudEvents": "accept" }));
    assert_eq!(accepting.taken(post(), "x").await.payload(), b"x");
    let requiring = Bench::new(json!({ "cloudEvents": "require" }));
    assert_eq!(requiring.refused(post(), "x").await, (400, "webhook.event"));
}

#[tokio::test]
async fn where_events_are_off_nothing_is_looked_at() {
    let bench = Bench::new(json!({}));
    let message = bench.taken(post().header("ce-id", "1").header("ce-time", "now"), "x").await;
    let expected: Headers = [("ce-id", "1"), ("ce-time", "now")].into_iter().collect();
    assert_eq!(*message.headers(), expected);
    assert_eq!(bench.taken(structured(), "no json").await.payload(), b"no json");
}
