//! The one place where event APIs are created, changed, deployed and removed, whoever asks.
//!
//! Every change goes the same way: one at a time, judged as a whole, kept in the store, then made to run.
//! A change that is refused or cannot be kept leaves what runs as it is. A definition exists twice, as the
//! draft that is edited and as the deployed one that runs; plans take effect at once.

mod applications;
mod credentials;
mod error;
mod files;
mod hub;
mod imports;
mod masks;
mod plans;
mod rules;
mod start;
mod subscriptions;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use sluice_api::{ApiId, ApplicationId, EventApi, Problem};
use sluice_broker::{DriverError, SpoolStatus};
use sluice_gateway::{BrokerStatus, Gateway};
use sluice_receiver::{PublishFailure, Streams};
use sluice_store::{ApiRecord, ApplicationRecord, Catalogue, Store, Timestamp};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

pub use applications::NewApplication;
use credentials::CredentialTable;
pub use credentials::NewApiKey;
pub use error::RegistryError;
pub(crate) use error::sentences;
pub use files::FileDefinition;
pub(crate) use masks::unmask_plan;
use subscriptions::{Among, SubscriptionTable};
pub use subscriptions::{Decision, NewSubscription, Side, SubscriptionFilter, SubscriptionUpdate};

/// All event APIs, applications and subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    gateway: Gateway,
    /// Held by the one change that is under way.
    changing: Mutex<()>,
    /// What readers see; written by the holder of `changing` only, once a change is complete.
    state: RwLock<State>,
    /// Told when the end of some lease may be another one.
    leases_changed: Arc<Notify>,
    /// What the hub has verified and waits for its turn.
    settling: hub::Settling,
}

#[derive(Default)]
struct State {
    apis: BTreeMap<ApiId, Arc<ManagedApi>>,
    unreadable: BTreeMap<ApiId, String>,
    /// What speaks against files that define nothing which runs.
    refused_files: BTreeMap<PathBuf, String>,
    applications: BTreeMap<ApplicationId, Arc<ApplicationRecord>>,
    subscriptions: SubscriptionTable,
    credentials: CredentialTable,
}

/// An event API as the registry knows it.
#[derive(Debug, Clone)]
pub struct ManagedApi {
    /// Definitions, plans, times.
    pub record: ApiRecord,
    /// Where it is managed.
    pub origin: Origin,
    /// Whether the gateway does with it what the record says.
    pub settled: bool,
    /// Why it does not run, or not in its newest form, although it should; empty when all is well.
    pub faults: Vec<Problem>,
}

/// Where an event API is managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Through a management API; kept in the store.
    Management,
    /// In this file; never stored.
    File(PathBuf),
}

/// Which version of an event API the caller means to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whichever is there.
    Any,
    /// Only one that was last changed at one of these times.
    UpdatedAt(Vec<Timestamp>),
}

impl Registry {
    /// Who is connected, and who was too slow.
    pub fn streams(&self) -> &Streams {
        self.inner.gateway.streams()
    }

    /// How the brokers of an API are doing, the one that serves first; nothing where it is not served.
    pub fn broker_status(&self, id: &ApiId) -> Vec<BrokerStatus> {
        self.inner.gateway.broker_status(id)
    }

    /// Why the last publish to an API failed; `None` where it succeeded, there was none, or the API is not served.
    pub fn publish_failure(&self, id: &ApiId) -> Option<PublishFailure> {
        self.inner.gateway.publish_failure(id)
    }

    /// How the spool of an API stands; `None` where it has none.
    pub fn spool_status(&self, id: &ApiId) -> Option<SpoolStatus> {
        self.inner.gateway.spool_status(id)
    }

    /// Lets the broker of an API have once more what was set aside in its spool; returns how many messages.
    pub async fn retry_spool(&self, id: &ApiId) -> Result<u64, RegistryError> {
        self.get(id)?;
        spooled(self.inner.gateway.retry_spool(id).await)
    }

    /// Deletes what is set aside in the spool of an API; returns how many messages that were.
    pub async fn discard_set_aside(&self, id: &ApiId) -> Result<u64, RegistryError> {
        self.get(id)?;
        spooled(self.inner.gateway.discard_set_aside(id).await)
    }

    /// What the gateway counts, in the OpenMetrics text format.
    pub fn metrics_text(&self) -> String {
        self.inner.gateway.metrics_text()
    }

    /// One event API.
    pub fn get(&self, id: &ApiId) -> Result<Arc<ManagedApi>, RegistryError> {
        self.inner.get(id)
    }

    /// Every event API in the order of creation.
    pub fn list(&self) -> Vec<Arc<ManagedApi>> {
        let mut apis: Vec<_> = self.inner.read().apis.values().cloned().collect();
        apis.sort_by_key(|api| api.record.created_at);
        apis
    }

    /// The event APIs that are to be served and are not, or not in their newest form, and why.
    pub fn not_served(&self) -> Vec<(ApiId, String)> {
        let state = self.inner.read();
        let faulty = state.apis.iter().filter(|(_, api)| !api.faults.is_empty());
        let faulty = faulty.map(|(id, api)| (id.clone(), sentences(&api.faults)));
        faulty.chain(state.unreadable.clone()).collect()
    }

    /// The definition files that are not followed and define nothing that runs, and why.
    pub fn refused_files(&self) -> BTreeMap<PathBuf, String> {
        self.inner.read().refused_files.clone()
    }

    /// Creates a stopped event API; plans in it become its plans. Without an id it gets a new one.
    pub async fn create(
        &self,
        mut draft: EventApi,
        catalogue: Catalogue,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        self.exclusively(async move |inner| {
            let now = Timestamp::now();
            if draft.id.0.is_empty() {
                draft.id = ApiId(Uuid::new_v4().to_string());
            } else if inner.knows(&draft.id) {
                return Err(id_taken(&draft.id));
            }
            let problems = masks::unmask(&mut draft, None);
            if !problems.is_empty() {
                return Err(RegistryError::Invalid(problems));
            }
            let record = ApiRecord { catalogue, ..plans::first_record(draft, now) };
            inner.settle(None, record).await
        })
        .await
    }

    /// Replaces the draft. A secret that comes back as the mask keeps its value. What runs stays as it is
    /// until the next [`deploy`](Self::deploy).
    pub async fn update(
        &self,
        id: &ApiId,
        expected: Expected,
        mut draft: EventApi,
        catalogue: Catalogue,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        draft.id = id.clone();
        self.change(id, expected, move |record, _| {
            let problems = masks::unmask(&mut draft, Some(&record.draft));
            if !problems.is_empty() {
                return Err(RegistryError::Invalid(problems));
            }
            record.draft = draft;
            // What other contracts keep beside it stays.
            record.catalogue.extend(catalogue);
            Ok(())
        })
        .await
    }

    /// Serves the deployed definition from now on; the first time, the draft is deployed.
    pub async fn start(&self, id: &ApiId, expected: Expected) -> Result<Arc<ManagedApi>, RegistryError> {
        self.change(id, expected, |record, now| {
            if record.started {
                return Err(RegistryError::refused("", "api.started", "The API is already started."));
            }
            record.started = true;
            if record.deployed.is_none() {
                record.deployed = Some(record.draft.clone());
                record.deployed_at = Some(now);
            }
            Ok(())
        })
        .await
    }

    /// Stops serving. What is in flight is finished in the background, within the gateway's bound.
    pub async fn stop(&self, id: &ApiId, expected: Expected) -> Result<Arc<ManagedApi>, RegistryError> {
        self.change(id, expected, |record, _| {
            if !record.started {
                return Err(RegistryError::refused("", "api.stopped", "The API is already stopped."));
            }
            record.started = false;
            Ok(())
        })
        .await
    }

    /// Makes the draft the deployed definition, which a started API serves at once.
    pub async fn deploy(&self, id: &ApiId, expected: Expected) -> Result<Arc<ManagedApi>, RegistryError> {
        self.change(id, expected, |record, now| {
            record.deployed = Some(record.draft.clone());
            record.deployed_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Deletes a stopped event API with its plans and subscriptions; published plans must be closed before, or
    /// be meant to be closed with it.
    pub async fn delete(
        &self,
        id: &ApiId,
        expected: Expected,
        close_plans: bool,
    ) -> Result<(), RegistryError> {
        let id = id.clone();
        self.exclusively(async move |inner| {
            match inner.managed(&id, &expected) {
                Ok(api) => refuse_deletion(&api.record, close_plans)?,
                Err(RegistryError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
            inner.store.delete_api(&id).await?;
            {
                let mut state = inner.write();
                state.apis.remove(&id);
                state.unreadable.remove(&id);
                state.credentials.remove(&id);
            }
            inner.forget_subscriptions_to(&id);
            inner.gateway.forget_clients(&id).await;
            tracing::info!(api = %id, "An event API was deleted.");
            Ok(())
        })
        .await
    }

    /// One change to one managed API, from its record as it is to the record as it shall be.
    async fn change(
        &self,
        id: &ApiId,
        expected: Expected,
        edit: impl FnOnce(&mut ApiRecord, Timestamp) -> Result<(), RegistryError> + Send + 'static,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        let id = id.clone();
        self.exclusively(async move |inner| {
            let former = inner.managed(&id, &expected)?;
            let mut record = former.record.clone();
            record.updated_at = Timestamp::now_after(record.updated_at);
            let now = record.updated_at;
            edit(&mut record, now)?;
            inner.settle(Some(&former), record).await
        })
        .await
    }

    /// Runs a change when no other is under way, and to its end even if the caller goes away: half a change
    /// would leave the store and what runs apart.
    async fn exclusively<T, F>(
        &self,
        change: impl FnOnce(Arc<Inner>) -> F + Send + 'static,
    ) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RegistryError>> + Send,
    {
        let inner = Arc::clone(&self.inner);
        let task = async move {
            let held = Arc::clone(&inner);
            let _turn = held.changing.lock().await;
            change(inner).await
        };
        tokio::spawn(task).await?
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &ApiId) -> Result<Arc<ManagedApi>, RegistryError> {
        let state = self.read();
        if let Some(reason) = state.unreadable.get(id) {
            return Err(RegistryError::Unreadable { id: id.clone(), reason: reason.clone() });
        }
        state.apis.get(id).cloned().ok_or_else(|| RegistryError::ApiNotFound(id.clone()))
    }

    fn knows(&self, id: &ApiId) -> bool {
        !matches!(self.get(id), Err(RegistryError::ApiNotFound(_)))
    }

    /// An API that may be changed through a management API.
    fn managed(&self, id: &ApiId, expected: &Expected) -> Result<Arc<ManagedApi>, RegistryError> {
        let api = self.get(id)?;
        if let Origin::File(file) = &api.origin {
            return Err(RegistryError::ManagedByFile { id: id.clone(), file: file.clone() });
        }
        match expected {
            Expected::UpdatedAt(times) if !times.contains(&api.record.updated_at) => {
                Err(RegistryError::Outdated(id.clone()))
            }
            Expected::UpdatedAt(_) | Expected::Any => Ok(api),
        }
    }

    /// The paths of a changed definition that other APIs hold.
    fn taken_paths(&self, former: Option<&ManagedApi>, record: &ApiRecord) -> Vec<Problem> {
        if former.is_some_and(|former| former.record.draft == record.draft) {
            return Vec::new();
        }
        let state = self.read();
        let others = state.apis.values().filter(|other| other.record.id() != record.id());
        rules::taken_paths(&record.draft.paths, others.flat_map(|other| rules::held_paths(&other.record)))
    }

    /// Everything that speaks against a record by itself, given the one it replaces. What did not change is
    /// not judged again, so that an API that no longer compiles can still be stopped.
    fn examine(&self, former: Option<&ManagedApi>, record: &ApiRecord) -> Vec<Problem> {
        let mut problems = Vec::new();
        let former_record = former.map(|api| &api.record);
        let known = |plan| former_record.is_some_and(|former| former.plans.contains(plan));
        let new_plan = record.plans.iter().any(|plan| plan.closed_at.is_none() && !known(plan));
        if new_plan || former_record.is_none_or(|former| former.draft != record.draft) {
            problems.extend(rules::second_key_less_plan(&record.plans));
            problems.extend(rules::second_plan_of_an_id(&record.plans));
            problems.extend(self.gateway.check(&rules::with_plans(&record.draft, &record.plans)));
        }
        if problems.is_empty() {
            problems.extend(to_deploy(former, record).iter().flat_map(|live| self.gateway.check(live)));
        }
        problems
    }

    /// Judges a record, keeps it, and makes run what it says.
    async fn settle(
        &self,
        former: Option<&ManagedApi>,
        record: ApiRecord,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        let mut problems = self.taken_paths(former, &record);
        problems.extend(self.examine(former, &record));
        if !problems.is_empty() {
            return Err(RegistryError::Invalid(problems));
        }
        self.store.save_api(&record).await?;
        let changed = Among::OfApi(record.id().clone());
        let shown = self.run(former, record, Origin::Management);
        self.close_ended_subscriptions(&changed).await?;
        shown
    }

    /// Makes run what a record says and shows it to readers.
    fn run(
        &self,
        former: Option<&ManagedApi>,
        record: ApiRecord,
        origin: Origin,
    ) -> Result<Arc<ManagedApi>, RegistryError> {
        let id = record.id().clone();
        let mut faults = Vec::new();
        if let Some(live) = to_deploy(former, &record) {
            // Whoever asked for it tells the log.
            faults = self.gateway.deploy(live).err().unwrap_or_default();
        } else if !record.started && former.is_some_and(|former| former.record.started) {
            self.gateway.undeploy(&id);
        }
        // What of an API its subscribers are given.
        let given = |record: &ApiRecord| (record.plans.clone(), hub::served_websub(record).cloned());
        let other_given = former.is_none_or(|former| given(&former.record) != given(&record));
        let api = Arc::new(ManagedApi { record, origin, settled: faults.is_empty(), faults });
        self.write().apis.insert(id.clone(), Arc::clone(&api));
        if other_given {
            self.serve_subscriptions(&Among::OfApi(id.clone()));
        }
        if api.settled { Ok(api) } else { Err(RegistryError::NotServed { id, problems: api.faults.clone() }) }
    }
}

/// What the gateway has to be given for this record; nothing when it serves that already or should not
/// serve it at all.
fn to_deploy(former: Option<&ManagedApi>, record: &ApiRecord) -> Option<EventApi> {
    let live = live(record)?;
    let serving = former.filter(|former| former.settled).and_then(|former| self::live(&former.record));
    (serving.as_ref() != Some(&live)).then_some(live)
}

/// What a record says should be served.
fn live(record: &ApiRecord) -> Option<EventApi> {
    let deployed = record.deployed.as_ref().filter(|_| record.started)?;
    Some(rules::with_plans(deployed, &record.plans))
}

/// What came of a call on a spool, where there is one.
fn spooled(messages: Option<Result<u64, DriverError>>) -> Result<u64, RegistryError> {
    match messages {
        Some(messages) => messages.map_err(RegistryError::Spool),
        None => Err(RegistryError::refused("", "spool.none", "The API has no spool, or is not served.")),
    }
}

fn refuse_deletion(record: &ApiRecord, close_plans: bool) -> Result<(), RegistryError> {
    if record.started {
        let message = "The API is started; stop it before deleting it.";
        return Err(RegistryError::refused("", "api.running", message));
    }
    let open = record.plans.iter().map(|plan| &plan.plan).filter(|plan| plan.status.admits());
    let open: Vec<_> = open.map(|plan| plan.name.as_str()).collect();
    if open.is_empty() || close_plans {
        return Ok(());
    }
    let message = format!("Plan(s) [{}] must be closed before the API can be deleted.", open.join(", "));
    Err(RegistryError::refused("", "api.notDeletable", message))
}

fn id_taken(id: &ApiId) -> RegistryError {
    RegistryError::refused("id", "api.id.exists", format!("There is already an API with the id '{id}'."))
}
