//! The table of the contract.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Uri},
};
use schemars::JsonSchema;
use sluice_api::ApiId;

use super::{
    BASE, Dialect,
    apis::{self, Deleted},
    error::Error,
    keys::{self, KeyAnswer, KeyList, KeyRequest, Regeneration, Revoked},
    request::MEDIA,
    resource::{DeploymentState, Kind, Resource, WebBrokerApi, WebSubApi},
    secrets::{self, SecretAnswer, SecretList, SecretRequest},
};
use crate::{
    Registry,
    contract::{Call, Contract, delete, get, post, put, schema_of},
};

type Api = Path<ApiId>;
type Named = Path<(ApiId, String)>;
type Ours = Extension<Arc<Dialect>>;

/// Everything of the contract that is served.
pub(crate) fn contract() -> Contract {
    let mut calls = api_calls::<Resource<WebSubApi>, WebSubApiList>(Kind::WebSubApi);
    calls.extend(key_calls(Kind::WebSubApi));
    calls.extend(secret_calls());
    calls.extend(api_calls::<Resource<WebBrokerApi>, WebBrokerApiList>(Kind::WebBrokerApi));
    calls.extend(key_calls(Kind::WebBrokerApi));
    Contract {
        title: "WebSubApi and WebBrokerApi",
        description: "Resources with apiVersion, kind, metadata and spec, their API keys and webhook secrets. Bodies are \
                      JSON or YAML; times are in ISO 8601.",
        bases: &[BASE],
        document: "/api/management/v1/openapi",
        error: schema_of::<Error>,
        calls,
    }
}

impl Kind {
    /// Below the base.
    const fn path(self) -> &'static str {
        match self {
            Self::WebSubApi => "websub-apis",
            Self::WebBrokerApi => "webbroker-apis",
        }
    }
}

/// Stands for the schema of a list.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "stands for its schema")]
struct WebSubApiList {
    status: String,
    count: usize,
    websub_apis: Vec<Resource<WebSubApi>>,
}

/// Stands for the schema of a list.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "stands for its schema")]
struct WebBrokerApiList {
    status: String,
    count: usize,
    web_broker_apis: Vec<Resource<WebBrokerApi>>,
}

fn api_calls<R: JsonSchema, L: JsonSchema>(kind: Kind) -> Vec<Call> {
    let (path, name) = (kind.path(), kind.as_str());
    let one = format!("{path}/{{api}}");
    let filter = "Only those of this";
    let create = async move |State(it): State<Registry>, ours: Ours, headers: HeaderMap, body: Bytes| {
        apis::create(kind, it, ours.0, headers, &body).await
    };
    let list = async move |State(it): State<Registry>, uri: Uri| apis::list(kind, &it, &uri);
    let get_one = async move |State(it): State<Registry>, Path(id): Api| apis::get(kind, &it, &id);
    let update =
        async move |State(it): State<Registry>,
                    ours: Ours,
                    Path(id): Api,
                    headers: HeaderMap,
                    body: Bytes| { apis::update(kind, it, ours.0, id, headers, &body).await };
    let remove = async move |State(it): State<Registry>, ours: Ours, Path(id): Api| {
        apis::delete(kind, it, ours.0, id).await
    };
    vec![
        post(path, format!("create{name}"), format!("Creates a {name} and deploys it"), create)
            .reads::<R>(MEDIA)
            .gives_as_written::<R>(201, "It.")
            .refuses(409, "Another API has its handle, its name and version, or its context."),
        get(path, format!("list{name}s"), format!("Lists every {name}"), list)
            .query::<String>("displayName", filter)
            .query::<String>("version", filter)
            .query::<String>("context", filter)
            .query::<DeploymentState>("status", filter)
            .gives_as_written::<L>(200, "In the order of creation."),
        get(&*one, format!("get{name}"), format!("Shows a {name} as it was written"), get_one)
            .gives_as_written::<R>(200, "It."),
        put(&*one, format!("update{name}"), format!("Replaces a {name}"), update)
            .reads::<R>(MEDIA)
            .gives_as_written::<R>(200, "It.")
            .refuses(409, "Another API has its name and version, or its context."),
        delete(&*one, format!("delete{name}"), format!("Deletes a {name}"), remove)
            .gives::<Deleted>(200, "It is gone, with its keys, secrets and subscriptions. Its topics stay."),
    ]
}

fn key_calls(kind: Kind) -> Vec<Call> {
    let name = kind.as_str();
    let all = format!("{}/{{api}}/api-keys", kind.path());
    let one = format!("{all}/{{key}}");
    let create = async move |State(it): State<Registry>, Path(api): Api, headers: HeaderMap, body: Bytes| {
        keys::create(kind, it, api, headers, &body).await
    };
    let list = async move |State(it): State<Registry>, Path(api): Api| keys::list(kind, &it, &api);
    let regenerate =
        async move |State(it): State<Registry>, Path((api, key)): Named, headers: HeaderMap, body: Bytes| {
            keys::regenerate(kind, it, api, key, headers, &body).await
        };
    let replace =
        async move |State(it): State<Registry>, Path((api, key)): Named, headers: HeaderMap, body: Bytes| {
            keys::replace(kind, it, api, key, headers, &body).await
        };
    let revoke = async move |State(it): State<Registry>, Path((api, key)): Named| {
        keys::revoke(kind, it, api, key).await
    };
    vec![
        post(&*all, format!("create{name}Key"), format!("Makes an API key for a {name}"), create)
            .may_read::<KeyRequest>(MEDIA)
            .gives::<KeyAnswer>(201, "It, with its text.")
            .refuses(409, "There is a key of this name or text, or there are as many as may be."),
        get(&*all, format!("list{name}Keys"), format!("Lists the API keys of a {name}"), list)
            .gives::<KeyList>(200, "All of them, without their texts."),
        post(
            format!("{one}/regenerate"),
            format!("regenerate{name}Key"),
            format!("Gives an API key of a {name} a new text"),
            regenerate,
        )
        .may_read::<Regeneration>(MEDIA)
        .gives::<KeyAnswer>(200, "It, with its text. The former one is good no more.")
        .refuses(409, "The key is revoked."),
        put(&*one, format!("replace{name}Key"), format!("Gives an API key of a {name} this text"), replace)
            .reads::<KeyRequest>(MEDIA)
            .gives::<KeyAnswer>(200, "It, without its text.")
            .refuses(409, "The key is revoked, or another one has this text."),
        delete(&*one, format!("revoke{name}Key"), format!("Revokes an API key of a {name}"), revoke)
            .gives::<Revoked>(200, "It is good no more."),
    ]
}

fn secret_calls() -> Vec<Call> {
    let all = "websub-apis/{api}/secrets";
    let create = async |State(it): State<Registry>, Path(api): Api, headers: HeaderMap, body: Bytes| {
        secrets::create(it, api, headers, &body).await
    };
    let list = async |State(it): State<Registry>, Path(api): Api| secrets::list(&it, &api);
    let regenerate =
        async |State(it): State<Registry>, Path((api, name)): Named, headers: HeaderMap, body: Bytes| {
            secrets::regenerate(it, api, name, headers, &body).await
        };
    let remove =
        async |State(it): State<Registry>, Path((api, name)): Named| secrets::delete(it, api, name).await;
    vec![
        post(all, "createWebSubApiSecret", "Makes a webhook secret for a WebSubApi", create)
            .reads::<SecretRequest>(MEDIA)
            .gives::<SecretAnswer>(201, "It, with its text.")
            .refuses(409, "There is a secret of this name, or there are as many as may be."),
        get(all, "listWebSubApiSecrets", "Lists the webhook secrets of a WebSubApi", list)
            .gives::<SecretList>(200, "All of them, without their texts."),
        post(
            format!("{all}/{{secret}}/regenerate"),
            "regenerateWebSubApiSecret",
            "Gives a webhook secret a new text",
            regenerate,
        )
        .may_read::<secrets::Regeneration>(MEDIA)
        .gives::<SecretAnswer>(200, "It, with its text. The former one is good for a while."),
        delete(format!("{all}/{{secret}}"), "deleteWebSubApiSecret", "Deletes a webhook secret", remove)
            .gives_nothing(204, "It is gone, and its former text with it."),
    ]
}
