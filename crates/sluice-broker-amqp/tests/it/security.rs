//! Credentials and certificates, against the peer in this process with certificates of its own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use sluice_api::{
    AmqpAddresses, BrokerKeyStore, BrokerSecurity, BrokerTls, BrokerTrustStore, Secret, SolaceConfig,
    StoreType,
};
use sluice_broker::{BrokerDriver, ErrorKind};
use sluice_broker_amqp::Amqp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    peer::{Peer, USER},
    support::{amqp, auth, certificates, open, open_solace, options, publish, quick, solace, step, variable},
};

/// An authority, and what it certifies.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign itself");
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, for this name.
    fn certify(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
        (params.signed_by(&key, &self.issuer).expect("the authority signs"), key)
    }

    /// A peer whose certificate is for this name, and which asks clients for theirs.
    async fn peer(&self, name: &str) -> Peer {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it is a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .expect("there is an authority");
        let (certificate, key) = self.certify(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they belong together");
        Peer::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    fn trusted(&self) -> BrokerTls {
        let content = Some(self.pem.clone());
        let trust_store = BrokerTrustStore { kind: StoreType::Pem, content, ..BrokerTrustStore::default() };
        BrokerTls { trust_store: Some(trust_store), ..BrokerTls::default() }
    }
}

fn over_tls(peer: &Peer, security: BrokerSecurity) -> SolaceConfig {
    let config = solace(&peer.address, Some(security));
    SolaceConfig { url: config.url.replace("tcp://", "tcps://"), ..config }
}

async fn fails(config: &SolaceConfig, kind: ErrorKind, text: &str) {
    let driver = open_solace(config, quick());
    let error = step("check", driver.check(&["a".into()])).await.expect_err("it cannot connect");
    assert_eq!(error.kind, kind, "{error}");
    let address = config.url.split("://").nth(1).expect("it has a scheme");
    assert!(error.message.contains(text) && error.message.contains(address), "{error}");
    assert!(!error.message.contains("hush"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_a_password_and_a_certificate_log_in() {
    let authority = Authority::new();
    let peer = authority.peer("127.0.0.1").await;
    let (certificate, key) = authority.certify("client");
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    let content = Some(Secret::new(pem));
    let key_store = Some(BrokerKeyStore { kind: StoreType::Pem, content, ..BrokerKeyStore::default() });
    let user = auth(USER.0, USER.1).auth;
    let external = BrokerTls { key_store, ..authority.trusted() };
    for (auth, ssl) in [(None, authority.trusted()), (user, authority.trusted()), (None, external)] {
        let driver = open_solace(&over_tls(&peer, BrokerSecurity { auth, ssl: Some(ssl) }), options());
        publish(&driver, &"a".into(), "through").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_not_told() {
    let peer = Peer::start().await;
    let config = solace(&peer.address, Some(auth(USER.0, "hush")));
    fails(&config, ErrorKind::Refused, "refuses the credentials").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_of_the_authority_and_for_the_host() {
    let authority = Authority::new();
    let peer = authority.peer("127.0.0.1").await;
    let security = |ssl| BrokerSecurity { auth: None, ssl: Some(ssl) };
    let other = over_tls(&peer, security(Authority::new().trusted()));
    fails(&other, ErrorKind::Unreachable, "invalid peer certificate").await;
    let elsewhere = authority.peer("elsewhere.example").await;
    fails(&over_tls(&elsewhere, security(authority.trusted())), ErrorKind::Unreachable, "not valid for name")
        .await;
    let lenient = BrokerTls { hostname_verifier: false, ..authority.trusted() };
    publish(&open_solace(&over_tls(&elsewhere, security(lenient)), options()), &"a".into(), "through").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_encrypted_do_not_understand_each_other() {
    let authority = Authority::new();
    let (plain, encrypted) = (Peer::start().await, authority.peer("127.0.0.1").await);
    let security = BrokerSecurity { auth: None, ssl: Some(authority.trusted()) };
    fails(&solace(&encrypted.address, None), ErrorKind::Unreachable, "speaks TLS").await;
    fails(&over_tls(&plain, security), ErrorKind::Unreachable, "does not speak TLS").await;
}

/// The address of something that answers whatever it is told, as a web server does, and hangs up.
async fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // Who has gone already needs no answer.
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_on_the_port_is_told_for_what_it_is() {
    let security = || Some(BrokerSecurity { ssl: Some(certificates(false)), ..auth("any", "any") });
    let plain = |address: &str| amqp(&format!("amqp://{address}"), AmqpAddresses::Artemis, None);
    let encrypted = |address: &str| amqp(&format!("amqps://{address}"), AmqpAddresses::Artemis, security());
    let web = web_server().await;
    let [mqtt, mqtts] = ["SLUICE_TEST_MQTT", "SLUICE_TEST_MQTT_TLS"].map(variable);
    let [rabbitmq, rabbitmqs] = ["SLUICE_TEST_RABBITMQ", "SLUICE_TEST_RABBITMQ_TLS"].map(variable);
    let [artemis, artemises] = ["SLUICE_TEST_ARTEMIS_AMQP", "SLUICE_TEST_ARTEMIS_AMQPS"].map(variable);
    let cases = [
        (plain(&web), "web server"),
        (plain(&mqtt), "hung up at the first words"),
        (plain(&mqtts), "TLS"),
        (plain(&rabbitmqs), "TLS"),
        (plain(&artemises), "TLS"),
        (encrypted(&web), "does not speak TLS"),
        (encrypted(&mqtt), "may not speak TLS"),
        (encrypted(&rabbitmq), "not speak TLS"),
        (encrypted(&artemis), "not speak TLS"),
        (encrypted(&mqtts), "hung up at the first words"),
    ];
    for (config, text) in cases {
        let driver = open(&config, quick());
        let error = step("check", driver.check(&["a".into()])).await.expect_err("that is no such broker");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(text) && error.message.contains(&config.url), "{text}: {error}");
    }
}

#[test]
fn settings_that_cannot_work_are_told_when_opening() {
    let missing = BrokerTls {
        trust_store: Some(BrokerTrustStore {
            kind: StoreType::Pem,
            path: Some("missing.pem".to_owned()),
            ..BrokerTrustStore::default()
        }),
        ..BrokerTls::default()
    };
    let config = |url: &str, ssl| SolaceConfig {
        url: url.to_owned(),
        security: Some(BrokerSecurity { auth: None, ssl }),
        ..solace("unused:1", None)
    };
    let faulty = [
        (config("tcps://broker", Some(missing)), "missing.pem"),
        (config("tcp://broker", Some(BrokerTls::default())), "security.ssl"),
        (config("http://broker", None), "tcp:// or tcps://"),
    ];
    for (config, text) in faulty {
        let error = Amqp::open_solace(&config, quick()).err().expect("it cannot work");
        assert_eq!(error.kind, ErrorKind::Configuration, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}
