//! Every kind of broker, and the spool before them, wired to the gateway.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluice_api::{ApiId, BrokerConfig};
use sluice_broker::{BrokerDriver, DriverError, Log, LogOptions, Mock, Spool, SpoolMetrics, Spools};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_gateway::DriverFactory;

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
    kafka_options: KafkaOptions,
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
        Self {
            log_dir: config.data_dir.join("log"),
            log_options,
            log: Mutex::default(),
            spools: Spools::new(config.data_dir.join("spool"), spool_options),
            kafka_options: KafkaOptions { publish_timeout, ..KafkaOptions::default() },
        }
    }
}

impl DriverFactory for Brokers {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(match config {
            BrokerConfig::Log(_) => {
                let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                let log = match &mut *log {
                    Some(log) => log,
                    none => none.insert(Log::open(&self.log_dir, self.log_options.clone())?),
                };
                Arc::new(log.clone())
            }
            BrokerConfig::Kafka(kafka) => Arc::new(Kafka::open(kafka, self.kafka_options)?),
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

    fn has_spooled(&self, api: &ApiId) -> Result<bool, DriverError> {
        self.spools.holds(api)
    }
}
