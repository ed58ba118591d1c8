//! API keys of subscriptions. No plan asks for a key yet, so there are none, and none can be made.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use sluice_api::{ApiId, ApplicationId, SubscriptionId};

use super::application;
use crate::{Registry, gravitee::read::unsupported, refusal::Refusal};

type Answered = Result<Response, Refusal>;

pub(in super::super) async fn list(
    State(registry): State<Registry>,
    Path(at): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    Ok(none())
}

pub(in super::super) async fn list_of_application(
    State(registry): State<Registry>,
    Path(at): Path<(ApplicationId, SubscriptionId)>,
) -> Answered {
    application::found(&registry, &at)?;
    Ok(none())
}

pub(in super::super) async fn renew() -> Answered {
    Err(vec![unsupported("", "A plan with API keys")].into())
}

pub(in super::super) async fn find_key(
    State(registry): State<Registry>,
    Path((api, subscription, _)): Path<(ApiId, SubscriptionId, String)>,
) -> Answered {
    registry.subscription_to(&api, &subscription)?;
    Err(not_found())
}

pub(in super::super) async fn find_key_of_application(
    State(registry): State<Registry>,
    Path((application, subscription, _)): Path<(ApplicationId, SubscriptionId, String)>,
) -> Answered {
    application::found(&registry, &(application, subscription))?;
    Err(not_found())
}

fn none() -> Response {
    Json::<[Value; 0]>([]).into_response()
}

/// The key is not repeated: it may be one of another gateway.
fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "apiKey.notFound", "The subscription has no such API key.")
}
