//! Plans of managed APIs. A change takes effect on a running API at once.

use std::sync::Arc;

use sluice_api::{ApiId, EventApi, Plan, PlanId, PlanStatus};
use sluice_store::{ApiRecord, Catalogue, PlanRecord, Timestamp};
use uuid::Uuid;

use super::{Expected, ManagedApi, Registry, RegistryError, masks};

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
            unmask(&mut plan, None)?;
            record.plans.push(plan_record(plan, catalogue, now));
            Ok(())
        });
        changed_plan(&changed.await?, &id)
    }

    /// Replaces a plan that is not closed; its status stays as it is.
    pub async fn update_plan(
        &self,
        api: &ApiId,
        mut plan: Plan,
        catalogue: Catalogue,
    ) -> Result<PlanRecord, RegistryError> {
        let id = plan.id.clone();
        self.change_plan(api, &id, move |record, _| {
            if record.plan.status == PlanStatus::Closed {
                return Err(closed());
            }
            unmask(&mut plan, Some(&record.plan))?;
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

    /// Deprecates a published plan: who has it keeps it, nobody gets it anew.
    pub async fn deprecate_plan(&self, api: &ApiId, plan: &PlanId) -> Result<PlanRecord, RegistryError> {
        self.change_plan(api, plan, |record, _| match record.plan.status {
            PlanStatus::Published => {
                record.plan.status = PlanStatus::Deprecated;
                Ok(())
            }
            PlanStatus::Staging => {
                Err(RegistryError::refused("", "plan.staging", "The plan is not published yet."))
            }
            PlanStatus::Deprecated => {
                Err(RegistryError::refused("", "plan.deprecated", "The plan is already deprecated."))
            }
            PlanStatus::Closed => Err(closed()),
        })
        .await
    }

    /// Deletes a plan that nobody uses: a staging or a closed one.
    pub async fn delete_plan(&self, api: &ApiId, plan: &PlanId) -> Result<(), RegistryError> {
        let id = plan.clone();
        let changed = self.change(api, Expected::Any, move |record, _| {
            let index = record.plans.iter().position(|record| record.plan.id == id);
            let index = index.ok_or(RegistryError::PlanNotFound(id))?;
            if record.plans[index].plan.status.admits() {
                let message = "The plan is in use; close it before deleting it.";
                return Err(RegistryError::refused("", "plan.notDeletable", message));
            }
            record.plans.remove(index);
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Closes a plan for good, and the subscriptions to it.
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

fn unmask(plan: &mut Plan, former: Option<&Plan>) -> Result<(), RegistryError> {
    let problems = masks::unmask_plan(plan, former);
    if problems.is_empty() { Ok(()) } else { Err(RegistryError::Invalid(problems)) }
}

/// The record of a plan that is new.
pub(super) fn plan_record(plan: Plan, catalogue: Catalogue, now: Timestamp) -> PlanRecord {
    PlanRecord {
        published_at: plan.status.admits().then_some(now),
        closed_at: (plan.status == PlanStatus::Closed).then_some(now),
        plan,
        catalogue,
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
        plans: plans.into_iter().map(|plan| plan_record(plan, Catalogue::new(), now)).collect(),
        started: false,
        catalogue: Catalogue::new(),
        created_at: now,
        updated_at: now,
        deployed_at: None,
    }
}
