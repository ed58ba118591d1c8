//! Every kind of broker, wired to the gateway.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluice_api::BrokerConfig;
use sluice_broker::{BrokerDriver, DriverError, Log, LogOptions, Mock};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_gateway::DriverFactory;

use crate::config::Config;

/// Opens drivers by kind. The embedded log is one for the whole process and is opened when the first event
/// API asks for it, so that a gateway in front of Kafka does not carry it.
pub(crate) struct Brokers {
    log_dir: PathBuf,
    log_options: LogOptions,
    log: Mutex<Option<Log>>,
    kafka_options: KafkaOptions,
}

impl Brokers {
    pub(crate) fn new(config: &Config) -> Self {
        let publish_timeout = Duration::from_millis(config.limits.publish_timeout_ms);
        let settings = &config.embedded_log;
        Self {
            log_dir: config.data_dir.join("log"),
            log_options: LogOptions {
                retention_age: Duration::from_secs(settings.retention_hours.saturating_mul(3600)),
                retention_bytes: settings.retention_bytes,
                max_topics: settings.max_topics,
                max_message_bytes: settings.max_message_bytes,
                publish_timeout,
                ..LogOptions::default()
            },
            log: Mutex::default(),
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
}
