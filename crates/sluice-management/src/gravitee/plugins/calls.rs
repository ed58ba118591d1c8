//! Calls on plugins. They differ between the contracts in their addresses and in how words are written.

use axum::{
    Json,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Plugin, documentation, endpoints, entrypoints, find, policies};
use crate::{
    contract::{Call, get},
    refusal::Refusal,
};

/// How a contract writes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gravitee) enum Naming {
    /// `at-least-once`, and the type of message APIs is `async`.
    Kebab,
    /// `AT_LEAST_ONCE`, and the type of message APIs is `MESSAGE`.
    Upper,
}

impl Naming {
    fn word(self, word: &str) -> String {
        match self {
            Self::Kebab => word.to_owned(),
            Self::Upper => word.replace('-', "_").to_ascii_uppercase(),
        }
    }

    fn words(self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| self.word(word)).collect()
    }
}

/// A plugin as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Plugin")]
struct PluginEntity {
    id: &'static str,
    /// For people.
    name: &'static str,
    /// What it does.
    description: &'static str,
    /// Of the gateway: plugins come with it.
    version: &'static str,
    /// Whether APIs can use it.
    deployed: bool,
    /// The type of APIs that can use it.
    supported_api_type: String,
    /// What it does with messages; of a policy, the phases in which it can stand.
    supported_modes: Vec<String>,
    /// The levels of delivery that it can keep; for entrypoints and endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    supported_qos: Vec<String>,
    /// The type of the listener that it stands in; for entrypoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    supported_listener_type: Option<String>,
    /// What it offers beyond messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    available_features: Vec<String>,
}

impl PluginEntity {
    fn of(plugin: &Plugin, naming: Naming) -> Self {
        Self {
            id: plugin.id,
            name: plugin.name,
            description: plugin.description,
            version: env!("CARGO_PKG_VERSION"),
            deployed: true,
            supported_api_type: naming.word(if naming == Naming::Kebab { "async" } else { "message" }),
            supported_modes: naming.words(&plugin.modes),
            supported_qos: naming.words(&plugin.qos),
            supported_listener_type: plugin.listener.map(|listener| naming.word(listener)),
            available_features: naming.words(&plugin.features),
        }
    }
}

/// One of the three kinds of plugins, and where a contract lists it.
struct Kind {
    at: &'static str,
    /// In names of operations.
    name: &'static str,
    /// In sentences.
    words: &'static str,
    plugins: fn() -> Vec<Plugin>,
}

/// The calls of a contract on plugins of all kinds. The addresses of the kinds, and the last segment of the
/// address of a subscription schema, are the contract's.
pub(in crate::gravitee) fn rows(
    naming: Naming,
    [entrypoints_at, endpoints_at, policies_at]: [&'static str; 3],
    subscription_schema_at: &'static str,
) -> Vec<Call> {
    let kinds = [
        Kind { at: entrypoints_at, name: "Entrypoint", words: "entrypoint", plugins: entrypoints },
        Kind { at: endpoints_at, name: "Endpoint", words: "endpoint", plugins: endpoints },
        Kind { at: policies_at, name: "Policy", words: "policy", plugins: policies },
    ];
    let mut calls: Vec<_> = kinds.iter().flat_map(|kind| kind.rows(naming)).collect();
    let path = format!("{entrypoints_at}/{{id}}/{subscription_schema_at}");
    let summary = "Shows the schema of what a subscriber says";
    let schema = async |Path(id): Path<String>| {
        let plugin = find(entrypoints(), &id).ok_or_else(|| not_found("entrypoint", &id))?;
        // Where nobody is called there is nothing to say.
        let schema = plugin
            .subscription_schema
            .ok_or_else(|| not_found("subscription schema of the entrypoint", &id))?;
        Ok::<_, Refusal>(Json(schema))
    };
    calls.push(
        get(path, "getEntrypointSubscriptionSchema", summary, schema)
            .gives::<Value>(200, "A JSON Schema, draft 7."),
    );
    calls
}

impl Kind {
    fn rows(&self, naming: Naming) -> [Call; 4] {
        let Self { at, name, words, plugins } = *self;
        let one = move |id: &str| find(plugins(), id).ok_or_else(|| not_found(words, id));
        let list = async move || {
            Json(plugins().into_iter().map(|plugin| PluginEntity::of(&plugin, naming)).collect::<Vec<_>>())
        };
        let show = async move |Path(id): Path<String>| {
            one(&id).map(|plugin| Json(PluginEntity::of(&plugin, naming)))
        };
        let schema = async move |Path(id): Path<String>| one(&id).map(|plugin| Json(plugin.schema));
        let page =
            async move |Path(id): Path<String>| one(&id).map(|plugin| markdown(documentation::page(&plugin)));
        let path = |rest: &str| format!("{at}/{{id}}{rest}");
        let plural = name.strip_suffix('y').map_or(format!("{name}s"), |stem| format!("{stem}ies"));
        [
            get(at, format!("list{plural}"), format!("Lists every {words}"), list)
                .gives::<Vec<PluginEntity>>(200, "All of them."),
            get(path(""), format!("get{name}"), format!("Shows one {words}"), show)
                .gives::<PluginEntity>(200, "It."),
            get(
                path("/schema"),
                format!("get{name}Schema"),
                format!("Shows the settings of one {words}"),
                schema,
            )
            .gives::<Value>(200, "A JSON Schema, draft 7."),
            get(
                path("/documentation"),
                format!("get{name}Documentation"),
                format!("Describes one {words}"),
                page,
            )
            .gives_text(200, "text/markdown", "A page in Markdown."),
        ]
    }
}

fn markdown(page: String) -> Response {
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page).into_response()
}

fn not_found(what: &str, id: &str) -> Refusal {
    let message = format!("There is no {what} [{id}].");
    Refusal::new(StatusCode::NOT_FOUND, "plugin.notFound", message)
}
