//! Every kind of broker, the spool before them and the journal around them, wired to the gateway.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluice_api::{ApiId, Broker, BrokerConfig, SolaceTransport};
use sluice_broker::{
    BrokerDriver, DriverError, ErrorKind, Journal, JournalMetrics, Journals, Log, LogOptions, Mock, Spool,
    SpoolMetrics, Spools,
};
use sluice_broker_amqp::{Amqp, AmqpOptions};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use sluice_gateway::DriverFactory;
use sluice_message::Topic;

use crate::config::Config;

/// Topics of the spool: two for each event API that ever had one.
const SPOOL_TOPICS: usize = 20_000;

/// Opens drivers by kind. The embedded log is one for the whole process and is opened when the first event
/// API asks for it, so that a gateway in front of Kafka does not carry it.
pub(crate) struct Brokers {
    log_dir: PathBuf,
    log_options: LogOptions,
    log: Mutex<Option<Log>>,
    spools: Spools,
    journals: Journals,
    publish_timeout: Duration,
}

impl Brokers {
    pub(crate) fn new(config: &Config) -> Self {
        let publish_timeout = Duration::from_millis(config.limits.publish_timeout_ms);
        let settings = &config.embedded_log;
        let log_options = LogOptions {
            retention_age: Duration::from_secs(settings.retention_hours.saturating_mul(3600)),
            retention_bytes: settings.retention_bytes,
            max_topics: settings.max_topics,
            max_message_bytes: settings.max_message_bytes,
            publish_timeout,
            ..LogOptions::default()
        };
        let spool_options =
            LogOptions { max_topics: SPOOL_TOPICS, max_groups: SPOOL_TOPICS, ..log_options.clone() };
        let settings = &config.journal;
        let journal_options = LogOptions {
            retention_age: Duration::from_secs(settings.retention_hours.saturating_mul(3600)),
            retention_bytes: settings.retention_bytes,
            max_topics: settings.max_topics,
            ..log_options.clone()
        };
        Self {
            log_dir: config.data_dir.join("log"),
            log_options,
            log: Mutex::default(),
            spools: Spools::new(config.data_dir.join("spool"), spool_options),
            journals: Journals::new(config.data_dir.join("journal"), journal_options),
            publish_timeout,
        }
    }

    fn mqtt_options(&self) -> MqttOptions {
        MqttOptions { publish_timeout: self.publish_timeout, ..MqttOptions::default() }
    }

    fn amqp_options(&self) -> AmqpOptions {
        AmqpOptions { publish_timeout: self.publish_timeout, ..AmqpOptions::default() }
    }
}

impl DriverFactory for Brokers {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        let publish_timeout = self.publish_timeout;
        Ok(match config {
            BrokerConfig::Log(_) => {
                let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                let log = match &mut *log {
                    Some(log) => log,
                    none => none.insert(Log::open(&self.log_dir, self.log_options.clone())?),
                };
                Arc::new(log.clone())
            }
            BrokerConfig::Kafka(kafka) => {
                Arc::new(Kafka::open(kafka, KafkaOptions { publish_timeout, ..KafkaOptions::default() })?)
            }
            BrokerConfig::Mqtt(mqtt) => Arc::new(Mqtt::open(mqtt, self.mqtt_options())?),
            BrokerConfig::Solace(solace) if solace.transport == SolaceTransport::Mqtt => {
                let mqtt = solace.mqtt().map_err(|text| DriverError::new(ErrorKind::Configuration, text))?;
                Arc::new(Mqtt::open(&mqtt, self.mqtt_options())?)
            }
            BrokerConfig::Solace(solace) => Arc::new(Amqp::open_solace(solace, self.amqp_options())?),
            BrokerConfig::Amqp(amqp) => Arc::new(Amqp::open(amqp, self.amqp_options())?),
            BrokerConfig::Rabbitmq(rabbitmq) => {
                let options = RabbitmqOptions { publish_timeout, ..RabbitmqOptions::default() };
                Arc::new(Rabbitmq::open(rabbitmq, options)?)
            }
            BrokerConfig::Mock(mock) => Arc::new(Mock::new(mock.clone())),
        })
    }

    fn spool(
        &self,
        api: &ApiId,
        settings: Option<&sluice_api::Spool>,
        broker: &BrokerConfig,
        driver: Arc<dyn BrokerDriver>,
        metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        self.spools.spool(api, settings, broker, driver, metrics)
    }

    fn journal(
        &self,
        api: &ApiId,
        broker: &Broker,
        driver: Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: JournalMetrics,
    ) -> Result<Arc<Journal>, DriverError> {
        self.journals.journal(api, broker, driver, topics, metrics)
    }

    fn has_spooled(&self, api: &ApiId) -> Result<bool, DriverError> {
        self.spools.holds(api)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_broker::HeaderSupport;

    use super::*;
    use crate::cli::Options;

    #[tokio::test]
    async fn the_table_of_capabilities_in_the_docs_is_what_the_drivers_claim() {
        let data = tempfile::tempdir().unwrap();
        let options = Options { data_dir: Some(data.path().to_owned()), ..Options::default() };
        let config = Config::load(options).unwrap();
        let brokers = Brokers::new(&config);
        let mut table = vec![
            "| Broker | Replay | Groups | Sharing | Keys | Headers | Tombstones |".to_owned(),
            format!("|{}", "---|".repeat(7)),
        ];
        for kind in BrokerConfig::KINDS {
            let settings = match kind {
                "kafka" => json!({"bootstrapServers": "localhost:9092", "topics": ["t"]}),
                "mqtt5" | "rabbitmq" => json!({"serverHost": "localhost", "serverPort": 1}),
                "solace" => json!({"url": "tcp://localhost:5672"}),
                "amqp" => json!({"url": "amqp://localhost:5672"}),
                _ => json!({}),
            };
            let broker = Broker::parse(kind, kind, Some(settings)).unwrap();
            let claimed = brokers.open(&broker.configuration).unwrap().capabilities();
            assert_eq!(broker.configuration.keeps_messages(), claimed.replay, "{kind}");
            let headers = match claimed.headers {
                HeaderSupport::None => "none",
                HeaderSupport::Joined => "joined",
                HeaderSupport::Repeated => "repeated",
            };
            let word = |is_claimed: bool| if is_claimed { "yes" } else { "no" };
            let [replay, groups, sharing, keys, tombstones] =
                [claimed.replay, claimed.groups, claimed.sharing, claimed.keys, claimed.tombstones].map(word);
            table.push(format!(
                "| `{kind}` | {replay} | {groups} | {sharing} | {keys} | {headers} | {tombstones} |"
            ));
        }
        let page = include_str!("../../../docs/brokers/README.md");
        let shown = page.split("<!-- capabilities -->").nth(1).unwrap_or_default().trim();
        assert_eq!(shown, table.join("\n"));
    }
}
