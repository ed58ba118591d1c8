//! Calls on event APIs, and on what can be promised.

use axum::{
    Json,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use sluice_api::{ApiId, offers};

use super::{
    List,
    api::{ApiEntity, DiscardedEntity, RetriedEntity},
    stream::{SlowClientEntity, StreamEntity, StreamList},
};
use crate::{
    Registry,
    page::{Asked, Page, number},
    refusal::Refusal,
};

pub(super) type Answered = Result<Response, Refusal>;

/// How many streams are shown when nobody says.
pub(super) const DEFAULT_STREAMS: usize = 100;

/// The most streams that are shown.
pub(super) const MAX_STREAMS: usize = 1000;

pub(super) async fn qos() -> Response {
    Json(List { data: offers() }).into_response()
}

pub(super) async fn list(
    State(registry): State<Registry>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    let asked = Asked::of(&uri)?;
    let page = Page::of(asked, &registry.list(), &uri, &headers, |api| ApiEntity::of(&registry, api));
    Ok(Json(page).into_response())
}

pub(super) async fn get(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    let api = registry.get(&id)?;
    Ok(Json(ApiEntity::of(&registry, &api)).into_response())
}

pub(super) async fn streams(State(registry): State<Registry>, Path(id): Path<ApiId>, uri: Uri) -> Answered {
    registry.get(&id)?;
    let limit = number(&uri, "limit", DEFAULT_STREAMS, MAX_STREAMS)?;
    let streams = registry.streams();
    let data = streams.of_api(&id, limit).iter().map(|stream| StreamEntity::of(stream)).collect();
    Ok(Json(StreamList { data, summary: streams.summary(&id).into() }).into_response())
}

pub(super) async fn slow_clients(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    registry.get(&id)?;
    let slow = registry.streams().slow_clients(&id);
    Ok(Json(List { data: slow.iter().map(SlowClientEntity::of).collect() }).into_response())
}

pub(super) async fn retry_spool(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    let messages = registry.retry_spool(&id).await?;
    Ok(Json(RetriedEntity { messages }).into_response())
}

pub(super) async fn discard_set_aside(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    let messages = registry.discard_set_aside(&id).await?;
    Ok(Json(DiscardedEntity { messages }).into_response())
}
