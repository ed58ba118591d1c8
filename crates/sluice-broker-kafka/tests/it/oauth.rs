//! Logging in with tokens of an OAuth 2 server, here a small one of our own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sluice_api::{KafkaConfig, KafkaOauth, Sasl, SaslMechanism, Secret, SecurityProtocol};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_message::Topic;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{
    consume, message, new_secured_topic, open, payloads, publish, secured, step, try_consume, until,
    unused_name,
};

/// A token endpoint that gives tokens of some seconds to the client `gateway` with the secret `s3cret`.
struct Idp {
    url: String,
    granted: Arc<AtomicUsize>,
    /// Whether it gives any.
    works: watch::Sender<bool>,
}

impl Idp {
    async fn start(seconds: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
        let (granted, (works, working)) = (Arc::<AtomicUsize>::default(), watch::channel(true));
        let count = granted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, works) = (count.clone(), *working.borrow());
                tokio::spawn(async move { answer(stream, seconds, works, &count).await });
            }
        });
        Self { url, granted, works }
    }

    fn granted(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }
}

async fn answer(mut stream: TcpStream, seconds: u64, works: bool, granted: &AtomicUsize) {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    while !request.contains("grant_type=") {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => request.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => return,
        }
    }
    // gateway:s3cret
    let is_known = request.contains("Basic Z2F0ZXdheTpzM2NyZXQ=");
    let (status, body) = match (works, is_known) {
        (false, _) => ("503 Service Unavailable", json!({})),
        (true, false) => ("401 Unauthorized", json!({ "error": "invalid_client" })),
        (true, true) => {
            granted.fetch_add(1, Ordering::Relaxed);
            let scope = if request.contains("scope=kafka") { "kafka" } else { "other" };
            ("200 OK", json!({ "access_token": token(seconds, scope), "expires_in": seconds }))
        }
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

/// A token without a signature, as the Kafka of the tests takes it.
fn token(seconds: u64, scope: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let claims = json!({ "sub": "gateway", "iat": now, "exp": now + seconds, "scope": scope });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}

fn config(oauth: KafkaOauth) -> KafkaConfig {
    let sasl = Sasl { oauth: Some(oauth), ..Sasl::new(SaslMechanism::Oauthbearer) };
    secured("SLUICE_TEST_KAFKA_OAUTH", SecurityProtocol::SaslPlaintext, Some(sasl), None)
}

fn credentials(idp: &Idp) -> KafkaOauth {
    KafkaOauth {
        token_endpoint_url: Some(idp.url.clone()),
        client_id: Some("gateway".to_owned()),
        client_secret: Some(Secret::new("s3cret")),
        scope: Some("kafka".to_owned()),
        trust_store: None,
    }
}

/// Asserts that nothing works, for this reason.
async fn fails(config: &KafkaConfig, topic: &Topic, kind: ErrorKind, text: &str) {
    let kafka = open(config);
    let published = step("publish", kafka.publish(topic, message("lost"))).await.err();
    let checked = step("check", kafka.check(std::slice::from_ref(topic))).await.err();
    let consumed = try_consume(&kafka, topic, StartAt::Latest).await.err();
    for error in [published, checked, consumed] {
        let error = error.expect("nothing works");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text) && !error.message.contains("s3cret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_publish_and_read_from_settings_and_from_a_jaas_line() {
    let (idp, topic) = (Idp::start(300).await, new_secured_topic().await);
    let line = format!(
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"gateway\" \
         clientSecret=\"s3cret\" scope=\"kafka\" oauth.token.endpoint.uri=\"{}\";",
        idp.url
    );
    let jaas = Sasl { sasl_jaas_config: Some(Secret::new(line)), ..Sasl::new(SaslMechanism::Oauthbearer) };
    let jaas = secured("SLUICE_TEST_KAFKA_OAUTH", SecurityProtocol::SaslPlaintext, Some(jaas), None);
    for config in [config(credentials(&idp)), jaas] {
        let kafka = open(&config);
        let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
        publish(&kafka, &topic, "through").await;
        assert_eq!(payloads(&mut reader, 1).await, ["through"]);
        step("close", kafka.close()).await;
    }
    assert_eq!(idp.granted(), 2, "one token serves all clients of a driver");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let (idp, topic) = (Idp::start(6).await, new_secured_topic().await);
    let kafka = open(&config(credentials(&idp)));
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: true, sole: false };
    let mut reader = consume(&kafka, &topic, start).await;
    // Kafka ends connections whose token has ended.
    let mut count = 0;
    while idp.granted() < 3 {
        let payload = format!("m{count}");
        publish(&kafka, &topic, &payload).await;
        assert_eq!(payloads(&mut reader, 1).await, [payload]);
        count += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_endpoint_says_is_told() {
    let (idp, topic) = (Idp::start(300).await, unused_name("out-of-reach"));
    let wrong = KafkaOauth { client_secret: Some(Secret::new("wrong")), ..credentials(&idp) };
    fails(&config(wrong), &topic, ErrorKind::Refused, "invalid_client").await;
    idp.works.send_replace(false);
    fails(&config(credentials(&idp)), &topic, ErrorKind::Unreachable, "503").await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}/token", nobody.local_addr().expect("it is bound"));
    drop(nobody);
    let away = KafkaOauth { token_endpoint_url: Some(url.clone()), ..credentials(&idp) };
    fails(&config(away), &topic, ErrorKind::Unreachable, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_kafka_does_not_take_is_a_refused_login() {
    let (idp, topic) = (Idp::start(300).await, unused_name("out-of-reach"));
    let other = KafkaOauth { scope: None, ..credentials(&idp) };
    fails(&config(other), &topic, ErrorKind::Refused, "refuses the login").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_when_the_token_endpoint_comes_back() {
    let (idp, topic) = (Idp::start(300).await, new_secured_topic().await);
    idp.works.send_replace(false);
    let kafka = open(&config(credentials(&idp)));
    step("publish", kafka.publish(&topic, message("lost"))).await.expect_err("there is no token");
    idp.works.send_replace(true);
    until("publish", || async { kafka.publish(&topic, message("through")).await.ok() }).await;
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
}
