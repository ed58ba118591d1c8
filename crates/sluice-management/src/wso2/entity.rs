//! A resource as it is kept beside its API, and as it is answered: as it was written, with secrets masked and templates
//! unread.

use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::{EventApi, MASK, SECRET_NAMES, Secret, from_value};
use sluice_store::Catalogue;

use super::{
    render::is_reference,
    resource::{ARTIFACT_ID, DeploymentState, Kind, Status},
};
use crate::{ManagedApi, registry::sentences, time::Moment};

/// Where it stands in a catalogue.
const KEY: &str = "resource";

/// What is kept of a resource.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Kept {
    kind: Kind,
    /// As it was written, but for secrets.
    written: Value,
    /// What was made of it, without secrets: if the API is another one now, somebody has changed it elsewhere.
    made: Value,
}

impl Kept {
    /// What to keep of a resource and the API that was made of it.
    pub(super) fn of(kind: Kind, mut written: Value, api: &EventApi) -> Self {
        if let Some(fields) = written.as_object_mut() {
            fields.remove("status");
        }
        mask(&mut written);
        let made = EventApi { plans: Vec::new(), ..api.clone() };
        Self { kind, written, made: serde_json::to_value(made).unwrap_or_default() }
    }

    /// In the form in which it is kept.
    pub(super) fn to_catalogue(&self) -> Catalogue {
        let kept = serde_json::to_value(self).unwrap_or_default();
        Map::from_iter([(KEY.to_owned(), kept)])
    }
}

/// What was kept of an API, if it was written as a resource: a [`Kept`].
fn kept(api: &ManagedApi) -> Option<&Value> {
    api.record.catalogue.get(KEY)
}

/// The kind of an API that was written as a resource.
pub(super) fn kind(api: &ManagedApi) -> Option<Kind> {
    Kind::named(kept(api)?["kind"].as_str()?)
}

/// The resource of an API, with its status.
pub(super) fn shown(api: &ManagedApi) -> Value {
    let Some(kept) = kept(api) else { return Value::Null };
    let mut resource = kept["written"].clone();
    let note = note(api, &kept["made"]);
    resource["status"] = serde_json::to_value(status(api, note)).unwrap_or_default();
    resource
}

/// A text of the resource as it was written, by its JSON pointer.
pub(super) fn written<'a>(api: &'a ManagedApi, pointer: &str) -> Option<&'a str> {
    kept(api)?["written"].pointer(pointer)?.as_str()
}

/// The UUID by which a control plane knows an API.
pub(super) fn artifact_id(api: &ManagedApi) -> Option<&str> {
    kept(api)?["written"]["metadata"]["annotations"][ARTIFACT_ID].as_str()
}

/// Whether an API is to be served.
pub(super) fn state(api: &ManagedApi) -> DeploymentState {
    if api.record.started { DeploymentState::Deployed } else { DeploymentState::Undeployed }
}

fn status(api: &ManagedApi, note: Option<String>) -> Status {
    let record = &api.record;
    Status {
        id: record.id().0.clone(),
        state: state(api),
        created_at: Moment(record.created_at),
        updated_at: Moment(record.updated_at),
        deployed_at: record.deployed_at.filter(|_| record.started).map(Moment),
        note,
    }
}

fn note(api: &ManagedApi, made: &Value) -> Option<String> {
    if !api.faults.is_empty() {
        return Some(format!("It is not served: {}", sentences(&api.faults)));
    }
    let mut now = api.record.draft.clone();
    for (_, secret) in now.secrets_mut() {
        *secret = Secret::new(MASK);
    }
    let changed = from_value::<EventApi>(made.clone()).map_or(true, |made| made != now);
    changed.then(|| {
        "It was changed through another contract; this is how it was written here last. A PUT replaces that change."
            .to_owned()
    })
}

/// Puts the mask in place of secrets: what policies keep as one, and the broker's password. A reference to a secret is
/// none.
fn mask(resource: &mut Value) {
    if let Some(password) = resource.pointer_mut("/spec/broker/properties/sasl_password") {
        mask_text(password);
    }
    for group in ["/spec/allChannels", "/spec/channels"] {
        if let Some(group) = resource.pointer_mut(group) {
            mask_policies(group);
        }
    }
}

/// Documents do not nest deeper than their parser allows.
fn mask_policies(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name == "params" { mask_named(field) } else { mask_policies(field) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_policies),
        _ => {}
    }
}

fn mask_named(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if SECRET_NAMES.contains(&&**name) && field.is_string() {
                    mask_text(field);
                } else {
                    mask_named(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_named),
        _ => {}
    }
}

fn mask_text(value: &mut Value) {
    if !value.as_str().is_some_and(is_reference) {
        *value = MASK.into();
    }
}
