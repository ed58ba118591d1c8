//! From an event API's settings to librdkafka's.

use std::{
    fs::{self, File},
    time::Duration,
};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use sluice_api::{
    ClientCredentials, Compression, KafkaConfig, KafkaSecurity, KeyStore, SaslMechanism, StoreType, Tls,
    TrustStore,
};
use sluice_broker::{DriverError, ErrorKind};

use crate::KafkaOptions;

/// The largest batch of messages, in bytes; a larger message goes alone. Below what topics take unless they are told.
pub(crate) const LARGEST_BATCH: usize = 1_000_000;

/// The addresses, separated by commas alone.
pub(crate) fn servers(config: &KafkaConfig) -> String {
    config.bootstrap_servers.split(',').map(str::trim).collect::<Vec<_>>().join(",")
}

/// What all clients have in common.
pub(crate) fn client(config: &KafkaConfig, options: &KafkaOptions) -> Result<ClientConfig, DriverError> {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Info);
    client
        .set("bootstrap.servers", servers(config))
        .set("client.id", config.client_id.as_deref().unwrap_or("sluice"))
        // To producers of librdkafka the default is true.
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", millis(options.topic_refresh))
        // How long a topic may be unknown until it counts as missing: new ones take a moment to get around.
        .set("topic.metadata.propagation.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("reconnect.backoff.max.ms", "3000")
        // Brokers may ask clients for figures about themselves; ours are for the gateway's operator.
        .set("enable.metrics.push", "false")
        // By this it is told that a server does not understand; see what is made of its lines.
        .set("log.connection.close", "true");
    if let Some(security) = &config.security {
        secure(&mut client, security)?;
    }
    Ok(further(client, config))
}

/// Properties as they are written, which go before what is set here. Those that may not are refused before.
fn further(mut client: ClientConfig, config: &KafkaConfig) -> ClientConfig {
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
}

/// What tokens are asked for with, where clients log in by one.
pub(crate) fn client_credentials(config: &KafkaConfig) -> Result<Option<ClientCredentials>, DriverError> {
    let sasl = config.security.as_ref().filter(|security| security.protocol.uses_sasl());
    let sasl = sasl.and_then(|security| security.sasl.as_ref());
    let Some(sasl) = sasl.filter(|sasl| sasl.sasl_mechanism == SaslMechanism::Oauthbearer) else {
        return Ok(None);
    };
    let missing =
        || cannot_work("security.sasl.oauth: a token endpoint, a client id and its secret are needed");
    sasl.client_credentials().ok_or_else(missing).map(Some)
}

/// The name of a group as the broker knows it.
pub(crate) fn group_name(config: &KafkaConfig, group: &str) -> String {
    format!("{}{group}", config.group_prefix.as_deref().unwrap_or_default())
}

/// What producers have besides: the one for a few messages, which waits for nothing, and the one for many.
pub(crate) fn producers(
    base: &ClientConfig,
    config: &KafkaConfig,
    options: &KafkaOptions,
) -> (ClientConfig, ClientConfig) {
    let mut common = base.clone();
    common
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", millis(options.publish_timeout))
        // The broker decides what is too large, and a topic may allow more than another.
        .set("message.max.bytes", "1000000000")
        .set("queue.buffering.max.messages", options.queue_messages.to_string())
        .set("queue.buffering.max.kbytes", options.queue_kib.to_string());
    if let Some(compression) = config.producer.compression_type {
        common.set("compression.type", compression_name(compression));
    }
    let batching = |linger: &str, size: usize| {
        let mut producer = common.clone();
        producer.set("linger.ms", linger).set("batch.size", size.to_string());
        further(producer, config)
    };
    // A broker refuses a batch as a whole. So those of the first stay far below what any topic is likely to take, and
    // what was refused with a batch of the second goes there.
    (batching("0", 128 << 10), batching("5", LARGEST_BATCH))
}

/// What readers have besides. Every consumer of librdkafka needs the name of a group; one that only reads at
/// positions neither joins it nor commits.
pub(crate) fn reader(
    base: &ClientConfig,
    config: &KafkaConfig,
    group: &str,
    options: &KafkaOptions,
) -> ClientConfig {
    let mut reader = lookup(base, config);
    reader
        .set("group.id", group_name(config, group))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where a reader starts is always said; a place that is gone is an error, never a silent jump.
        .set("auto.offset.reset", "error")
        // A member that died without leaving holds its partitions for so long.
        .set("session.timeout.ms", "10000")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", options.read_ahead_kib.to_string())
        .set("fetch.max.bytes", (4 << 20).to_string())
        // How long a full queue stays full after it has been emptied.
        .set("fetch.queue.backoff.ms", "10");
    further(reader, config)
}

/// What the client has besides that asks about topics: where they end depends on what readers get to see.
pub(crate) fn lookup(base: &ClientConfig, config: &KafkaConfig) -> ClientConfig {
    let mut lookup = base.clone();
    lookup.set("isolation.level", config.consumer.isolation_level.as_str());
    lookup
}

fn secure(client: &mut ClientConfig, security: &KafkaSecurity) -> Result<(), DriverError> {
    client.set("security.protocol", security.protocol.as_str());
    if security.protocol.uses_sasl() {
        let missing = || cannot_work("security.sasl: a user name and a password are needed");
        let sasl = security.sasl.as_ref().ok_or_else(missing)?;
        client.set("sasl.mechanism", sasl.sasl_mechanism.as_str());
        if sasl.sasl_mechanism != SaslMechanism::Oauthbearer {
            let (user, password) = sasl.credentials().ok_or_else(missing)?;
            client.set("sasl.username", user).set("sasl.password", password.expose());
        }
    }
    if security.protocol.uses_tls() {
        let tls = security.ssl.clone().unwrap_or_default();
        trust(client, &tls)?;
        if let Some(store) = &tls.key_store {
            identify(client, store)?;
        }
    }
    Ok(())
}

fn trust(client: &mut ClientConfig, tls: &Tls) -> Result<(), DriverError> {
    match tls.trust_store.as_ref() {
        None | Some(TrustStore { kind: StoreType::None, .. }) => {
            client.set("ssl.ca.location", "probe");
        }
        Some(TrustStore { kind: StoreType::Pem, certificates: Some(text), .. }) => {
            client.set("ssl.ca.pem", text);
        }
        Some(TrustStore { kind: StoreType::Pem, location: Some(file), .. }) => {
            check_readable("trustStore", file)?;
            client.set("ssl.ca.location", file);
        }
        Some(_) => {
            return Err(cannot_work(
                "security.ssl.trustStore: PEM is needed, as certificates or as location",
            ));
        }
    }
    Ok(())
}

fn identify(client: &mut ClientConfig, store: &KeyStore) -> Result<(), DriverError> {
    match store {
        KeyStore { kind: StoreType::None, .. } => {}
        KeyStore { kind: StoreType::Pem, key: Some(key), certificate_chain: Some(chain), .. } => {
            client.set("ssl.key.pem", key.expose()).set("ssl.certificate.pem", chain);
        }
        KeyStore { kind: StoreType::Pem, location: Some(file), .. } => {
            let key = store.key_location.as_ref().unwrap_or(file);
            check_readable("keyStore", file)?;
            check_readable("keyStore", key)?;
            client.set("ssl.key.location", key).set("ssl.certificate.location", file);
        }
        KeyStore { kind: StoreType::Pkcs12, location: Some(file), .. } => {
            check_readable("keyStore", file)?;
            client.set("ssl.keystore.location", file);
        }
        _ => {
            return Err(cannot_work(
                "security.ssl.keyStore: give PEM as key and certificateChain or as location, or a PKCS#12 file",
            ));
        }
    }
    if let Some(password) = &store.password {
        client.set("ssl.keystore.password", password.expose());
    }
    if let Some(password) = &store.key_password {
        client.set("ssl.key.password", password.expose());
    }
    Ok(())
}

/// librdkafka does not say which file it could not read, and waits for ever at one that is a pipe.
fn check_readable(store: &str, file: &str) -> Result<(), DriverError> {
    let field = format!("security.ssl.{store}.location: '{file}'");
    let unreadable = |error| cannot_work(&format!("{field} cannot be read, {error}"));
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(cannot_work(&format!("{field} is not a file")));
    }
    File::open(file).map(drop).map_err(unreadable)
}

fn cannot_work(what: &str) -> DriverError {
    DriverError::new(ErrorKind::Configuration, format!("These settings of Kafka cannot work: {what}."))
}

/// At least 1: to librdkafka 0 means without end.
fn millis(time: Duration) -> String {
    time.as_millis().clamp(1, 900_000).to_string()
}

const fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}
