//! Credentials: what a call carries, and how tokens are fetched and kept.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use sluice_api::{Callback, Qos};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, subscription, until, with},
    receiver::{Call, Receiver, Reply},
};

fn granted(token: &str) -> Reply {
    let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
    Reply::Body(200, body.to_string())
}

/// Credentials for the token endpoint of this server, with further settings.
fn oauth2(tokens: &Receiver, further: &Value) -> Value {
    let mut oauth2 =
        json!({ "endpoint": tokens.url("/token"), "clientId": "me", "clientSecret": "s3/cret+" });
    oauth2.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    json!({ "auth": { "type": "oauth2", "oauth2": oauth2 } })
}

/// The first call for one message with these settings.
async fn called(receiver: &mut Receiver, settings: Value) -> Call {
    let bench = Bench::new();
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 3, settings)).await;
    bench.publish("one").await;
    receiver.call().await
}

#[tokio::test]
async fn a_name_and_a_password_go_with_each_call() {
    let mut receiver = Receiver::start().await;
    let basic = json!({ "username": "J\u{fc}rgen", "password": "a:b c" });
    let call = called(&mut receiver, json!({ "auth": { "type": "basic", "basic": basic } })).await;
    let sent = call.header("authorization").strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(sent).unwrap(), "J\u{fc}rgen:a:b c".as_bytes());
}

#[tokio::test]
async fn a_fixed_token_goes_with_each_call() {
    let mut receiver = Receiver::start().await;
    let call =
        called(&mut receiver, json!({ "auth": { "type": "token", "token": { "value": "t0" } } })).await;
    assert_eq!(call.header("authorization"), "Bearer t0");
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_messages() {
    let (bench, mut receiver, mut tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    let auth = oauth2(&tokens, &json!({ "scopes": ["read", "write"] }));
    bench.subscribe("s", with(receiver.url("/"), 1, auth)).await;
    tokens.answers([granted("one")]);
    for number in 0..10 {
        bench.publish(&number.to_string()).await;
    }
    for _ in 0..10 {
        assert_eq!(receiver.call().await.header("authorization"), "Bearer one");
    }
    let asked = tokens.call().await;
    let form = asked.form();
    let field = |name: &str| form.get(name).map(String::as_str);
    assert_eq!(
        [field("grant_type"), field("client_id"), field("client_secret"), field("scope")],
        [Some("client_credentials"), Some("me"), Some("s3/cret+"), Some("read write")]
    );
    assert_eq!((&*asked.path, asked.header("authorization"), tokens.has_call()), ("/token", "", false));
}

#[tokio::test]
async fn id_and_secret_may_go_by_basic_in_place_of_the_form() {
    let (mut receiver, mut tokens) = (Receiver::start().await, Receiver::start().await);
    tokens.answers([granted("one")]);
    let auth = oauth2(&tokens, &json!({ "authenticationMethod": "client_secret_basic" }));
    assert_eq!(called(&mut receiver, auth).await.header("authorization"), "Bearer one");
    let asked = tokens.call().await;
    let sent = asked.header("authorization").strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(sent).unwrap(), b"me:s3%2Fcret%2B");
    let fields: Vec<_> = asked.form().into_keys().collect();
    assert_eq!(fields, ["grant_type"], "the secret stands nowhere else");
}

#[tokio::test]
async fn a_token_that_is_over_is_fetched_again() {
    let (bench, mut receiver, tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 1, oauth2(&tokens, &json!({})))).await;
    let over = json!({ "access_token": "one", "expires_in": 0 }).to_string();
    let as_text = json!({ "access_token": "two", "expires_in": "3600" }).to_string();
    tokens.answers([Reply::Body(200, over), Reply::Body(200, as_text), granted("three")]);
    for (message, token) in [("a", "Bearer one"), ("b", "Bearer two"), ("c", "Bearer two")] {
        bench.publish(message).await;
        assert_eq!(receiver.call().await.header("authorization"), token);
    }
}

#[tokio::test]
async fn a_token_that_a_subscriber_does_not_take_is_fetched_again_within_the_call() {
    let (bench, mut receiver, tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 1, oauth2(&tokens, &json!({})))).await;
    tokens.answers([granted("one"), granted("two")]);
    receiver.answers([Reply::Status(200), Reply::Status(401)]);
    bench.publish("a").await;
    assert_eq!(receiver.call().await.header("authorization"), "Bearer one");
    bench.publish("b").await;
    assert_eq!(receiver.call().await.header("authorization"), "Bearer one");
    let again = receiver.call().await;
    assert_eq!((again.text(), again.header("authorization")), ("b", "Bearer two"));
    until(async || bench.metrics.delivered.get() == 2).await;
    assert_eq!(bench.metrics.failed_calls.get(), 0);
}

#[tokio::test]
async fn calls_at_the_same_time_share_one_new_token() {
    let (bench, mut receiver, mut tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer { qos: Qos::None, ..Offer::default() });
    let callback = with(receiver.url("/"), 1, oauth2(&tokens, &json!({})));
    let subscription = subscription("s", callback);
    bench.deliveries.put(subscription.clone());
    bench.deliveries.placed(&subscription.id).await;
    tokens.answers([granted("one"), granted("two")]);
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([0; 5].map(|_| Reply::Held(Arc::clone(&gate), 401)));
    for number in 0..5 {
        bench.publish(&number.to_string()).await;
    }
    for token in ["Bearer one", "Bearer two"] {
        for _ in 0..5 {
            assert_eq!(receiver.call().await.header("authorization"), token);
        }
        gate.add_permits(5);
    }
    until(async || bench.metrics.delivered.get() == 5).await;
    let fetched = [tokens.call().await.path, tokens.call().await.path];
    assert!(fetched == ["/token", "/token"] && !tokens.has_call());
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_asked_again() {
    let (bench, mut receiver, tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 4, oauth2(&tokens, &json!({})))).await;
    let of_another_kind = json!({ "access_token": "x", "token_type": "mac" }).to_string();
    tokens.answers([
        Reply::Status(503),
        Reply::Status(200),
        Reply::Body(200, of_another_kind),
        granted("one"),
    ]);
    bench.publish("a").await;
    assert_eq!(receiver.call().await.header("authorization"), "Bearer one");
    until(async || bench.metrics.delivered.get() == 1).await;
    assert_eq!(bench.metrics.failed_calls.get(), 3);
}

#[tokio::test]
async fn a_token_endpoint_that_keeps_failing_is_told_as_the_cause() {
    let (mut bench, mut receiver, tokens) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 2, oauth2(&tokens, &json!({})))).await;
    tokens.answers([Reply::Status(400), Reply::Status(400)]);
    bench.publish("a").await;
    let cause = bench.failure().await.cause;
    assert_eq!((cause.code, cause.status), ("delivery.token", None));
    assert!(cause.message.contains("the token endpoint 127.0.0.1 answered 400"), "{cause}");
    assert!(!receiver.has_call(), "nothing goes out without credentials");
}

/// The assertion that a token endpoint gets, judged with this key.
async fn asserted(assertion: Value, key: &DecodingKey, algorithm: Algorithm) -> TokenData<Value> {
    let (mut receiver, mut tokens) = (Receiver::start().await, Receiver::start().await);
    let mut assertion = assertion;
    assertion["endpoint"] = tokens.url("/token").into();
    tokens.answers([granted("one")]);
    let auth = json!({ "auth": { "type": "jwtProfileOauth2", "jwtProfileOauth2": assertion } });
    assert_eq!(called(&mut receiver, auth).await.header("authorization"), "Bearer one");
    let form = tokens.call().await.form();
    assert_eq!(form["grant_type"], "client_credentials");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!((&*form["client_assertion_type"], form.contains_key("client_secret")), (kind, false));
    let mut rules = Validation::new(algorithm);
    let audience = assertion["audience"].as_str().map_or_else(|| tokens.url("/token"), str::to_owned);
    rules.set_audience(&[audience]);
    rules.set_issuer(&["issuer"]);
    rules.sub = Some("subject".to_owned());
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    jsonwebtoken::decode(&form["client_assertion"], key, &rules).unwrap()
}

#[tokio::test]
async fn an_assertion_signed_by_rsa_stands_in_place_of_the_secret() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let assertion = json!({
        "issuer": "issuer", "subject": "subject", "audience": "https://id.example", "keyId": "k1",
        "keyContent": key.serialize_pem(), "expirationTime": 2, "expirationTimeUnit": "MINUTES",
        "customClaims": [{ "name": "tenant", "value": "blue" }],
    });
    let public = DecodingKey::from_rsa_pem(key.public_key_pem().as_bytes()).unwrap();
    let token = asserted(assertion, &public, Algorithm::RS256).await;
    assert_eq!(token.header.kid.as_deref(), Some("k1"));
    let claims = token.claims;
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 120);
    assert!(claims["tenant"] == "blue" && !claims["jti"].as_str().unwrap().is_empty(), "{claims}");
}

#[tokio::test]
async fn an_assertion_may_be_signed_with_a_shared_secret() {
    let secret = [7_u8; 32];
    let assertion = json!({
        "issuer": "issuer", "subject": "subject", "signatureAlgorithm": "HMAC_HS256", "jwtId": "same",
        "keyContent": STANDARD.encode(secret), "secretBase64Encoded": true,
    });
    let token = asserted(assertion, &DecodingKey::from_secret(&secret), Algorithm::HS256).await;
    assert_eq!(token.claims["jti"], "same");
    let plain = json!({
        "issuer": "issuer", "subject": "subject", "signatureAlgorithm": "HMAC_HS256", "keyContent": "plain",
    });
    asserted(plain, &DecodingKey::from_secret(b"plain"), Algorithm::HS256).await;
}

#[test]
fn a_token_endpoint_that_may_not_be_called_is_refused_with_its_field() {
    let endpoint = "http://169.254.169.254/token";
    let oauth2 = json!({ "endpoint": endpoint, "clientId": "a", "clientSecret": "b" });
    let assertion = json!({
        "endpoint": endpoint, "issuer": "i", "subject": "s",
        "signatureAlgorithm": "HMAC_HS256", "keyContent": "plain",
    });
    for (kind, settings) in [("oauth2", oauth2), ("jwtProfileOauth2", assertion)] {
        let callback =
            json!({ "callbackUrl": "https://hooks.example/", "auth": { "type": kind, kind: settings } });
        let callback: Callback = sluice_api::from_value(callback).unwrap();
        let problems = Bench::new().deliveries.check(&callback);
        let found: Vec<_> = problems.iter().map(|problem| (&*problem.path, problem.code)).collect();
        let path = format!("auth.{kind}.endpoint");
        assert_eq!(found, [(&*path, "subscription.address.refused")], "{problems:?}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_with_its_field() {
    let key = "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----";
    let assertion = json!({
        "endpoint": "https://id.example/", "issuer": "i", "subject": "s", "keyContent": key,
    });
    let auth = json!({ "type": "jwtProfileOauth2", "jwtProfileOauth2": assertion });
    let callback = json!({ "callbackUrl": "https://hooks.example/", "auth": auth });
    let callback: Callback = sluice_api::from_value(callback).unwrap();
    let problems = Bench::new().deliveries.check(&callback);
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(paths, ["auth.jwtProfileOauth2.keyContent"], "{problems:?}");
}
