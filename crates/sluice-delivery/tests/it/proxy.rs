//! Calls through a proxy: what it is told, and that the target is judged before.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluice_delivery::Failure;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    bench::{Bench, Offer, PATIENCE, until, with},
    guard::{Names, PUBLIC},
    receiver::Receiver,
    tls::{Authority, trusting},
};

/// What a proxy was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// The request line, or the target of SOCKS.
    target: String,
    credentials: String,
}

/// What a proxy speaks, and whether it lets anybody through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    /// Answers 407 to everything.
    HttpClosed,
    Socks4,
    Socks5,
}

/// A proxy that leads everything to one server, whatever it is asked for.
struct Proxy {
    address: SocketAddr,
    kind: Kind,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Proxy {
    async fn start(kind: Kind, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut client = BufReader::new(client);
                    let upstream = TcpStream::connect(upstream).await.unwrap();
                    match kind {
                        Kind::Http | Kind::HttpClosed => http(&mut client, upstream, &sender, kind).await,
                        Kind::Socks4 => socks4(&mut client, upstream, &sender).await,
                        Kind::Socks5 => socks5(&mut client, upstream, &sender).await,
                    }
                });
            }
        });
        Self { address, kind, asked }
    }

    /// The settings of an API that calls through it.
    fn webhook(&self, host: &str, credentials: Option<(&str, &str)>) -> Value {
        let kind = match self.kind {
            Kind::Http | Kind::HttpClosed => "HTTP",
            Kind::Socks4 => "SOCKS4",
            Kind::Socks5 => "SOCKS5",
        };
        let mut proxy = json!({ "type": kind, "host": host, "port": self.address.port() });
        if let Some((name, password)) = credentials {
            proxy["username"] = name.into();
            proxy["password"] = password.into();
        }
        json!({ "proxy": proxy })
    }

    async fn asked(&mut self) -> Asked {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("nothing was asked").unwrap()
    }
}

async fn http(
    client: &mut BufReader<TcpStream>,
    mut upstream: TcpStream,
    asked: &mpsc::UnboundedSender<Asked>,
    kind: Kind,
) {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.trim().is_empty()) {
        let mut line = String::new();
        if client.read_line(&mut line).await.unwrap() == 0 {
            return;
        }
        lines.push(line);
    }
    let credentials = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
    });
    let target = lines[0].trim().to_owned();
    let tunnel = target.starts_with("CONNECT ");
    let _test_may_be_over = asked.send(Asked { target, credentials: credentials.unwrap_or_default() });
    if kind == Kind::HttpClosed {
        let refusal = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(refusal).await.unwrap();
        client.shutdown().await.unwrap();
        // What is left unread would break the connection before the answer is read.
        let _broken = client.read_to_end(&mut Vec::new()).await;
        return;
    }
    if tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        upstream.write_all(lines.concat().as_bytes()).await.unwrap();
    }
    let _broken = copy_bidirectional(client, &mut upstream).await;
}

async fn socks4(
    client: &mut BufReader<TcpStream>,
    mut upstream: TcpStream,
    asked: &mpsc::UnboundedSender<Asked>,
) {
    let mut request = [0; 8];
    client.read_exact(&mut request).await.unwrap();
    let [4, 1, port @ .., a, b, c, d] = request else { panic!("{request:?}") };
    let mut user = Vec::new();
    client.read_until(0, &mut user).await.unwrap();
    let target = format!("{a}.{b}.{c}.{d}:{}", u16::from_be_bytes(port));
    let _test_may_be_over = asked.send(Asked { target, credentials: String::new() });
    client.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let _broken = copy_bidirectional(client, &mut upstream).await;
}

async fn socks5(
    client: &mut BufReader<TcpStream>,
    mut upstream: TcpStream,
    asked: &mpsc::UnboundedSender<Asked>,
) {
    assert_eq!(client.read_u8().await.unwrap(), 5);
    let methods = block(client).await;
    let by_password = methods.contains(&2);
    client.write_all(&[5, if by_password { 2 } else { 0 }]).await.unwrap();
    let mut credentials = String::new();
    if by_password {
        assert_eq!(client.read_u8().await.unwrap(), 1);
        let (name, password) = (block(client).await, block(client).await);
        credentials =
            format!("{}:{}", String::from_utf8(name).unwrap(), String::from_utf8(password).unwrap());
        client.write_all(&[1, 0]).await.unwrap();
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await.unwrap();
    let host = match request {
        [5, 1, 0, 1] => std::net::Ipv4Addr::from(client.read_u32().await.unwrap()).to_string(),
        [5, 1, 0, 4] => format!("[{}]", std::net::Ipv6Addr::from(client.read_u128().await.unwrap())),
        [5, 1, 0, 3] => String::from_utf8(block(client).await).unwrap(),
        _ => panic!("{request:?}"),
    };
    let target = format!("{host}:{}", client.read_u16().await.unwrap());
    let _test_may_be_over = asked.send(Asked { target, credentials });
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let _broken = copy_bidirectional(client, &mut upstream).await;
}

/// Bytes behind their number.
async fn block(client: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut block = vec![0; client.read_u8().await.unwrap().into()];
    client.read_exact(&mut block).await.unwrap();
    block
}

const CREDENTIALS: (&str, &str) = ("me", "p@ss:w%72d/?#");

/// Brings one message to an address through the proxy, with names that lead to a public address.
async fn through(proxy: &Proxy, receiver: &mut Receiver, url: &str, webhook: Value, settings: Value) {
    let bench = Bench::guarded(Names::new([&[PUBLIC]]).guard(&[]));
    bench.offer(&Offer { webhook, ..Offer::default() });
    bench.subscribe("s", with(url.to_owned(), 1, settings)).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"], "through {:?}", proxy.kind);
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_address_with_its_credentials() {
    let mut receiver = Receiver::start().await;
    let mut proxy = Proxy::start(Kind::Http, receiver.address).await;
    let webhook = proxy.webhook("127.0.0.1", Some(CREDENTIALS));
    through(&proxy, &mut receiver, "http://hooks.example/in?x=1", webhook, json!({})).await;
    let credentials = format!("Basic {}", STANDARD.encode(format!("{}:{}", CREDENTIALS.0, CREDENTIALS.1)));
    let target = "POST http://hooks.example/in?x=1 HTTP/1.1".to_owned();
    assert_eq!(proxy.asked().await, Asked { target, credentials });
}

#[tokio::test]
async fn a_secure_call_goes_through_a_tunnel_that_the_proxy_cannot_look_into() {
    let authority = Authority::new();
    let mut receiver = authority.issue("hooks.example").start().await;
    let mut proxy = Proxy::start(Kind::Http, receiver.address).await;
    let webhook = proxy.webhook("127.0.0.1", Some(CREDENTIALS));
    let settings = json!({ "ssl": trusting(&authority) });
    through(&proxy, &mut receiver, "https://hooks.example/in", webhook, settings).await;
    let credentials = format!("Basic {}", STANDARD.encode(format!("{}:{}", CREDENTIALS.0, CREDENTIALS.1)));
    let target = "CONNECT hooks.example:443 HTTP/1.1".to_owned();
    assert_eq!(proxy.asked().await, Asked { target, credentials });
}

#[tokio::test]
async fn socks_is_asked_for_the_address_that_was_judged() {
    let authority = Authority::new();
    let mut plain = Receiver::start().await;
    let mut secure = authority.issue("hooks.example").start().await;
    for (kind, credentials) in [(Kind::Socks5, Some(CREDENTIALS)), (Kind::Socks5, None), (Kind::Socks4, None)]
    {
        let shown = credentials.map_or_else(String::new, |(name, password)| format!("{name}:{password}"));
        let mut proxy = Proxy::start(kind, plain.address).await;
        let webhook = proxy.webhook("127.0.0.1", credentials);
        through(&proxy, &mut plain, "http://hooks.example:81/", webhook, json!({})).await;
        assert_eq!(proxy.asked().await, Asked { target: format!("{PUBLIC}:81"), credentials: shown.clone() });
        let mut proxy = Proxy::start(kind, secure.address).await;
        let webhook = proxy.webhook("127.0.0.1", credentials);
        let settings = json!({ "ssl": trusting(&authority) });
        through(&proxy, &mut secure, "https://hooks.example/", webhook, settings).await;
        assert_eq!(proxy.asked().await, Asked { target: format!("{PUBLIC}:443"), credentials: shown });
    }
    let mut proxy = Proxy::start(Kind::Socks5, plain.address).await;
    let webhook = proxy.webhook("127.0.0.1", None);
    through(&proxy, &mut plain, "http://[2606:4700::1111]:81/", webhook, json!({})).await;
    assert_eq!(proxy.asked().await.target, "[2606:4700::1111]:81");
}

#[tokio::test]
async fn a_proxy_that_is_switched_off_is_not_used() {
    let mut receiver = Receiver::start().await;
    let mut webhook = Proxy::start(Kind::HttpClosed, receiver.address).await.webhook("127.0.0.1", None);
    webhook["proxy"]["enabled"] = json!(false);
    let bench = Bench::new();
    bench.offer(&Offer { webhook, ..Offer::default() });
    bench.subscribe("s", with(receiver.url("/"), 1, json!({}))).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
}

async fn failure(proxy: &Proxy, names: &[&str], url: &str) -> Failure {
    let mut bench = Bench::guarded(Names::new([&[PUBLIC], names]).guard(&[]));
    bench.offer(&Offer { webhook: proxy.webhook("127.0.0.1", None), ..Offer::default() });
    bench.subscribe("s", with(url.to_owned(), 2, json!({}))).await;
    bench.publish("one").await;
    bench.failure().await.cause
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_an_address_that_is_refused() {
    let receiver = Receiver::start().await;
    for kind in [Kind::Http, Kind::Socks4, Kind::Socks5] {
        let proxy = Proxy::start(kind, receiver.address).await;
        for scheme in ["http", "https"] {
            let mut bench = Bench::guarded(Names::new([&["10.0.0.1"]]).guard(&[]));
            bench.offer(&Offer { webhook: proxy.webhook("127.0.0.1", None), ..Offer::default() });
            bench.subscribe("s", with(format!("{scheme}://hooks.example/"), 2, json!({}))).await;
            bench.publish("one").await;
            let cause = bench.failure().await.cause;
            assert_eq!(cause.code, "delivery.address.refused", "{cause}");
        }
        assert!(proxy.asked.is_empty());
    }
    // The proxy chooses among the addresses, or knows a name that is not known here.
    for (names, code) in
        [(&[PUBLIC, "10.0.0.1"] as &[&str], "delivery.address.refused"), (&[], "delivery.unreachable")]
    {
        let mut proxy = Proxy::start(Kind::Http, receiver.address).await;
        let mut bench = Bench::guarded(Names::new([names]).guard(&[]));
        bench.offer(&Offer { webhook: proxy.webhook("127.0.0.1", None), ..Offer::default() });
        bench.subscribe("s", with("http://hooks.example/".to_owned(), 1, json!({}))).await;
        bench.publish("one").await;
        let cause = bench.failure().await.cause;
        assert!(cause.code == code && proxy.asked.try_recv().is_err(), "{cause}");
    }
    // The name is looked up again for the connection, and means something else by then.
    let mut proxy = Proxy::start(Kind::Socks5, receiver.address).await;
    let cause = failure(&proxy, &["127.0.0.1"], "http://hooks.example/").await;
    assert!(cause.code == "delivery.address.refused" && proxy.asked.try_recv().is_err(), "{cause}");
}

#[tokio::test]
async fn a_proxy_may_have_a_private_address_and_subscribers_may_not_call_it() {
    let mut receiver = Receiver::start().await;
    let proxy = Proxy::start(Kind::Http, receiver.address).await;
    let bench = Bench::guarded(Names::new([&[PUBLIC], &["127.0.0.1"]]).guard(&[]));
    bench.offer(&Offer { webhook: proxy.webhook("proxy.corp", None), ..Offer::default() });
    bench.subscribe("s", with("http://hooks.example/".to_owned(), 1, json!({}))).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.metrics.delivered.get() == 1).await;
    let mut bench = Bench::guarded(Names::new([&["127.0.0.1"]]).guard(&[]));
    bench.offer(&Offer { webhook: proxy.webhook("proxy.corp", None), ..Offer::default() });
    bench.subscribe("s", with("http://proxy.corp/".to_owned(), 1, json!({}))).await;
    bench.publish("one").await;
    assert_eq!(bench.failure().await.cause.code, "delivery.address.refused");
}

#[tokio::test]
async fn a_proxy_that_wants_other_credentials_is_not_taken_for_the_subscriber() {
    let receiver = Receiver::start().await;
    let proxy = Proxy::start(Kind::HttpClosed, receiver.address).await;
    let plain = failure(&proxy, &[PUBLIC], "http://hooks.example/").await;
    let secure = failure(&proxy, &[PUBLIC], "https://hooks.example/").await;
    for cause in [plain, secure] {
        assert_eq!((cause.code, cause.status), ("delivery.proxy", None), "{cause}");
    }
}
