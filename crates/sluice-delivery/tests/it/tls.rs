//! Secure connections: whose certificates are taken, and the gateway's own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use sluice_api::Callback;
use sluice_delivery::Failure;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::{
    bench::{Bench, Offer, with},
    receiver::{Receiver, Reply},
};

/// An authority that no system knows.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM text.
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        // Two authorities of one name would be taken for one with a bad signature.
        let name = uuid::Uuid::new_v4().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    /// A server with this certificate, which asks for one of `clients`.
    fn server(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        builder.with_single_cert(chain, key).unwrap()
    }

    pub(crate) async fn start(&self) -> Receiver {
        Receiver::start_tls(self.server(None, &[&TLS12, &TLS13])).await
    }
}

pub(crate) fn trusting(authority: &Authority) -> Value {
    json!({ "trustStore": { "type": "PEM", "content": authority.pem() } })
}

async fn is_called(receiver: &mut Receiver, ssl: Value) {
    let bench = Bench::new();
    bench.offer(&Offer::default());
    bench.subscribe("s", with(receiver.url("/"), 1, json!({ "ssl": ssl }))).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
}

async fn is_refused(receiver: &mut Receiver, ssl: Option<Value>) -> Failure {
    let mut bench = Bench::new();
    bench.offer(&Offer::default());
    let settings = ssl.map_or_else(|| json!({}), |ssl| json!({ "ssl": ssl }));
    bench.subscribe("s", with(receiver.url("/"), 2, settings)).await;
    bench.publish("one").await;
    let cause = bench.failure().await.cause;
    assert_eq!(cause.code, "delivery.tls", "{cause}");
    assert!(cause.message.starts_with("No secure connection to 127.0.0.1: "), "{cause}");
    assert_eq!(bench.metrics.failed_calls.get(), 2, "certificates may be put right, so it is tried again");
    assert!(!receiver.has_call());
    cause
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_nobody_knows_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut receiver = authority.issue("127.0.0.1").start().await;
    is_refused(&mut receiver, None).await;
    let cause = is_refused(&mut receiver, Some(trusting(&other))).await;
    assert!(cause.message.contains("UnknownIssuer"), "{cause}");
}

#[tokio::test]
async fn a_subscriber_may_bring_its_own_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut receiver = authority.issue("127.0.0.1").start().await;
    is_called(&mut receiver, trusting(&authority)).await;
    let both = format!("{}\n{}", other.pem(), authority.pem());
    is_called(&mut receiver, json!({ "trustStore": { "type": "PEM", "content": both } })).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_unless_hosts_are_not_compared() {
    let authority = Authority::new();
    let mut receiver = authority.issue("other.example").start().await;
    let cause = is_refused(&mut receiver, Some(trusting(&authority))).await;
    assert!(cause.message.contains("127.0.0.1") && cause.message.contains("other.example"), "{cause}");
    let mut ssl = trusting(&authority);
    ssl["hostnameVerifier"] = json!(false);
    is_called(&mut receiver, ssl).await;
    // Who signed it still matters.
    let mut ssl = trusting(&Authority::new());
    ssl["hostnameVerifier"] = json!(false);
    let cause = is_refused(&mut receiver, Some(ssl)).await;
    assert!(cause.message.contains("UnknownIssuer"), "{cause}");
}

#[tokio::test]
async fn a_subscriber_may_have_every_certificate_taken() {
    let mut receiver = Authority::new().issue("other.example").start().await;
    is_called(&mut receiver, json!({ "trustAll": true })).await;
}

#[tokio::test]
async fn the_gateway_shows_its_certificate_to_a_server_that_asks_for_it() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let own = clients.issue("gateway.example");
    let server = servers.issue("127.0.0.1");
    let apart = json!({ "type": "PEM", "certContent": own.certificate, "keyContent": own.key });
    let joined = json!({ "type": "PEM", "content": format!("{}{}", own.key, own.certificate) });
    for version in [&TLS12, &TLS13] {
        let mut receiver = Receiver::start_tls(server.server(Some(&clients), &[version])).await;
        for key_store in [&apart, &joined] {
            let mut ssl = trusting(&servers);
            ssl["keyStore"] = key_store.clone();
            is_called(&mut receiver, ssl).await;
        }
        is_refused(&mut receiver, Some(trusting(&servers))).await;
    }
}

#[tokio::test]
async fn the_token_endpoint_is_met_with_the_same_certificates() {
    let authority = Authority::new();
    let identity = authority.issue("127.0.0.1");
    let (mut receiver, tokens) = (identity.start().await, identity.start().await);
    tokens.answers([Reply::Body(200, json!({ "access_token": "one" }).to_string())]);
    let bench = Bench::new();
    bench.offer(&Offer::default());
    let oauth2 = json!({ "endpoint": tokens.url("/"), "clientId": "a", "clientSecret": "b" });
    let settings = json!({ "ssl": trusting(&authority), "auth": { "type": "oauth2", "oauth2": oauth2 } });
    bench.subscribe("s", with(receiver.url("/"), 1, settings)).await;
    bench.publish("one").await;
    assert_eq!(receiver.call().await.header("authorization"), "Bearer one");
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_refused_with_their_field() {
    let bench = Bench::new();
    let refused = |ssl: Value, path: &str| {
        let callback = json!({ "callbackUrl": "https://hooks.example/", "ssl": ssl });
        let callback: Callback = sluice_api::from_value(callback).unwrap();
        let problems = bench.deliveries.check(&callback);
        let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(paths, [path], "{problems:?}");
    };
    let authority = Authority::new();
    let (one, two) = (authority.issue("a.example"), authority.issue("b.example"));
    let none = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----";
    refused(json!({ "trustStore": { "type": "PEM", "content": one.key } }), "ssl.trustStore.content");
    refused(json!({ "trustStore": { "type": "PEM", "content": none } }), "ssl.trustStore.content");
    let key_store = |certificate: &str, key: &str| json!({ "keyStore": { "type": "PEM", "certContent": certificate, "keyContent": key } });
    refused(key_store(&one.certificate, none), "ssl.keyStore.keyContent");
    refused(key_store(&one.key, &one.key), "ssl.keyStore.certContent");
    refused(key_store(&one.certificate, &two.key), "ssl.keyStore");
}
