//! Deliveries that come again.

use super::*;

fn by_header() -> Bench {
    Bench::new(json!({ "deliveryId": { "header": "X-Delivery" } }))
}

fn delivery(id: &str) -> Builder {
    post().header("x-delivery", id)
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_answered_alike_and_published_once() {
    let bench = by_header();
    bench.taken(delivery("1"), "x").await;
    assert!(is_replayed(&bench.send(delivery("1"), "x").await.unwrap()));
    assert!(is_replayed(
        &bench.send(delivery("1").header("x-github-retry", "1"), "told anew").await.unwrap()
    ));
    bench.taken(delivery("2"), "x").await;
    assert_eq!((bench.broker.taken().len(), bench.binding.metrics.replayed.get()), (2, 2));
}

#[tokio::test]
async fn a_delivery_is_known_to_the_next_deployment_of_its_channel_and_to_no_other() {
    let bench = by_header().channel("orders");
    bench.taken(delivery("1"), "x").await;
    assert!(is_replayed(&bench.channel("orders").send(delivery("1"), "x").await.unwrap()));
    bench.channel("paid").taken(delivery("1"), "x").await;
}

#[tokio::test]
async fn a_delivery_that_failed_is_published_when_it_comes_again() {
    let bench = by_header();
    bench.answer.send(Err(ErrorKind::Unreachable)).unwrap();
    assert_eq!(bench.send(delivery("1"), "x").await.unwrap_err().code, "broker.unreachable");
    bench.taken(delivery("1"), "x").await;
}

#[tokio::test]
async fn a_delivery_that_comes_again_while_it_is_under_way_is_told_to_wait() {
    let bench = by_header();
    let later = async {
        bench.broker.come.acquire().await.unwrap().forget();
        let refusal = bench.send(delivery("1"), "x").await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (409, "idempotency.in-flight"));
        assert!(refusal.message.contains("delivery id"));
        bench.answer.send(Ok(())).unwrap();
    };
    let (first, ()) = tokio::join!(bench.send(delivery("1"), "x"), later);
    assert!(!is_replayed(&first.unwrap()));
}

#[tokio::test]
async fn without_an_id_or_with_an_empty_one_every_delivery_is_published() {
    let bench = by_header();
    for request in [post(), post(), delivery(""), delivery("")] {
        bench.taken(request, "x").await;
    }
    assert_eq!(bench.broker.taken().len(), 4);
}

#[tokio::test]
async fn when_its_window_is_over_a_delivery_is_new() {
    let bench = by_header();
    let caller = testing::caller(&bench.binding, "webhook-receiver");
    for window in [Duration::ZERO, Duration::ZERO, Duration::from_hours(1), Duration::from_hours(1)] {
        bench.answer.send(Ok(())).unwrap();
        let message = Message::builder().payload("x").build();
        let names = vec![Once::by_delivery(&bench.binding, b"1", window)];
        let taken = Taken { message, names, held: None };
        taken.publish(&bench.binding, &caller, Attempt::new(&bench.binding)).await.unwrap();
    }
    assert_eq!((bench.broker.taken().len(), bench.binding.metrics.replayed.get()), (3, 1));
}

#[tokio::test]
async fn an_idempotency_key_works_as_with_any_post_and_opens_no_way_around_the_id() {
    let bench = by_header();
    bench.taken(delivery("1").header("idempotency-key", "k"), "x").await;
    assert!(is_replayed(&bench.send(delivery("1").header("idempotency-key", "other"), "x").await.unwrap()));
    assert!(is_replayed(&bench.send(post().header("idempotency-key", "k"), "x").await.unwrap()));
    let reused = bench.send(delivery("2").header("idempotency-key", "k"), "y").await.unwrap_err();
    assert_eq!((reused.status.as_u16(), reused.code), (422, "idempotency.reused"));
    let twice = delivery("3").header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(bench.send(twice, "x").await.unwrap_err().code, "idempotency.key");
    assert_eq!(bench.broker.taken(), ["x"]);
}

#[test]
fn each_provider_has_its_own_place_for_the_id() {
    let id = |settings: Value, headers: &[(&'static str, &'static str)], body: &'static str| {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let settings: WebhookReceiverConfig = sluice_api::from_value(settings).unwrap();
        lookup::delivery_id(&settings, &headers.collect(), &Message::builder().payload(body).build())
    };
    let of = |provider: &str| json!({ "sender": { "provider": provider } });
    let body = r#"{"id":"evt_1","event_id":"Ev1","deep":{"id":7}}"#;
    assert_eq!(id(of("github"), &[("x-github-delivery", "72d3")], body).unwrap(), "72d3");
    assert_eq!(id(of("shopify"), &[("x-shopify-webhook-id", "b54")], body).unwrap(), "b54");
    assert_eq!(id(of("stripe"), &[], body).unwrap(), "evt_1");
    assert_eq!(id(of("slack"), &[], body).unwrap(), "Ev1");
    assert_eq!(id(of("svix"), &[("webhook-id", "msg_1")], body).unwrap(), "msg_1");
    assert_eq!(id(of("hmac"), &[], body), None);
    let elsewhere = json!({ "sender": { "provider": "github" }, "deliveryId": { "jsonPath": "$.deep.id" } });
    assert_eq!(id(elsewhere, &[("x-github-delivery", "72d3")], body).unwrap(), "7");
    // Nobody can bring another id beside the one that is signed.
    let beside = [("svix-id", "signed"), ("svix-signature", "v1,"), ("webhook-id", "forged")];
    assert_eq!(id(of("svix"), &beside, body).unwrap(), "signed");
}

#[tokio::test]
async fn the_question_of_slack_is_answered_and_published_nowhere() {
    let slack = json!({ "provider": "slack", "secrets": ["c2VjcmV0"], "toleranceSeconds": 86_400 });
    let bench = Bench::new(json!({ "sender": slack }));
    let body = r#"{"token":"t","challenge":"3eZbrw1aB10FEMAGAZd4FyFQ","type":"url_verification"}"#;
    assert_eq!(bench.refused(post(), body).await, (401, "webhook.signature.missing"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signature = signatures::slack_signature(now, body);
    let request = post().header("x-slack-signature", signature).header("x-slack-request-timestamp", now);
    let answer = bench.send(request, body).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(matches!(answer.into_body(), Body::Full(text) if text == "3eZbrw1aB10FEMAGAZd4FyFQ"));
    assert!(bench.broker.messages().is_empty());
    assert_eq!(bench.binding.metrics.publish_failed.get(), 1);
}
