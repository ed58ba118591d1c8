//! Event APIs that are managed in files: whatever the files say now is what runs.
//!
//! A file that can not be read or deployed changes nothing: its event API runs on as it was, and the fault
//! is told. Which files those are is known before anything is changed.

mod contest;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use sluice_api::{ApiId, EventApi, Problem};
use sluice_store::{ApiRecord, Timestamp};

use super::{
    Among, Inner, ManagedApi, Origin, Registry, RegistryError, masks, plans::first_record, sentences,
};

/// What a file holds: a definition, or the reasons why it can not be read.
pub type FileDefinition = Result<EventApi, Vec<Problem>>;

/// What speaks against files. What such a file asked for before stays as it is.
type Faults = BTreeMap<PathBuf, Vec<Problem>>;

/// What a file asks for, when nothing in it speaks against that.
struct Wish {
    file: PathBuf,
    record: ApiRecord,
}

impl Registry {
    /// Makes the event APIs managed in files equal to these: new and changed ones are deployed, vanished ones
    /// undeployed, all others left alone. Files are judged together, so that ids and paths may change hands
    /// among them; of two that newly want the same, the earlier in `files` gets it. Returns what speaks
    /// against a file; its event API then stays as it was.
    pub async fn sync_files(
        &self,
        files: Vec<(PathBuf, FileDefinition)>,
    ) -> Result<Vec<(PathBuf, Problem)>, RegistryError> {
        self.exclusively(async move |inner| Ok(inner.sync_files(files))).await
    }
}

impl Inner {
    fn sync_files(&self, files: Vec<(PathBuf, FileDefinition)>) -> Vec<(PathBuf, Problem)> {
        let mut faults = Faults::new();
        let mut wishes = Vec::new();
        for (file, definition) in files {
            match definition.and_then(|api| self.wished(api)) {
                Ok(record) => wishes.push(Wish { file, record }),
                Err(problems) => {
                    faults.insert(file, problems);
                }
            }
        }
        let known: Vec<_> = self.read().apis.values().cloned().collect();
        let wishes = contest::settle(wishes, &known, &mut faults);
        for wish in &wishes {
            if let Err(problems) = self.grant(wish) {
                faults.insert(wish.file.clone(), problems);
            }
        }
        // Last, so that clients of an API that got a new id find it when they are told to reconnect.
        self.remove_vanished(&known, &wishes, &faults);
        self.show_faults(&faults);
        let told = faults.into_iter();
        told.flat_map(|(file, problems)| problems.into_iter().map(move |it| (file.clone(), it))).collect()
    }

    /// The record for a definition, judged by itself.
    fn wished(&self, mut api: EventApi) -> Result<ApiRecord, Vec<Problem>> {
        let former = self.former(&api.id)?;
        let problems = masks::unmask(&mut api, None);
        if !problems.is_empty() {
            return Err(problems);
        }
        let record = file_record(api, former.as_deref());
        let problems = self.examine(former.as_deref(), &record);
        if problems.is_empty() { Ok(record) } else { Err(problems) }
    }

    /// What runs under this id, unless a file may not change it.
    fn former(&self, id: &ApiId) -> Result<Option<Arc<ManagedApi>>, Vec<Problem>> {
        match self.get(id) {
            Ok(api) if api.origin != Origin::Management => Ok(Some(api)),
            Err(RegistryError::ApiNotFound(_)) => Ok(None),
            _ => {
                let message = format!("An API with the id '{id}' is managed through the management API.");
                Err(vec![Problem::new("id", "api.id.exists", message)])
            }
        }
    }

    fn grant(&self, wish: &Wish) -> Result<(), Vec<Problem>> {
        let former = self.former(wish.record.id())?;
        match self.run(former.as_deref(), wish.record.clone(), Origin::File(wish.file.clone())) {
            Err(RegistryError::NotServed { problems, .. }) => Err(problems),
            _ => Ok(()),
        }
    }

    fn remove_vanished(&self, known: &[Arc<ManagedApi>], wishes: &[Wish], faults: &Faults) {
        for api in known.iter().filter(|api| !stays(api, faults)) {
            let id = api.record.id();
            if wishes.iter().all(|wish| wish.record.id() != id) {
                self.gateway.undeploy(id);
                self.write().apis.remove(id);
                self.serve_subscriptions(&Among::OfApi(id.clone()));
                tracing::info!(api = %id, "No file asks for this event API any more.");
            }
        }
    }

    /// Lets readers see which event APIs do not run in the form that their file has now.
    fn show_faults(&self, faults: &Faults) {
        let mut state = self.write();
        let mut refused: BTreeMap<_, _> =
            faults.iter().map(|(file, problems)| (file.clone(), sentences(problems))).collect();
        for api in state.apis.values_mut() {
            if let Some(file) = file_of(api)
                && let Some(problems) = faults.get(file)
            {
                refused.remove(file);
                *api = Arc::new(ManagedApi { faults: problems.clone(), ..(**api).clone() });
            }
        }
        state.refused_files = refused;
    }
}

fn file_of(api: &ManagedApi) -> Option<&Path> {
    match &api.origin {
        Origin::File(file) => Some(file),
        Origin::Management => None,
    }
}

/// Whether no file can change this event API now.
fn stays(api: &ManagedApi, faults: &Faults) -> bool {
    file_of(api).is_none_or(|file| faults.contains_key(file))
}

/// A definition from a file is always deployed and started; its times are those of the process.
fn file_record(api: EventApi, former: Option<&ManagedApi>) -> ApiRecord {
    let now = former.map_or_else(Timestamp::now, |former| Timestamp::now_after(former.record.updated_at));
    let mut record = first_record(api, now);
    record.deployed = Some(record.draft.clone());
    record.deployed_at = Some(now);
    record.started = true;
    let Some(former) = former.map(|former| &former.record) else { return record };
    let same_plans = record.plans.iter().map(|it| &it.plan).eq(former.plans.iter().map(|it| &it.plan));
    if same_plans && record.draft == former.draft {
        return former.clone();
    }
    ApiRecord { created_at: former.created_at, ..record }
}
