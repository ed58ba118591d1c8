//! The settings of the process, put together from flags, variables, the config file and defaults.

use std::{env::VarError, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;
use sluice_api::{Broker, Format, Problem, from_value, parse_document};
use sluice_broker::LogOptions;
use sluice_broker_kafka::KafkaOptions;
use sluice_delivery::{DeliveryOptions, Guard, GuardOptions};
use sluice_expression::Environment;
use sluice_gateway::{GatewayOptions, ListenOptions, PublicUrl};
use sluice_management::{DEFAULT_PASSWORD, ManagementOptions, Password};
use sluice_stream::HubOptions;
use sluice_websub::HubOptions as WebsubOptions;

use crate::{
    cli::{LogFormat, Options},
    environment::Dictionaries,
};

/// Everything that can be set, with every value decided.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) gateway_listen: Vec<SocketAddr>,
    pub(crate) management_listen: Vec<SocketAddr>,
    pub(crate) admin_listen: Vec<SocketAddr>,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) data_dir: PathBuf,
    pub(crate) api: Vec<PathBuf>,
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: LogFormat,
    pub(crate) admin_password: Password,
    pub(crate) limits: Limits,
    pub(crate) embedded_log: EmbeddedLog,
    pub(crate) journal: Journal,
    /// What expressions find under `#dictionaries`.
    pub(crate) dictionaries: Dictionaries,
    /// Where the files are that expressions find under `#secrets`.
    pub(crate) secrets_dir: Option<PathBuf>,
    pub(crate) webhooks: Webhooks,
    pub(crate) websub: Websub,
}

/// The config file. Keys are those of the flags in camel case, and sections for what has no flag.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    gateway_listen: Vec<SocketAddr>,
    management_listen: Vec<SocketAddr>,
    admin_listen: Vec<SocketAddr>,
    public_url: Option<PublicUrl>,
    data_dir: Option<PathBuf>,
    api: Vec<PathBuf>,
    ready_file: Option<PathBuf>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
    admin_password: Option<String>,
    limits: Limits,
    embedded_log: EmbeddedLog,
    journal: Journal,
    dictionaries: Dictionaries,
    secrets_dir: Option<PathBuf>,
    webhooks: Webhooks,
    websub: Websub,
}

/// Bounds of the process. Those of an API (its largest body) stand in its definition.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections at once on all gateway addresses together.
    pub(crate) max_connections: usize,
    /// Connections at once on all management addresses together.
    pub(crate) max_management_connections: usize,
    /// Milliseconds for a request head to arrive, and for a connection to stay idle.
    pub(crate) header_timeout_ms: u64,
    /// Milliseconds that a client may take nothing of what is written to it before it is cut off.
    pub(crate) write_timeout_ms: u64,
    /// Bytes of a request head that are always taken, at least 8192; twice as many are refused.
    pub(crate) max_header_bytes: usize,
    /// Milliseconds for a request body to arrive.
    pub(crate) body_timeout_ms: u64,
    /// Bytes of request bodies that are held at once, by all event APIs together; further requests get 503.
    pub(crate) body_bytes: usize,
    /// Milliseconds that a publish waits for the broker's acknowledgement before it is answered 503.
    pub(crate) publish_timeout_ms: u64,
    /// Milliseconds that a new stream waits for the broker before it is answered 503.
    pub(crate) open_timeout_ms: u64,
    /// Milliseconds that the policies which meet a client may take before it is answered 504.
    pub(crate) request_timeout_ms: u64,
    /// Milliseconds that a stop waits for what is in flight.
    pub(crate) drain_timeout_ms: u64,
    /// Messages kept in memory for each topic set that is listened to, for clients that are behind.
    pub(crate) ring_messages: usize,
    /// Bytes kept in memory for each topic set that is listened to.
    pub(crate) ring_bytes: usize,
    /// Broker consumers that single clients may hold at the same time to read older messages; further
    /// clients wait their turn.
    pub(crate) catch_up_readers: usize,
    /// Groups of clients that one API may have open at the same time; clients of further ones get 503.
    pub(crate) groups_of_one_api: usize,
    /// Milliseconds that a topic set is still read after its last client has gone.
    pub(crate) linger_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let (hub, gateway, listen) =
            (HubOptions::default(), GatewayOptions::default(), ListenOptions::default());
        Self {
            max_connections: listen.max_connections,
            max_management_connections: 256,
            header_timeout_ms: milliseconds(listen.header_timeout),
            write_timeout_ms: milliseconds(listen.write_timeout),
            max_header_bytes: listen.max_header_bytes,
            body_timeout_ms: milliseconds(gateway.body_timeout),
            body_bytes: gateway.body_bytes,
            publish_timeout_ms: milliseconds(KafkaOptions::default().publish_timeout),
            open_timeout_ms: milliseconds(hub.open_timeout),
            request_timeout_ms: milliseconds(gateway.request_timeout),
            drain_timeout_ms: milliseconds(gateway.drain_timeout),
            ring_messages: hub.ring_messages,
            ring_bytes: hub.ring_bytes,
            catch_up_readers: hub.catch_up_readers,
            groups_of_one_api: hub.max_groups,
            linger_ms: milliseconds(hub.linger),
        }
    }
}

/// The embedded log.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct EmbeddedLog {
    /// Hours after which a message may be dropped.
    pub(crate) retention_hours: u64,
    /// Bytes of a topic beyond which its oldest messages are dropped.
    pub(crate) retention_bytes: u64,
    /// Topics at the most.
    pub(crate) max_topics: usize,
    /// Bytes of one message at the most.
    pub(crate) max_message_bytes: usize,
}

impl Default for EmbeddedLog {
    fn default() -> Self {
        let log = LogOptions::default();
        Self {
            retention_hours: log.retention_age.as_secs() / 3600,
            retention_bytes: log.retention_bytes,
            max_topics: log.max_topics,
            max_message_bytes: log.max_message_bytes,
        }
    }
}

/// What is kept of brokers that keep no messages themselves, for the event APIs that need that.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Journal {
    /// Hours after which a message may be dropped.
    pub(crate) retention_hours: u64,
    /// Bytes of a topic beyond which its oldest messages are dropped.
    pub(crate) retention_bytes: u64,
    /// Topics that there may be, of all event APIs together and with those that are read no more.
    pub(crate) max_topics: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { retention_hours: 24, retention_bytes: 1 << 30, max_topics: 10_000 }
    }
}

/// Calls to subscribers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Webhooks {
    /// Networks that may be called although they are not public, as `10.1.0.0/16`.
    pub(crate) allow: Vec<IpNet>,
    /// Calls under way at once, of all subscriptions together.
    pub(crate) max_calls: usize,
    /// The longest time that a server may ask to be left alone, by `Retry-After`.
    pub(crate) longest_wait_ms: u64,
    /// Messages of one subscription that are held behind those of the same key, where it keeps the order of each
    /// key only.
    pub(crate) held_messages: usize,
    /// Bytes of them; together with `heldMessages`, whichever is reached first.
    pub(crate) held_bytes: usize,
}

impl Default for Webhooks {
    fn default() -> Self {
        let deliveries = DeliveryOptions::default();
        Self {
            allow: Vec::new(),
            max_calls: deliveries.max_calls,
            longest_wait_ms: milliseconds(deliveries.longest_wait),
            held_messages: deliveries.held_messages,
            held_bytes: deliveries.held_bytes,
        }
    }
}

/// The hubs of WebSub.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Websub {
    /// The broker behind WebSubApi resources, which name none themselves: type and configuration, without topics.
    pub(crate) broker: Broker,
    /// Requests that are verified at once, of all APIs together.
    pub(crate) verifications: usize,
    /// Requests of one API that wait for their turn; further ones get 503.
    pub(crate) waiting: usize,
}

impl Default for Websub {
    fn default() -> Self {
        let (broker, hub) = (ManagementOptions::default().hub_broker, WebsubOptions::default());
        Self { broker, verifications: hub.verifications, waiting: hub.queue }
    }
}

impl Config {
    /// Decides every setting. All faults are told at once, each with the key, flag or variable concerned.
    pub(crate) fn load(options: Options) -> Result<Self, Vec<String>> {
        let file = match &options.config {
            Some(path) => {
                File::read(path).map_err(|problem| vec![format!("{}: {problem}", path.display())])?
            }
            None => File::default(),
        };
        let password = match std::env::var("SLUICE_ADMIN_PASSWORD") {
            Ok(password) => Some(password),
            Err(VarError::NotPresent) => file.admin_password,
            Err(VarError::NotUnicode(_)) => {
                return Err(vec!["SLUICE_ADMIN_PASSWORD: is not UTF-8.".to_owned()]);
            }
        };
        let password = Password::parse(password.as_deref().unwrap_or(DEFAULT_PASSWORD))
            .map_err(|problem| vec![format!("SLUICE_ADMIN_PASSWORD (adminPassword): {problem}")])?;
        let config = Self {
            gateway_listen: first(options.gateway_listen, file.gateway_listen, ([127, 0, 0, 1], 8082)),
            management_listen: first(
                options.management_listen,
                file.management_listen,
                ([127, 0, 0, 1], 8083),
            ),
            admin_listen: if options.admin_listen.is_empty() {
                file.admin_listen
            } else {
                options.admin_listen
            },
            public_url: options.public_url.or(file.public_url),
            data_dir: options.data_dir.or(file.data_dir).unwrap_or_else(|| PathBuf::from("sluice-data")),
            api: if options.api.is_empty() { file.api } else { options.api },
            ready_file: options.ready_file.or(file.ready_file),
            log_level: options.log_level.or(file.log_level),
            log_format: options.log_format.or(file.log_format).unwrap_or_default(),
            admin_password: password,
            limits: file.limits,
            embedded_log: file.embedded_log,
            journal: file.journal,
            dictionaries: file.dictionaries,
            secrets_dir: file.secrets_dir,
            webhooks: file.webhooks,
            websub: file.websub,
        };
        let faults = config.faults();
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let public = self.management_listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = public.filter(|_| self.admin_password.is_default()) {
            faults.push(format!(
                "The management address {address} can be reached from other machines, but the password of \
                 'admin' is still the default. Set SLUICE_ADMIN_PASSWORD (or adminPassword in the config file), \
                 or listen on a loopback address only."
            ));
        }
        let (limits, log, journal) = (&self.limits, &self.embedded_log, &self.journal);
        // Nobody means a wait of more than a day, or more than a terabyte in memory.
        let (day, tebibyte) = (86_400_000, 1 << 40);
        for (key, value, least, most) in [
            ("limits.maxConnections", limits.max_connections as u64, 1, 1_000_000),
            ("limits.maxManagementConnections", limits.max_management_connections as u64, 1, 1_000_000),
            ("limits.headerTimeoutMs", limits.header_timeout_ms, 1, day),
            ("limits.writeTimeoutMs", limits.write_timeout_ms, 1, day),
            ("limits.maxHeaderBytes", limits.max_header_bytes as u64, 8192, 16 << 20),
            ("limits.bodyTimeoutMs", limits.body_timeout_ms, 1, day),
            ("limits.bodyBytes", limits.body_bytes as u64, 1 << 20, tebibyte),
            ("limits.publishTimeoutMs", limits.publish_timeout_ms, 1, day),
            ("limits.openTimeoutMs", limits.open_timeout_ms, 1, day),
            ("limits.requestTimeoutMs", limits.request_timeout_ms, 1, day),
            ("limits.drainTimeoutMs", limits.drain_timeout_ms, 0, day),
            ("limits.ringMessages", limits.ring_messages as u64, 1, 1 << 32),
            ("limits.ringBytes", limits.ring_bytes as u64, 1024, tebibyte),
            ("limits.catchUpReaders", limits.catch_up_readers as u64, 1, 10_000),
            ("limits.groupsOfOneApi", limits.groups_of_one_api as u64, 1, 10_000),
            ("limits.lingerMs", limits.linger_ms, 0, day),
            ("webhooks.maxCalls", self.webhooks.max_calls as u64, 1, 100_000),
            ("webhooks.heldMessages", self.webhooks.held_messages as u64, 1, 1_000_000),
            ("webhooks.heldBytes", self.webhooks.held_bytes as u64, 1 << 20, tebibyte),
            ("webhooks.longestWaitMs", self.webhooks.longest_wait_ms, 1, 7 * day),
            ("websub.verifications", self.websub.verifications as u64, 1, 10_000),
            ("websub.waiting", self.websub.waiting as u64, 1, 1_000_000),
            ("embeddedLog.retentionHours", log.retention_hours, 1, 1_000_000),
            ("embeddedLog.retentionBytes", log.retention_bytes, 1 << 20, 1 << 60),
            ("embeddedLog.maxTopics", log.max_topics as u64, 1, 100_000),
            (
                "embeddedLog.maxMessageBytes",
                log.max_message_bytes as u64,
                1,
                LogOptions::LARGEST_MESSAGE.into(),
            ),
            ("journal.retentionHours", journal.retention_hours, 1, 1_000_000),
            ("journal.retentionBytes", journal.retention_bytes, 1 << 20, 1 << 60),
            ("journal.maxTopics", journal.max_topics as u64, 1, 100_000),
        ] {
            if !(least..=most).contains(&value) {
                faults.push(format!("{key}: must be from {least} to {most}."));
            }
        }
        faults
    }

    /// `dev` calls listeners on the same machine.
    pub(crate) fn gateway_options(&self, environment: Arc<Environment>, dev: bool) -> GatewayOptions {
        let mut guard = if dev { GuardOptions::loopback() } else { GuardOptions::default() };
        guard.allow.extend(&self.webhooks.allow);
        let limits = &self.limits;
        GatewayOptions {
            hub: HubOptions {
                ring_messages: limits.ring_messages,
                ring_bytes: limits.ring_bytes,
                catch_up_readers: limits.catch_up_readers,
                max_groups: limits.groups_of_one_api,
                linger: Duration::from_millis(limits.linger_ms),
                open_timeout: Duration::from_millis(limits.open_timeout_ms),
            },
            body_bytes: limits.body_bytes,
            body_timeout: Duration::from_millis(limits.body_timeout_ms),
            request_timeout: Duration::from_millis(limits.request_timeout_ms),
            drain_timeout: self.drain_timeout(),
            environment,
            public_url: self.public_url.clone(),
            websub: WebsubOptions {
                verifications: self.websub.verifications,
                queue: self.websub.waiting,
                ..WebsubOptions::default()
            },
            deliveries: DeliveryOptions {
                guard: Guard::new(guard),
                max_calls: self.webhooks.max_calls,
                longest_wait: Duration::from_millis(self.webhooks.longest_wait_ms),
                held_messages: self.webhooks.held_messages,
                held_bytes: self.webhooks.held_bytes,
                drain_timeout: self.drain_timeout(),
            },
        }
    }

    pub(crate) fn management_options(&self, environment: Arc<Environment>) -> ManagementOptions {
        ManagementOptions {
            hub_broker: self.websub.broker.clone(),
            environment,
            template_variables: ManagementOptions::variables_of_process(),
        }
    }

    pub(crate) fn listen_options(&self, max_connections: usize) -> ListenOptions {
        ListenOptions {
            max_connections,
            header_timeout: Duration::from_millis(self.limits.header_timeout_ms),
            write_timeout: Duration::from_millis(self.limits.write_timeout_ms),
            max_header_bytes: self.limits.max_header_bytes,
        }
    }

    /// How long a management request may take: its body, and the drain that stopping an API waits for.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.body_timeout_ms) + self.drain_timeout()
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.drain_timeout_ms)
    }
}

impl File {
    fn read(path: &std::path::Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problem::new("", "config.unreadable", format!("The file cannot be read: {error}."))
        })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let json = path.extension().is_some_and(|extension| extension == "json");
        from_value(parse_document(&text, if json { Format::Json } else { Format::Yaml })?)
    }
}

/// The addresses of the first source that names any.
fn first(options: Vec<SocketAddr>, file: Vec<SocketAddr>, default: ([u8; 4], u16)) -> Vec<SocketAddr> {
    if !options.is_empty() {
        options
    } else if !file.is_empty() {
        file
    } else {
        vec![SocketAddr::from(default)]
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
