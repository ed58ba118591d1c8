//! Applications: who subscribes to plans.

use std::sync::Arc;

use sluice_api::ApplicationId;
use sluice_store::{ApplicationRecord, Catalogue, Timestamp};
use uuid::Uuid;

use super::{Among, Inner, Registry, RegistryError, hub::HUB};

/// What is said about an application when it is created or changed.
#[derive(Debug, Clone)]
pub struct NewApplication {
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// The name under which it is known to an authorization server.
    pub client_id: Option<String>,
    /// What a contract keeps beside it.
    pub catalogue: Catalogue,
}

type Changed = Result<Arc<ApplicationRecord>, RegistryError>;

impl Registry {
    /// Creates an application under a new id.
    pub async fn create_application(&self, wanted: NewApplication) -> Changed {
        self.exclusively(async move |inner| {
            let now = Timestamp::now();
            let NewApplication { name, description, client_id, catalogue } = wanted;
            let record = ApplicationRecord {
                id: ApplicationId(Uuid::new_v4().to_string()),
                name,
                description,
                client_id,
                catalogue,
                created_at: now,
                updated_at: now,
                archived_at: None,
            };
            inner.keep_application(record).await
        })
        .await
    }

    /// Replaces what is said about an application; its subscriptions go on with its new name.
    pub async fn update_application(&self, id: &ApplicationId, wanted: NewApplication) -> Changed {
        self.change_application(id, |record, _| {
            if record.archived_at.is_some() {
                return Err(archived(&record.id));
            }
            let NewApplication { name, description, client_id, catalogue } = wanted;
            (record.name, record.description) = (name, description);
            (record.client_id, record.catalogue) = (client_id, catalogue);
            Ok(())
        })
        .await
    }

    /// Puts an application away and closes its subscriptions.
    pub async fn archive_application(&self, id: &ApplicationId) -> Changed {
        self.change_application(id, |record, now| {
            if record.archived_at.is_some() {
                return Err(archived(&record.id));
            }
            refuse_built_in(&record.id, "can not be archived")?;
            record.archived_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Takes an archived application into use again. Its subscriptions stay closed.
    pub async fn restore_application(&self, id: &ApplicationId) -> Changed {
        self.change_application(id, |record, _| match record.archived_at.take() {
            Some(_) => Ok(()),
            None => Err(RegistryError::refused("", "application.active", "The application is not archived.")),
        })
        .await
    }

    /// One application, archived or not.
    pub fn application(&self, id: &ApplicationId) -> Result<Arc<ApplicationRecord>, RegistryError> {
        self.inner.application(id)
    }

    /// Every application in the order of creation, archived ones among them.
    pub fn applications(&self) -> Vec<Arc<ApplicationRecord>> {
        let mut applications: Vec<_> = self.inner.read().applications.values().cloned().collect();
        applications.sort_by_key(|application| application.created_at);
        applications
    }

    async fn change_application(
        &self,
        id: &ApplicationId,
        edit: impl FnOnce(&mut ApplicationRecord, Timestamp) -> Result<(), RegistryError> + Send + 'static,
    ) -> Changed {
        let id = id.clone();
        self.exclusively(async move |inner| {
            let mut record = (*inner.application(&id)?).clone();
            record.updated_at = Timestamp::now_after(record.updated_at);
            let now = record.updated_at;
            edit(&mut record, now)?;
            let record = inner.keep_application(record).await?;
            let its = Among::OfApplication(id);
            inner.close_ended_subscriptions(&its).await?;
            inner.serve_subscriptions(&its);
            Ok(record)
        })
        .await
    }
}

impl Inner {
    pub(super) fn application(&self, id: &ApplicationId) -> Result<Arc<ApplicationRecord>, RegistryError> {
        let application = self.read().applications.get(id).cloned();
        application.ok_or_else(|| RegistryError::ApplicationNotFound(id.clone()))
    }

    /// One application that is not archived, and may subscribe.
    pub(super) fn application_in_use(&self, id: &ApplicationId) -> Changed {
        refuse_built_in(id, "subscribes at hubs only")?;
        let application = self.application(id)?;
        if application.archived_at.is_some() { Err(archived(id)) } else { Ok(application) }
    }

    pub(super) async fn keep_application(&self, record: ApplicationRecord) -> Changed {
        self.store.save_application(&record).await?;
        let record = Arc::new(record);
        self.write().applications.insert(record.id.clone(), Arc::clone(&record));
        Ok(record)
    }
}

/// The application that stands for whoever subscribes at a hub.
fn refuse_built_in(id: &ApplicationId, what: &str) -> Result<(), RegistryError> {
    if id.0 != HUB {
        return Ok(());
    }
    let message =
        format!("The application [{id}] stands for the subscribers at the hubs of this gateway; it {what}.");
    Err(RegistryError::conflict("", "application.builtIn", message))
}

fn archived(id: &ApplicationId) -> RegistryError {
    let message = format!("The application [{id}] is archived; restore it first.");
    RegistryError::refused("", "application.archived", message)
}
