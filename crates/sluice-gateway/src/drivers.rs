//! The broker drivers in use, shared by all event APIs with the same connection settings.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use sluice_api::{ApiId, BrokerConfig};
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, Spool, SpoolMetrics};

/// Makes drivers. The one place that knows every kind of broker is the binary that wires them.
pub trait DriverFactory: Send + Sync + 'static {
    /// Opens a driver for this broker. Must not wait for the broker: one that is away is found out when it
    /// is used.
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError>;

    /// Opens the spool of an API before the driver of its broker. What waits in it goes to the driver of the last
    /// one opened, unless it was taken for another broker. Without settings it is for what is there already.
    /// Where this is not implemented there is no place for a spool.
    fn spool(
        &self,
        _api: &ApiId,
        _settings: Option<&sluice_api::Spool>,
        _broker: &BrokerConfig,
        _driver: Arc<dyn BrokerDriver>,
        _metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        Err(DriverError::new(ErrorKind::Configuration, "This gateway has no place for a spool."))
    }

    /// Whether messages of an API are in the spool, or may still come there.
    fn has_spooled(&self, _api: &ApiId) -> Result<bool, DriverError> {
        Ok(false)
    }
}

/// The drivers of the deployed APIs.
pub(crate) struct Drivers {
    factory: Box<dyn DriverFactory>,
    /// Found by comparing connection settings, secrets included, which are therefore in no key. There are
    /// as many as there are different brokers: few.
    open: Mutex<Vec<(BrokerConfig, Weak<dyn BrokerDriver>)>>,
}

impl Drivers {
    pub(crate) fn new(factory: Box<dyn DriverFactory>) -> Self {
        Self { factory, open: Mutex::new(Vec::new()) }
    }

    /// The driver for these settings, opened if no deployed API has it.
    pub(crate) fn get(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        let connection = config.connection();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, driver)| driver.strong_count() > 0);
        let known = open.iter().find(|(other, _)| *other == connection);
        if let Some(driver) = known.and_then(|(_, driver)| driver.upgrade()) {
            return Ok(driver);
        }
        let driver = self.factory.open(config)?;
        open.push((connection, Arc::downgrade(&driver)));
        Ok(driver)
    }

    /// The spool of an API before the driver of its broker.
    pub(crate) fn spool(
        &self,
        api: &ApiId,
        settings: Option<&sluice_api::Spool>,
        broker: &BrokerConfig,
        driver: Arc<dyn BrokerDriver>,
        metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        self.factory.spool(api, settings, broker, driver, metrics)
    }

    /// Whether messages of an API are in the spool. An API that wants none is served also where nobody can tell.
    pub(crate) fn has_spooled(&self, api: &ApiId) -> bool {
        self.factory.has_spooled(api).unwrap_or_else(|error| {
            tracing::error!(%api, %error, "Whether messages of an API wait in the spool is not known; they stay.");
            false
        })
    }

    /// Every driver that is in use now.
    pub(crate) fn all(&self) -> Vec<Arc<dyn BrokerDriver>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().filter_map(|(_, driver)| driver.upgrade()).collect()
    }
}
