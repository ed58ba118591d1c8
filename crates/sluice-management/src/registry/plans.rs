//! Plans of managed APIs. A change takes effect on a running API at once.

use std::sync::Arc;

use sluice_api::{ApiId, EventApi, Plan, PlanId, PlanStatus};
use sluice_store::{ApiRecord, Catalogue, PlanRecord, Timestamp};
use uuid::Uuid;

use super::{Expected, ManagedApi, Registry, RegistryError};

impl ManagedApi {
    /// One plan of this event API.
    pub fn plan(&self, id: &PlanId) -> Result<&PlanRecord, RegistryError> {
        let plan = self.record.plans.iter().find(|record| record.plan.id == *id);
        plan.ok_or_else(|| RegistryError::PlanNotFound(id.clone()))
    }
}

impl Registry {
    /// Adds a plan in its given status, staging or published. Without an id it gets a new one.
    pub async fn create_plan(
        &self,
        api: &ApiId,
        mut plan: Plan,
        catalogue: Catalogue,
    ) -> Result<PlanRecord, RegistryError> {
        if plan.id.0.is_empty() {
            plan.id = PlanId(Uuid::new_v4().to_string());
        }
        let id = plan.id.clone();
        let changed = self.change(api, Expected::Any, move |record, now| {
            record.plans.push(PlanRecord { catalogue, ..plan_record(plan, now) });
            Ok(())
        });
        changed_plan(&changed.await?, &id)
    }

    /// Replaces a plan that is not closed; its status stays as it is.
    pub async fn update_plan(
        &self,
        api: &ApiId,
        plan: Plan,
        catalogue: Catalogue,
    ) -> Result<PlanRecord, RegistryError> {
        let id = plan.id.clone();
        self.change_plan(api, &id, move |record, _| {
            if record.plan.status == PlanStatus::Closed {
                return Err(closed());
            }
            record.plan = Plan { status: record.plan.status, ..plan };
            record.catalogue = catalogue;
            Ok(())
        })
        .await
    }

    /// Publishes a staging plan.
    pub async fn publish_plan(&self, api: &ApiId, plan: &PlanId) -> Result<PlanRecord, RegistryError> {
        self.change_plan(api, plan, |record, now| match record.plan.status {
            PlanStatus::Staging => {
                record.plan.status = PlanStatus::Published;
                record.published_at = Some(now);
                Ok(())
            }
            PlanStatus::Published => {
                Err(RegistryError::refused("", "plan.published", "The plan is already published."))
            }
            PlanStatus::Deprecated => {
                let message = "The plan is deprecated and can not be published again.";
                Err(RegistryError::refused("", "plan.deprecated", message))
            }
            PlanStatus::Closed => Err(closed()),
        })
        .await
    }

    /// Closes a plan for good.
    pub async fn close_plan(&self, api: &ApiId, plan: &PlanId) -> Result<PlanRecord, RegistryError> {
        self.change_plan(api, plan, |record, now| {
            if record.plan.status == PlanStatus::Closed {
                return Err(closed());
            }
            record.plan.status = PlanStatus::Closed;
            record.closed_at = Some(now);
            Ok(())
        })
        .await
    }

    async fn change_plan(
        &self,
        api: &ApiId,
        plan: &PlanId,
        edit: impl FnOnce(&mut PlanRecord, Timestamp) -> Result<(), RegistryError> + Send + 'static,
    ) -> Result<PlanRecord, RegistryError> {
        let id = plan.clone();
        let changed = self.change(api, Expected::Any, move |record, now| {
            let found = record.plans.iter_mut().find(|record| record.plan.id == id);
            let plan = found.ok_or(RegistryError::PlanNotFound(id))?;
            plan.updated_at = now;
            edit(plan, now)
        });
        changed_plan(&changed.await?, plan)
    }
}

fn changed_plan(api: &Arc<ManagedApi>, id: &PlanId) -> Result<PlanRecord, RegistryError> {
    api.plan(id).cloned()
}

fn closed() -> RegistryError {
    RegistryError::refused("", "plan.closed", "The plan is closed.")
}

fn plan_record(plan: Plan, now: Timestamp) -> PlanRecord {
    PlanRecord {
        published_at: plan.status.admits().then_some(now),
        closed_at: (plan.status == PlanStatus::Closed).then_some(now),
        plan,
        catalogue: Catalogue::new(),
        created_at: now,
        updated_at: now,
    }
}

/// The record of a definition that is new: stopped, never deployed, its plans taken out of it.
pub(super) fn first_record(mut draft: EventApi, now: Timestamp) -> ApiRecord {
    let plans = std::mem::take(&mut draft.plans);
    ApiRecord {
        draft,
        deployed: None,
        plans: plans.into_iter().map(|plan| plan_record(plan, now)).collect(),
        started: false,
        catalogue: Catalogue::new(),
        created_at: now,
        updated_at: now,
        deployed_at: None,
    }
}
