//! Brokers that hang up: on a message that is too large for them, or just so.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use sluice_api::{ApiId, BrokerConfig, MqttConfig};
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, LogOptions, SpoolMetrics, Spools};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_message::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{at, message, open, publish, publish_message, settings, step, unused};

/// When a broker hangs up.
#[derive(Debug, Clone, Copy)]
enum HangsUp {
    /// On whatever comes behind CONNECT.
    OnAnything,
    /// Soon, whatever comes.
    Soon,
}

/// The address of a broker that does nothing but that.
async fn hanging_up(version: &str, when: HangsUp) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let accepted: &[u8] = if version == "5" { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(hang_up(client, accepted, when));
        }
    });
    address
}

async fn hang_up(mut client: TcpStream, accepted: &[u8], when: HangsUp) {
    let mut buffer = [0; 1024];
    if client.read(&mut buffer).await.is_ok() && client.write_all(accepted).await.is_ok() {
        match when {
            HangsUp::OnAnything => drop(client.read(&mut buffer).await),
            HangsUp::Soon => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The address of a broker of 3.1.1 that takes what is published, but hangs up where it is told to by the number of the
/// connection, from 1, and the size of a packet behind its length; and how many connections it was asked for.
async fn taking(hangs_up: fn(usize, usize) -> bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::spawn(take(client, move |size| hangs_up(number, size)));
        }
    });
    (address, connections)
}

async fn take(mut client: TcpStream, hangs_up: impl Fn(usize) -> bool) -> io::Result<()> {
    loop {
        let kind = client.read_u8().await? >> 4;
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = client.read_u8().await?;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut packet = vec![0; size];
        client.read_exact(&mut packet).await?;
        match kind {
            1 => client.write_all(&[0x20, 2, 0, 0]).await?,
            3 if hangs_up(size) => return Ok(()),
            3 => {
                let id = 2 + usize::from(u16::from_be_bytes([packet[0], packet[1]]));
                client.write_all(&[0x40, 2, packet[id], packet[id + 1]]).await?;
            }
            _ => {}
        }
    }
}

fn of_size(size: usize) -> Message {
    Message::builder().payload(vec![b'x'; size]).build()
}

async fn refused(mqtt: &Mqtt, size: usize) -> DriverError {
    step("publish", mqtt.publish(&"a".into(), of_size(size))).await.expect_err("it hangs up")
}

#[tokio::test]
async fn only_a_large_message_is_blamed_for_a_broker_that_hangs_up() {
    let address = hanging_up("3.1.1", HangsUp::OnAnything).await;
    for (size, kind) in [(900, ErrorKind::Unreachable), (2000, ErrorKind::Rejected)] {
        let mqtt = open(&settings(&address, json!({"version": "3.1.1"})));
        let error = refused(&mqtt, size).await;
        assert_eq!(error.kind, kind, "{size}: {error}");
    }
}

/// What trying again comes to.
async fn in_the_end(config: &MqttConfig) -> DriverError {
    let mqtt = open(config);
    loop {
        let error = refused(&mqtt, 2000).await;
        if !error.retryable() {
            return error;
        }
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        // As long as the connection is away it fails at once.
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whoever_tries_again_is_told_in_the_end_at_every_qos_and_without_attempts_too() {
    let mut trying = Vec::new();
    for version in ["5", "3.1.1"] {
        let address = hanging_up(version, HangsUp::OnAnything).await;
        for more in [
            json!({"version": version, "reconnectAttempts": 0}),
            json!({"version": version, "reconnectAttempts": 1}),
            json!({"version": version, "reconnectAttempts": 10}),
            json!({"version": version, "producer": {"qos": 2}}),
        ] {
            let config = settings(&address, more.clone());
            trying.push(async move { (more, in_the_end(&config).await) });
        }
    }
    for (more, error) in step("an end for each", join_all(trying)).await {
        assert_eq!(error.kind, ErrorKind::Rejected, "{more}: {error}");
        for word in ["hung up 3 times", "probably it is over", "maximumPacketSize", "of 2019 bytes"] {
            assert!(error.message.contains(word), "'{word}' is not in: {error}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_ends_connections_by_itself_does_so_over_no_message() {
    let address = hanging_up("3.1.1", HangsUp::Soon).await;
    let options = MqttOptions { publish_timeout: Duration::from_secs(2), ..MqttOptions::default() };
    for attempts in [0, 10] {
        let config = settings(&address, json!({"version": "3.1.1", "reconnectAttempts": attempts}));
        let mqtt = Mqtt::open(&config, options).expect("opening needs no broker");
        for _ in 0..4 {
            let error = refused(&mqtt, 2000).await;
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        }
    }
}

#[tokio::test]
async fn many_messages_that_a_restart_interrupted_all_go_through_within_their_timeout() {
    for more in [0, 1] {
        let (address, _) = taking(|connection, _| connection == 1).await;
        let mqtt = open(&settings(&address, json!({"version": "3.1.1"})));
        let topic = "a".into();
        let publishing = (0..100).map(|number| mqtt.publish(&topic, of_size(5000 + number * more)));
        for published in step("publish", join_all(publishing)).await {
            published.unwrap_or_else(|error| panic!("{more}: {error}"));
        }
    }
}

#[tokio::test]
async fn what_was_found_to_be_too_large_does_not_break_the_connection_again() {
    let (address, connections) = taking(|_, size| size > 3000).await;
    let mqtt = open(&settings(&address, json!({"version": "3.1.1"})));
    let first = refused(&mqtt, 4000).await;
    assert_eq!(first.kind, ErrorKind::Rejected, "{first}");
    publish(&mqtt, "a", "small").await;
    let before = connections.load(Ordering::SeqCst);
    assert_eq!(refused(&mqtt, 4000).await.message, first.message);
    let larger = refused(&mqtt, 5000).await;
    assert_eq!(larger.kind, ErrorKind::Rejected, "{larger}");
    assert!(larger.message.contains("hung up 3 times"), "{larger}");
    publish_message(&mqtt, "a", of_size(2900)).await;
    assert_eq!(connections.load(Ordering::SeqCst), before);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody failed").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn connections_that_do_not_last_are_told_by_check_and_by_no_line_for_each() {
    let lines = Lines::default();
    let writer = lines.clone();
    // The library's own lines are the gateway's to leave out.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter("sluice=info").with_writer(move || writer.clone()).finish();
    let _caught = tracing::subscriber::set_default(subscriber);
    for version in ["5", "3.1.1"] {
        let address = hanging_up(version, HangsUp::OnAnything).await;
        let mqtt = open(&settings(&address, json!({"version": version})));
        step("check", mqtt.check(&[])).await.unwrap_or_else(|error| panic!("it answers: {error}"));
        refused(&mqtt, 10).await;
        let error = step("check", mqtt.check(&[])).await.expect_err("four connections were lost");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains("do not last, 4 of one client"), "{error}");
    }
    let lines = lines.0.lock().expect("nobody failed").clone();
    assert_eq!(String::from_utf8_lossy(&lines), "");
}

#[tokio::test]
async fn a_spool_sets_aside_what_a_broker_hangs_up_on_and_goes_on() {
    for more in [json!({"reconnectAttempts": 0}), json!({"producer": {"qos": 2}}), json!({})] {
        let mut all = more.clone();
        all["version"] = json!("3.1.1");
        let config = at("SLUICE_TEST_MQTT_SMALL", all);
        let directory = tempfile::tempdir().expect("a directory");
        let spools = Spools::new(directory.path().to_owned(), LogOptions::default());
        let (api, metrics) = (ApiId("spooled".to_owned()), SpoolMetrics::default());
        let mqtt = Arc::new(open(&config));
        let broker = BrokerConfig::Mqtt(Box::new(config));
        let of_spool: sluice_api::Spool = serde_json::from_value(json!({})).expect("all have defaults");
        let spool = spools.spool(&api, Some(&of_spool), &broker, mqtt, metrics.clone()).expect("a new one");
        let topic = unused("spooled");
        for message in [message("before"), of_size(70 << 10), message("behind")] {
            step("publish", spool.publish(&topic, message)).await.unwrap_or_else(|error| panic!("{error}"));
        }
        let status = step("the spool is done", async {
            loop {
                let status = spool.status();
                if status.waiting_messages == 0 {
                    break status;
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!((status.set_aside_messages, metrics.forwarded.get()), (1, 2), "{more}");
        step("close", spool.close()).await;
    }
}

#[tokio::test]
async fn a_message_that_a_broker_of_3_1_1_hangs_up_on_is_refused_for_good() {
    let mqtt = open(&at("SLUICE_TEST_MQTT_SMALL", json!({"version": "3.1.1"})));
    let topic = unused("hung-up");
    publish(&mqtt, topic.clone(), "small").await;
    let error = step("publish", mqtt.publish(&topic, of_size(3 << 20))).await.expect_err("it is too large");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.message.contains("maximumPacketSize"), "{error}");
    publish(&mqtt, topic, "small").await;
}
