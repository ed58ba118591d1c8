//! Bringing in a definition with its plans at once, and asking beforehand whether paths are free.

use std::sync::Arc;

use sluice_api::{ApiId, EventApi, HttpPath, Plan, PlanId, Problem};
use sluice_store::{ApiRecord, Catalogue, Timestamp};
use uuid::Uuid;

use super::{ManagedApi, Registry, RegistryError, masks, plans, rules};

impl Registry {
    /// Creates a stopped event API under a new id with these plans, each with what a contract keeps beside it;
    /// all of it or nothing. Plans without an id get a new one.
    pub async fn import(
        &self,
        mut draft: EventApi,
        catalogue: Catalogue,
        with: Vec<(Plan, Catalogue)>,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        self.exclusively(async move |inner| {
            draft.id = ApiId(Uuid::new_v4().to_string());
            let problems = masks::unmask(&mut draft, None);
            if !problems.is_empty() {
                return Err(RegistryError::Invalid(problems));
            }
            let mut record = ApiRecord { catalogue, ..plans::first_record(draft, Timestamp::now()) };
            for (mut plan, catalogue) in with {
                if plan.id.0.is_empty() {
                    plan.id = PlanId(Uuid::new_v4().to_string());
                }
                record.plans.push(plans::plan_record(plan, catalogue, record.created_at));
            }
            inner.settle(None, record).await
        })
        .await
    }

    /// What speaks against an event API having these paths; `api` is the one that is to have them, where it
    /// is there already.
    pub fn path_problems(&self, api: Option<&ApiId>, paths: &[HttpPath]) -> Vec<Problem> {
        let mut problems = HttpPath::problems(paths);
        let state = self.inner.read();
        let others = state.apis.values().filter(|other| Some(other.record.id()) != api);
        problems.extend(rules::taken_paths(paths, others.flat_map(|other| rules::held_paths(&other.record))));
        problems
    }
}
