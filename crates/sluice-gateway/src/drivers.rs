//! The broker drivers in use, shared by all event APIs with the same connection settings.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use sluice_api::{ApiId, Broker, BrokerConfig};
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, Journal, JournalMetrics, Spool, SpoolMetrics};
use sluice_message::Topic;

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

    /// Opens the journal of these topics around the driver of a broker that keeps no messages, or hands out the one
    /// that is there. Where this is not implemented there is no place for a journal.
    fn journal(
        &self,
        _api: &ApiId,
        broker: &Broker,
        _driver: Arc<dyn BrokerDriver>,
        _topics: &[Topic],
        _metrics: JournalMetrics,
    ) -> Result<Arc<Journal>, DriverError> {
        let text = format!(
            "The broker '{}' keeps no messages for readers that are away, and this gateway has no place for a journal.",
            broker.name
        );
        Err(DriverError::new(ErrorKind::Configuration, text))
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
    journals: Mutex<Vec<Weak<Journal>>>,
}

impl Drivers {
    pub(crate) fn new(factory: Box<dyn DriverFactory>) -> Self {
        Self { factory, open: Mutex::default(), journals: Mutex::default() }
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

    /// The journal of these topics around the driver of a broker.
    pub(crate) fn journal(
        &self,
        api: &ApiId,
        broker: &Broker,
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: JournalMetrics,
    ) -> Result<Arc<Journal>, DriverError> {
        let journal = self.factory.journal(api, broker, Arc::clone(driver), topics, metrics)?;
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.retain(|known| known.strong_count() > 0);
        if !journals.iter().any(|known| std::ptr::eq(known.as_ptr(), &raw const *journal)) {
            journals.push(Arc::downgrade(&journal));
        }
        Ok(journal)
    }

    /// Every journal that is in use now.
    pub(crate) fn journals(&self) -> Vec<Arc<Journal>> {
        let journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.iter().filter_map(Weak::upgrade).collect()
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
