//! API keys: who has one may use an API, as far as its policies ask for keys.

use std::sync::Arc;

use sluice_api::{ApiId, Problem, Secret};
use sluice_policy::ApiKey;
use sluice_store::{ApiKeyRecord, ApiKeySource, ApiKeyStatus, Timestamp};
use uuid::Uuid;

use super::{HeldCredentials, Inner, Registry, RegistryError, random_digits};
use crate::USER;

/// What the text of each key that is made here begins with.
const PREFIX: &str = "apip_";

/// Keys of one API that one user may have at once, not counting those that are revoked or have expired.
const QUOTA: usize = 10;

/// Keys of one API that are kept although they are revoked or have expired; the oldest go first.
const ENDED_KEPT: usize = 100;

/// The length of a name, of a text made elsewhere, and of what else is said about a key, in bytes.
const NAME: std::ops::RangeInclusive<usize> = 3..=63;
const TEXT: std::ops::RangeInclusive<usize> = 36..=512;
const MAX_NOTE: usize = 256;
const MAX_ROLES: usize = 64;
const MAX_ROLE: usize = 128;

/// What is shown in place of the middle of a text.
const STARS: &str = "********";

/// Characters of a text that are shown at its end.
const SHOWN: usize = 4;

/// An API key that is asked for.
#[derive(Debug, Clone, Default)]
pub struct NewApiKey {
    /// Its name: 3 to 63 small letters and digits, in words joined by `-`. Made up when absent.
    pub name: Option<String>,
    /// Its text, where somebody else has made it: 36 to 512 visible ASCII characters. Made here when absent.
    pub text: Option<Secret>,
    /// What is shown in place of the text; made of its end when absent.
    pub masked: Option<String>,
    /// When it ends; never when absent.
    pub expires_at: Option<Timestamp>,
    /// What it is called elsewhere.
    pub external_ref: Option<String>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// What its bearer is, for policies that ask for a role.
    pub roles: Vec<String>,
}

impl Registry {
    /// The keys of an API by their names, those among them that are revoked or have expired.
    pub fn api_keys(&self, api: &ApiId) -> Result<Vec<Arc<ApiKeyRecord>>, RegistryError> {
        self.get(api)?;
        Ok(self.inner.credentials_of(api, |held| held.keys.values().cloned().collect()))
    }

    /// How many keys the one who asks may still have made for an API.
    pub fn remaining_api_keys(&self, api: &ApiId) -> Result<usize, RegistryError> {
        self.get(api)?;
        Ok(self.inner.credentials_of(api, remaining))
    }

    /// Makes a key, and returns it with its text, which is shown nowhere else. The name of a revoked key is free.
    pub async fn create_api_key(
        &self,
        api: &ApiId,
        wanted: NewApiKey,
    ) -> Result<(Arc<ApiKeyRecord>, Secret), RegistryError> {
        let api = api.clone();
        self.exclusively(async move |inner| {
            inner.get(&api)?;
            let now = Timestamp::now();
            let (record, text) = inner.credentials_of(&api, |held| new_key(held, &api, wanted, now))?;
            Ok((inner.keep_api_key(record).await?, text))
        })
        .await
    }

    /// Gives a key that was made here another text; the former is good no more. Its time stays when `expires_at` is
    /// absent; an inner `None` is never.
    pub async fn regenerate_api_key(
        &self,
        api: &ApiId,
        name: &str,
        expires_at: Option<Option<Timestamp>>,
    ) -> Result<(Arc<ApiKeyRecord>, Secret), RegistryError> {
        let text = Secret::new(format!("{PREFIX}{}", random_digits()));
        let given = text.clone();
        let changed = self.change_api_key(api, name, move |_, record| {
            if record.source == ApiKeySource::External {
                let message =
                    "The text of this key was made elsewhere; replace it by another one from there.";
                return Err(RegistryError::refused("", "apiKey.external", message));
            }
            record.expires_at = expires_at.unwrap_or(record.expires_at);
            check_expiry(record.expires_at)?;
            (record.hash, record.masked) = (ApiKey::hash_of(text.expose()), masked(text.expose()));
            Ok(())
        });
        Ok((changed.await?, given))
    }

    /// Gives a key a text that was made elsewhere, and says anew what else there is to say of it; the former text is
    /// good no more.
    pub async fn replace_api_key(
        &self,
        api: &ApiId,
        name: &str,
        wanted: NewApiKey,
    ) -> Result<Arc<ApiKeyRecord>, RegistryError> {
        self.change_api_key(api, name, move |held, record| {
            let mut problems = wanted.problems();
            if wanted.name.as_ref().is_some_and(|name| *name != record.name) {
                let message = format!("The key is called '{}', and keeps its name.", record.name);
                problems.push(Problem::new("name", "apiKey.name.invalid", message));
            }
            let Some(text) = wanted.text.as_ref().filter(|_| problems.is_empty()) else {
                if wanted.text.is_none() {
                    let message = "Give the text that the key shall have.";
                    problems.push(Problem::new("text", "apiKey.text.invalid", message));
                }
                return Err(RegistryError::Invalid(problems));
            };
            refuse_known_text(held, &record.name, text)?;
            record.hash = ApiKey::hash_of(text.expose());
            record.masked = wanted.masked.unwrap_or_else(|| masked(text.expose()));
            (record.expires_at, record.source) = (wanted.expires_at, ApiKeySource::External);
            (record.external_ref, record.issuer) = (wanted.external_ref, wanted.issuer);
            record.roles = wanted.roles;
            Ok(())
        })
        .await
    }

    /// Takes a key away for good. One that is revoked stays so.
    pub async fn revoke_api_key(&self, api: &ApiId, name: &str) -> Result<Arc<ApiKeyRecord>, RegistryError> {
        let (api, name) = (api.clone(), name.to_owned());
        self.exclusively(async move |inner| {
            let mut record = inner.api_key(&api, &name)?;
            if record.status == ApiKeyStatus::Active {
                record.updated_at = Timestamp::now_after(record.updated_at);
                record.status = ApiKeyStatus::Revoked;
            }
            inner.keep_api_key(record).await
        })
        .await
    }

    /// One change to a key that is not revoked.
    async fn change_api_key(
        &self,
        api: &ApiId,
        name: &str,
        edit: impl FnOnce(&HeldCredentials, &mut ApiKeyRecord) -> Result<(), RegistryError> + Send + 'static,
    ) -> Result<Arc<ApiKeyRecord>, RegistryError> {
        let (api, name) = (api.clone(), name.to_owned());
        self.exclusively(async move |inner| {
            let mut record = inner.api_key(&api, &name)?;
            if record.status == ApiKeyStatus::Revoked {
                let message = format!("The API key '{name}' is revoked; make a new one.");
                return Err(RegistryError::conflict("", "apiKey.revoked", message));
            }
            record.updated_at = Timestamp::now_after(record.updated_at);
            inner.credentials_of(&api, |held| edit(held, &mut record))?;
            inner.keep_api_key(record).await
        })
        .await
    }
}

impl Inner {
    fn api_key(&self, api: &ApiId, name: &str) -> Result<ApiKeyRecord, RegistryError> {
        self.get(api)?;
        let found = self.credentials_of(api, |held| held.keys.get(name).map(|key| (**key).clone()));
        found.ok_or_else(|| RegistryError::ApiKeyNotFound(name.to_owned()))
    }

    async fn keep_api_key(&self, record: ApiKeyRecord) -> Result<Arc<ApiKeyRecord>, RegistryError> {
        let forgotten = self.credentials_of(&record.api, |held| forgotten(held, &record));
        self.store.save_api_key(&record, &forgotten).await?;
        let record = Arc::new(record);
        let usable = {
            let mut state = self.write();
            let held = state.credentials.entry(record.api.clone()).or_default();
            held.keys.retain(|name, _| !forgotten.contains(name));
            held.keys.insert(record.name.clone(), Arc::clone(&record));
            held.usable_keys()
        };
        self.gateway.credentials(&record.api).set_keys(usable);
        Ok(record)
    }
}

impl NewApiKey {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |path: &str, code, message: String| problems.push(Problem::new(path, code, message));
        if self.name.as_ref().is_some_and(|name| !is_name(name)) {
            let message = format!(
                "A name has from {} to {} small letters and digits, in words joined by '-'.",
                NAME.start(),
                NAME.end()
            );
            refuse("name", "apiKey.name.invalid", message);
        }
        let text = self.text.as_ref().map(Secret::expose);
        if text
            .is_some_and(|text| !TEXT.contains(&text.len()) || !text.bytes().all(|it| it.is_ascii_graphic()))
        {
            let message =
                format!("A key has from {} to {} visible ASCII characters.", TEXT.start(), TEXT.end());
            refuse("text", "apiKey.text.invalid", message);
        }
        if let (Some(masked), Some(text)) = (&self.masked, text)
            && masked.contains(text)
        {
            refuse("masked", "apiKey.masked.invalid", "This shows the key itself.".to_owned());
        }
        for (path, note) in
            [("masked", &self.masked), ("externalRef", &self.external_ref), ("issuer", &self.issuer)]
        {
            if note.as_ref().is_some_and(|note| note.is_empty() || note.len() > MAX_NOTE) {
                refuse(path, "apiKey.note.invalid", format!("From 1 to {MAX_NOTE} bytes are allowed."));
            }
        }
        let is_role = |role: &String| !role.trim().is_empty() && role.len() <= MAX_ROLE;
        if self.roles.len() > MAX_ROLES || !self.roles.iter().all(is_role) {
            let message = format!("At most {MAX_ROLES} roles, each of 1 to {MAX_ROLE} bytes, are allowed.");
            refuse("roles", "apiKey.roles.invalid", message);
        }
        problems.extend(expiry_problem(self.expires_at));
        problems
    }
}

/// The record of a key that is new, with its text.
fn new_key(
    held: &HeldCredentials,
    api: &ApiId,
    wanted: NewApiKey,
    now: Timestamp,
) -> Result<(ApiKeyRecord, Secret), RegistryError> {
    let problems = wanted.problems();
    if !problems.is_empty() {
        return Err(RegistryError::Invalid(problems));
    }
    let name = wanted.name.unwrap_or_else(|| format!("key-{}", Uuid::new_v4().simple()));
    if held.keys.get(&name).is_some_and(|key| key.status == ApiKeyStatus::Active) {
        let message = format!("There is an API key '{name}' already.");
        return Err(RegistryError::conflict("name", "apiKey.exists", message));
    }
    let source = if wanted.text.is_some() { ApiKeySource::External } else { ApiKeySource::Local };
    let text = wanted.text.unwrap_or_else(|| Secret::new(format!("{PREFIX}{}", random_digits())));
    refuse_known_text(held, &name, &text)?;
    if remaining(held) == 0 {
        let message = format!("There are {QUOTA} API keys already, as many as may be; revoke one.");
        return Err(RegistryError::conflict("", "apiKey.quota", message));
    }
    let record = ApiKeyRecord {
        api: api.clone(),
        name,
        hash: ApiKey::hash_of(text.expose()),
        masked: wanted.masked.unwrap_or_else(|| masked(text.expose())),
        status: ApiKeyStatus::Active,
        expires_at: wanted.expires_at,
        source,
        external_ref: wanted.external_ref,
        issuer: wanted.issuer,
        roles: wanted.roles,
        created_by: USER.to_owned(),
        created_at: now,
        updated_at: now,
    };
    Ok((record, text))
}

/// Two keys with one text could not be told apart.
fn refuse_known_text(held: &HeldCredentials, name: &str, text: &Secret) -> Result<(), RegistryError> {
    let hash = ApiKey::hash_of(text.expose());
    let same = |key: &&Arc<ApiKeyRecord>| key.hash == hash && key.name != name;
    match held.keys.values().filter(|key| key.status == ApiKeyStatus::Active).find(same) {
        Some(_) => {
            let message = "Another API key has this text already.";
            Err(RegistryError::conflict("text", "apiKey.exists", message))
        }
        None => Ok(()),
    }
}

fn remaining(held: &HeldCredentials) -> usize {
    let now = Timestamp::now();
    let mine = held.keys.values().filter(|key| key.created_by == USER && !has_ended(key, now));
    QUOTA.saturating_sub(mine.count())
}

/// The oldest of those that can be used no more, as far as there are too many of them beside `record`.
fn forgotten(held: &HeldCredentials, record: &ApiKeyRecord) -> Vec<String> {
    let now = Timestamp::now();
    let ended = held.keys.values().filter(|key| key.name != record.name && has_ended(key, now));
    let mut ended: Vec<_> = ended.map(|key| (key.updated_at, key.name.clone())).collect();
    ended.sort();
    let too_many = ended.len().saturating_sub(ENDED_KEPT);
    ended.into_iter().take(too_many).map(|(_, name)| name).collect()
}

fn has_ended(key: &ApiKeyRecord, now: Timestamp) -> bool {
    key.status == ApiKeyStatus::Revoked || key.expires_at.is_some_and(|end| end <= now)
}

fn check_expiry(expires_at: Option<Timestamp>) -> Result<(), RegistryError> {
    expiry_problem(expires_at).map_or(Ok(()), |problem| Err(RegistryError::Invalid(vec![problem])))
}

fn expiry_problem(expires_at: Option<Timestamp>) -> Option<Problem> {
    let is_over = expires_at.is_some_and(|end| end <= Timestamp::now());
    is_over.then(|| Problem::new("expiresAt", "apiKey.expiry.invalid", "A key expires in the future."))
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    NAME.contains(&name.len()) && name.split('-').all(is_word)
}

/// What is shown of a text: what it begins with, where that says where it comes from, and its end.
fn masked(text: &str) -> String {
    let prefix = if text.starts_with(PREFIX) { PREFIX } else { "" };
    let end: String = text.chars().rev().take(SHOWN).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{prefix}{STARS}{end}")
}
