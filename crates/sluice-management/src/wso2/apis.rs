//! Calls on resources of either kind.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sluice_api::{ApiId, Problem};

use super::{
    Dialect, entity,
    fields::Fields,
    request,
    resource::{DeploymentState, Kind},
    translate::{self, Read},
};
use crate::{Expected, ManagedApi, Registry, RegistryError, refusal::Refusal, request::parameter};

pub(super) type Answered = Result<Response, Refusal>;

/// What is answered when something was deleted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Deleted")]
pub(super) struct Deleted {
    /// Always `success`.
    status: &'static str,
    message: String,
    /// The handle, where the API was a `WebSubApi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<ApiId>,
}

impl Kind {
    /// As answers call it for people.
    const fn title(self) -> &'static str {
        match self {
            Self::WebSubApi => "WebSubAPI",
            Self::WebBrokerApi => "WebBrokerAPI",
        }
    }

    /// The field of a list that has the resources.
    const fn list(self) -> &'static str {
        match self {
            Self::WebSubApi => "websubApis",
            Self::WebBrokerApi => "webBrokerApis",
        }
    }
}

pub(super) async fn create(
    kind: Kind,
    registry: Registry,
    dialect: Arc<Dialect>,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    let read = translate::read(request::document(&headers, body)?, kind, &dialect.options)?;
    let shown = to_its_end(async move {
        let _turn = dialect.changing.lock().await;
        refuse_taken(&registry, kind, &read)?;
        let Read { api, kept, state, fields, .. } = read;
        let id = api.id.clone();
        let created = registry.create(api, kept.to_catalogue()).await.map_err(|it| told(it, &fields))?;
        match state {
            DeploymentState::Deployed => {
                registry.start(&id, Expected::Any).await.map_err(|it| told(it, &fields))
            }
            DeploymentState::Undeployed => Ok(created),
        }
    })
    .await?;
    Ok((StatusCode::CREATED, Json(entity::shown(&shown))).into_response())
}

pub(super) async fn update(
    kind: Kind,
    registry: Registry,
    dialect: Arc<Dialect>,
    id: ApiId,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    find(&registry, kind, &id)?;
    let read = translate::read(request::document(&headers, body)?, kind, &dialect.options)?;
    if read.api.id != id {
        let message = format!("The body is of [{}], the address of [{id}].", read.api.id);
        return Err(Problem::new("metadata.name", "id.mismatch", message).into());
    }
    let shown = to_its_end(async move {
        let _turn = dialect.changing.lock().await;
        // It may have become another one while this waited.
        find(&registry, kind, &id)?;
        refuse_taken(&registry, kind, &read)?;
        replace(&registry, read).await
    })
    .await?;
    Ok(Json(entity::shown(&shown)).into_response())
}

/// The plans stay as they are: the notation has none.
async fn replace(registry: &Registry, read: Read) -> Result<Arc<ManagedApi>, Refusal> {
    let Read { mut api, kept, state, fields, .. } = read;
    api.plans.clear();
    let id = api.id.clone();
    let told = |error| told(error, &fields);
    registry.update(&id, Expected::Any, api, kept.to_catalogue()).await.map_err(told)?;
    let deployed = registry.deploy(&id, Expected::Any).await.map_err(told)?;
    match (state, deployed.record.started) {
        (DeploymentState::Deployed, false) => registry.start(&id, Expected::Any).await.map_err(told),
        (DeploymentState::Undeployed, true) => registry.stop(&id, Expected::Any).await.map_err(told),
        _ => Ok(deployed),
    }
}

pub(super) fn list(kind: Kind, registry: &Registry, uri: &Uri) -> Answered {
    let filter = Filter::of(uri)?;
    let apis = registry.list();
    let found = apis.iter().filter(|api| entity::kind(api) == Some(kind) && filter.takes(api));
    let resources: Vec<_> = found.map(|api| entity::shown(api)).collect();
    let mut list = Map::new();
    list.insert("status".to_owned(), "success".into());
    list.insert("count".to_owned(), resources.len().into());
    list.insert(kind.list().to_owned(), resources.into());
    Ok(Json(Value::Object(list)).into_response())
}

pub(super) fn get(kind: Kind, registry: &Registry, id: &ApiId) -> Answered {
    Ok(Json(entity::shown(&*find(registry, kind, id)?)).into_response())
}

pub(super) async fn delete(kind: Kind, registry: Registry, dialect: Arc<Dialect>, id: ApiId) -> Answered {
    find(&registry, kind, &id)?;
    let message = format!("{} deleted successfully", kind.title());
    let deleted = Deleted { status: "success", message, id: (kind == Kind::WebSubApi).then(|| id.clone()) };
    to_its_end(async move {
        let _turn = dialect.changing.lock().await;
        if find(&registry, kind, &id)?.record.started {
            registry.stop(&id, Expected::Any).await?;
        }
        registry.delete(&id, Expected::Any, true).await?;
        Ok(())
    })
    .await?;
    Ok(Json(deleted).into_response())
}

/// The API with this handle, if it is of this kind.
pub(super) fn find(registry: &Registry, kind: Kind, id: &ApiId) -> Result<Arc<ManagedApi>, Refusal> {
    let api = registry.get(id)?;
    if entity::kind(&api) == Some(kind) {
        Ok(api)
    } else {
        Err(RegistryError::ApiNotFound(id.clone()).into())
    }
}

/// Several steps that belong together, also if the client goes away between them.
async fn to_its_end<T: Send + 'static>(
    steps: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(steps).await.map_err(RegistryError::from)?
}

/// What no two resources of a kind may have in common, and what no two of either kind may.
fn refuse_taken(registry: &Registry, kind: Kind, read: &Read) -> Result<(), Refusal> {
    let apis = registry.list();
    let mut others = apis.iter().filter(|api| *api.record.id() != read.api.id);
    let same_name = |other: &&Arc<ManagedApi>| {
        let draft = &other.record.draft;
        entity::kind(other) == Some(kind) && draft.name == read.api.name && draft.version == read.api.version
    };
    if let Some(other) = others.clone().find(same_name) {
        let message = format!(
            "The {} [{}] has the name '{}' and the version {} already.",
            kind.as_str(),
            other.record.id(),
            read.api.name,
            read.api.version
        );
        return Err(conflict(vec![Problem::new("spec.displayName", "resource.exists", message)]));
    }
    let same_artifact = |other: &&Arc<ManagedApi>| {
        read.artifact_id.is_some() && entity::artifact_id(other) == read.artifact_id.as_deref()
    };
    if let Some(other) = others.find(same_artifact) {
        let path = format!("metadata.annotations.{}", super::resource::ARTIFACT_ID);
        let message = format!("The API [{}] has this id already.", other.record.id());
        return Err(conflict(vec![Problem::new(path, "resource.exists", message)]));
    }
    Ok(())
}

/// A refusal of the registry in the fields of the resource. What somebody else has is a conflict here.
fn told(error: RegistryError, fields: &Fields) -> Refusal {
    match fields.rename(error) {
        RegistryError::Invalid(problems)
            if problems
                .iter()
                .any(|it| matches!(it.code, "api.id.exists" | "api.listener.paths.path.exists")) =>
        {
            conflict(problems)
        }
        error => error.into(),
    }
}

fn conflict(problems: Vec<Problem>) -> Refusal {
    Refusal { status: StatusCode::CONFLICT, ..problems.into() }
}

/// Which resources of a list are asked for.
struct Filter {
    display_name: Option<String>,
    version: Option<String>,
    context: Option<String>,
    state: Option<DeploymentState>,
}

impl Filter {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let text = |name| parameter(uri, name).filter(|text| !text.is_empty());
        let state = text("status").map(|word| serde_json::from_value(json!(word))).transpose();
        let state = state.map_err(|_| {
            Problem::new("status", "document.field", "The status is either deployed or undeployed.")
        })?;
        let (display_name, version, context) = (text("displayName"), text("version"), text("context"));
        Ok(Self { display_name, version, context, state })
    }

    fn takes(&self, api: &ManagedApi) -> bool {
        let draft = &api.record.draft;
        self.display_name.as_ref().is_none_or(|name| *name == draft.name)
            && self.version.as_ref().is_none_or(|version| *version == draft.version)
            && (self.context.is_none() || self.context.as_deref() == entity::written(api, "/spec/context"))
            && self.state.is_none_or(|state| state == entity::state(api))
    }
}
