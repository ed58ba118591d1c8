//! Searching APIs: by text, by what they are, in an order.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, State},
    http::{HeaderMap, Uri},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sluice_api::{HttpPath, Problem};

use super::{
    apis::{Answered, shown},
    upper,
};
use crate::{
    ManagedApi, Registry,
    gravitee::catalogue::{ApiCatalogue, kept},
    page::{Asked, Page},
    request::{json, parameter, read},
};

/// What is looked for. An API is found when it has all that is asked for, and one of each list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ApiSearch")]
pub(super) struct Wanted {
    /// Text in its id, name, description or one of its paths, in any case.
    query: Option<String>,
    /// Its id.
    ids: Option<Vec<String>>,
    /// `V4`; there are no others.
    definition_version: Option<String>,
    /// `V4`; there are no others.
    definition_versions: Option<Vec<String>>,
    /// `V4_MESSAGE`; there are no others.
    api_types: Option<Vec<String>>,
    /// `STARTED` or `STOPPED`.
    statuses: Option<Vec<String>>,
    /// Its tags.
    tags: Option<Vec<String>>,
    /// Its categories.
    categories: Option<Vec<String>>,
    /// Where it stands in a portal.
    published: Option<Vec<String>>,
    /// `PUBLIC` or `PRIVATE`.
    visibilities: Option<Vec<String>>,
}

pub(super) async fn search(
    State(registry): State<Registry>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let wanted: Wanted = read(&json(&body)?)?;
    let asked = Asked::of(&uri)?;
    let mut found = registry.list();
    found.retain(|api| wanted.fits(api));
    sort(&mut found, &uri)?;
    Ok(Json(Page::of(asked, &found, &uri, &headers, |api| shown(api, &headers))).into_response())
}

impl Wanted {
    fn fits(&self, api: &ManagedApi) -> bool {
        let catalogue: ApiCatalogue = kept(&api.record.catalogue);
        let among = |wanted: &Option<Vec<String>>, had: &[String]| {
            let wanted = wanted.as_deref().unwrap_or_default();
            wanted.is_empty() || wanted.iter().any(|it| had.iter().any(|had| upper(had) == upper(it)))
        };
        let version = self.definition_version.clone().into_iter();
        let versions: Vec<_> = version.chain(self.definition_versions.clone().unwrap_or_default()).collect();
        self.query.as_deref().is_none_or(|text| says(api, text))
            && among(&self.ids, &[api.record.id().0.clone()])
            && among(&Some(versions), &["V4".to_owned()])
            && among(&self.api_types, &["V4_MESSAGE".to_owned(), "MESSAGE".to_owned()])
            && among(&self.statuses, &[state(api).to_owned()])
            && among(&self.tags, &catalogue.tags)
            && among(&self.categories, &catalogue.categories)
            && among(&self.published, &[word(&catalogue.lifecycle_state)])
            && among(&self.visibilities, &[word(&catalogue.visibility)])
    }
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

const fn state(api: &ManagedApi) -> &'static str {
    if api.record.started { "STARTED" } else { "STOPPED" }
}

fn says(api: &ManagedApi, text: &str) -> bool {
    let (draft, text) = (&api.record.draft, text.trim().to_lowercase());
    let says = |field: &str| field.to_lowercase().contains(&text);
    says(&draft.id.0)
        || says(&draft.name)
        || says(&draft.description)
        || draft.paths.iter().any(|path| says(&path.normalized()))
}

/// What APIs can be sorted by.
const ORDERS: [&str; 6] = ["api_type", "name", "owner", "paths", "status", "visibility"];

fn sort(found: &mut [Arc<ManagedApi>], uri: &Uri) -> Result<(), Vec<Problem>> {
    let Some(by) = parameter(uri, "sortBy").filter(|by| !by.is_empty()) else { return Ok(()) };
    let (field, backwards) = by.strip_prefix('-').map_or((&*by, false), |field| (field, true));
    if !ORDERS.contains(&field) {
        let message = format!("'{by}' is none of {}, with or without a '-' in front.", ORDERS.join(", "));
        return Err(vec![Problem::new("sortBy", "document.field", message)]);
    }
    found.sort_by_cached_key(|api| {
        let draft = &api.record.draft;
        match field {
            "name" => draft.name.to_lowercase(),
            "paths" => draft.paths.first().map(HttpPath::normalized).unwrap_or_default(),
            "status" => state(api).to_owned(),
            "visibility" => word(&kept::<ApiCatalogue>(&api.record.catalogue).visibility),
            // All are of one type and one owner.
            _ => String::new(),
        }
    });
    if backwards {
        found.reverse();
    }
    Ok(())
}
