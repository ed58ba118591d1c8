//! Applications: who subscribes to plans.

use std::sync::Arc;

use sluice_store::{ApplicationId, ApplicationRecord, Catalogue, Timestamp};
use uuid::Uuid;

use super::{Registry, RegistryError};

impl Registry {
    /// Creates an application under a new id.
    pub async fn create_application(
        &self,
        name: String,
        description: String,
        catalogue: Catalogue,
    ) -> Result<Arc<ApplicationRecord>, RegistryError> {
        self.exclusively(async move |inner| {
            let (id, now) = (ApplicationId(Uuid::new_v4().to_string()), Timestamp::now());
            let record =
                ApplicationRecord { id, name, description, catalogue, created_at: now, updated_at: now };
            inner.store.save_application(&record).await?;
            let record = Arc::new(record);
            inner.write().applications.insert(record.id.clone(), Arc::clone(&record));
            Ok(record)
        })
        .await
    }

    /// One application.
    pub fn application(&self, id: &ApplicationId) -> Result<Arc<ApplicationRecord>, RegistryError> {
        let application = self.inner.read().applications.get(id).cloned();
        application.ok_or_else(|| RegistryError::ApplicationNotFound(id.clone()))
    }

    /// Every application in the order of creation.
    pub fn applications(&self) -> Vec<Arc<ApplicationRecord>> {
        let mut applications: Vec<_> = self.inner.read().applications.values().cloned().collect();
        applications.sort_by_key(|application| application.created_at);
        applications
    }
}
