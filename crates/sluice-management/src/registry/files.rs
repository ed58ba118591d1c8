//! Event APIs that are managed in files: whatever the files say now is what runs.
//!
//! A file that can not be read or deployed changes nothing: its event API runs on as it was, and the fault
//! is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use sluice_api::{ApiId, EventApi, Problem};
use sluice_store::{ApiRecord, Timestamp};

use super::{Inner, ManagedApi, Origin, Registry, RegistryError, plans::first_record, rules};

/// What a file holds: a definition, or the reasons why it can not be read.
pub type FileDefinition = Result<EventApi, Vec<Problem>>;

impl Registry {
    /// Makes the event APIs managed in files equal to these: new and changed ones are deployed, vanished ones
    /// undeployed, all others left alone. Returns what speaks against a file; its event API then stays as
    /// it was.
    pub async fn sync_files(
        &self,
        files: Vec<(PathBuf, FileDefinition)>,
    ) -> Result<Vec<(PathBuf, Problem)>, RegistryError> {
        self.exclusively(async move |inner| Ok(inner.sync_files(files).await)).await
    }
}

impl Inner {
    async fn sync_files(&self, files: Vec<(PathBuf, FileDefinition)>) -> Vec<(PathBuf, Problem)> {
        let mut faults: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        let mut wanted: BTreeMap<ApiId, (PathBuf, EventApi)> = BTreeMap::new();
        for (path, definition) in files {
            match definition {
                Err(problems) => faults.entry(path).or_default().extend(problems),
                Ok(api) if wanted.contains_key(&api.id) => {
                    let problem = taken_id(&api.id, &wanted[&api.id].0);
                    faults.entry(path).or_default().push(problem);
                }
                Ok(api) => {
                    wanted.insert(api.id.clone(), (path, api));
                }
            }
        }
        let unreadable: BTreeSet<PathBuf> = faults.keys().cloned().collect();
        self.remove_vanished(|id, file| wanted.contains_key(id) || unreadable.contains(file)).await;
        self.deploy_wanted(wanted, &mut faults).await;
        self.show_faults(&faults);
        let told = faults.into_iter();
        told.flat_map(|(path, problems)| problems.into_iter().map(move |it| (path.clone(), it))).collect()
    }

    async fn remove_vanished(&self, stays: impl Fn(&ApiId, &Path) -> bool) {
        let known: Vec<_> = self.read().apis.values().cloned().collect();
        for api in known {
            let Origin::File(file) = &api.origin else { continue };
            let id = api.record.id();
            if !stays(id, file) {
                self.gateway.undeploy(id).await;
                self.write().apis.remove(id);
                tracing::info!(api = %id, file = %file.display(), "The file of an event API is gone.");
            }
        }
    }

    /// A path may change hands among files, so what is refused is tried again as long as others succeed.
    async fn deploy_wanted(
        &self,
        mut wanted: BTreeMap<ApiId, (PathBuf, EventApi)>,
        faults: &mut BTreeMap<PathBuf, Vec<Problem>>,
    ) {
        loop {
            let before = wanted.len();
            let mut refused = BTreeMap::new();
            let mut reasons = Vec::new();
            for (id, (path, api)) in wanted {
                if let Err(problems) = self.deploy_file(&path, &api).await {
                    reasons.push((path.clone(), problems));
                    refused.insert(id, (path, api));
                }
            }
            if refused.is_empty() || refused.len() == before {
                for (path, problems) in reasons {
                    faults.entry(path).or_default().extend(problems);
                }
                return;
            }
            wanted = refused;
        }
    }

    async fn deploy_file(&self, path: &Path, api: &EventApi) -> Result<(), Vec<Problem>> {
        let former = self.get(&api.id).ok();
        if former.as_ref().is_some_and(|former| former.origin == Origin::Management)
            || self.read().unreadable.contains_key(&api.id)
        {
            let message = format!("An API with the id '{}' is managed through the management API.", api.id);
            return Err(vec![Problem::new("id", "api.id.exists", message)]);
        }
        let mut api = api.clone();
        let problems = rules::unmask(&mut api, None);
        if !problems.is_empty() {
            return Err(problems);
        }
        let record = file_record(api, former.as_deref());
        let problems = self.examine(former.as_deref(), &record);
        if !problems.is_empty() {
            return Err(problems);
        }
        match self.run(former.as_deref(), record, Origin::File(path.to_owned())).await {
            Err(RegistryError::NotServed { problems, .. }) => Err(problems),
            _ => Ok(()),
        }
    }

    /// Lets readers see which event APIs do not run in the form that their file has now.
    fn show_faults(&self, faults: &BTreeMap<PathBuf, Vec<Problem>>) {
        for api in self.write().apis.values_mut() {
            if let Origin::File(file) = &api.origin
                && let Some(problems) = faults.get(file)
            {
                *api = Arc::new(ManagedApi { faults: problems.clone(), ..(**api).clone() });
            }
        }
    }
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

fn taken_id(id: &ApiId, file: &Path) -> Problem {
    let message = format!("The file {} has an API with the id '{id}' already.", file.display());
    Problem::new("id", "api.id.exists", message)
}
