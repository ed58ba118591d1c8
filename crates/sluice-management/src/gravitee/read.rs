//! From an API as the contract writes it to an [`EventApi`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_api::{
    ApiId, EventApi, Guarantees, Limits, Problem, Property, ResponseTemplate, Secret, from_value,
};

use super::{
    catalogue::{ApiCatalogue, LifecycleState, Visibility},
    endpoints::{EndpointGroup, read_groups},
    fields::Fields,
    flows::{WrittenFlow, read_flows},
    listeners::{Listener, Reached, read_listeners},
    plans::{ReadPlan, read_plans},
    word,
};

/// What is being read; each asks for other fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The body of a create: always private at first.
    Create,
    /// The body of an update: must say who may see it.
    Update,
    /// A body of the later contract: what is for people may be missing, and is read from a create, too.
    Later,
    /// A file: what is for people may be missing.
    File,
}

/// An API that was read; its plans are beside it, not in it.
#[derive(Debug)]
pub(super) struct ReadApi {
    /// Its id is empty when the document has none.
    pub(super) api: EventApi,
    pub(super) catalogue: ApiCatalogue,
    pub(super) plans: Vec<ReadPlan>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewApi")]
pub(super) struct Written {
    id: Option<String>,
    name: Option<String>,
    api_version: Option<String>,
    description: Option<String>,
    definition_version: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    listeners: Option<Vec<Listener>>,
    endpoint_groups: Option<Vec<EndpointGroup>>,
    flow_mode: Option<String>,
    flow_execution: Option<FlowExecution>,
    flows: Option<Vec<WrittenFlow>>,
    plans: Option<Value>,
    properties: Option<Vec<WrittenProperty>>,
    resources: Option<Vec<Value>>,
    response_templates: Option<BTreeMap<String, BTreeMap<String, WrittenTemplate>>>,
    services: Option<Services>,
    failover: Option<Value>,
    analytics: Option<Value>,
    limits: Option<Limits>,
    guarantees: Option<Guarantees>,
    visibility: Option<String>,
    lifecycle_state: Option<String>,
    disable_membership_notifications: Option<bool>,
    tags: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    categories: Option<Vec<String>>,
    cross_id: Option<String>,
    picture: Option<String>,
    background: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewFlowExecution")]
struct FlowExecution {
    mode: Option<String>,
    match_required: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewProperty")]
struct WrittenProperty {
    key: Option<String>,
    value: Option<Secret>,
    encrypted: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewResponseTemplate")]
struct WrittenTemplate {
    #[serde(alias = "statusCode")]
    status: Option<u16>,
    headers: Option<BTreeMap<String, String>>,
    body: Option<String>,
}

/// Reads an API, with every fault that is found on the way.
pub(super) fn read_api(document: Value, reading: Reading) -> Result<ReadApi, Vec<Problem>> {
    let mut written: Written = from_value(document).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    check_kind(&written, &mut problems);
    check_unsupported(&written, &mut problems);
    let mut catalogue = read_catalogue(&mut written, reading, &mut problems);
    let plans = read_plans(written.plans.take(), &mut problems);
    let (strict, later) = (reading != Reading::File, reading == Reading::Later);
    let mut text = |field: &str, text: Option<String>, needed: bool| {
        let text = text.unwrap_or_default();
        if needed && text.trim().is_empty() {
            problems.push(Problem::new(field, "field.required", format!("An API needs '{field}'.")));
        }
        text
    };
    let name = text("name", written.name, true);
    let version = text("apiVersion", written.api_version, strict);
    let description = text("description", written.description, strict && !later);
    let Reached { paths, cors, receivers } = read_listeners(written.listeners, &mut catalogue, &mut problems);
    let (brokers, balancing) = read_groups(written.endpoint_groups, &mut catalogue, &mut problems);
    let api = EventApi {
        id: ApiId(written.id.unwrap_or_default()),
        name,
        version: if version.is_empty() { "1.0".to_owned() } else { version },
        description,
        paths,
        cors,
        receivers,
        brokers,
        balancing,
        channels: BTreeMap::new(),
        flows: read_flows(written.flows, "flows", &mut problems),
        plans: Vec::new(),
        properties: written.properties.into_iter().flatten().map(property).collect(),
        response_templates: read_templates(written.response_templates, &mut problems),
        limits: written.limits.unwrap_or_default(),
        guarantees: written.guarantees.unwrap_or_default(),
    };
    if problems.is_empty() { Ok(ReadApi { api, catalogue, plans }) } else { Err(problems) }
}

/// Puts into the body of an update what is ours and left out: a client that knows nothing of it does not mean
/// to change it. An empty object sets the defaults again.
pub(super) fn keep_additions(document: &mut Value, former: &EventApi) {
    let Value::Object(fields) = document else { return };
    let additions = [("limits", json!(former.limits)), ("guarantees", json!(former.guarantees))];
    for (field, kept) in additions {
        if fields.get(field).is_none_or(Value::is_null) {
            fields.insert(field.to_owned(), kept);
        }
    }
}

/// Reads a definition from a file, with its plans, and checks it as a whole.
pub(crate) fn read_file(document: Value) -> Result<EventApi, Vec<Problem>> {
    let ReadApi { mut api, plans, .. } = read_api(document, Reading::File)?;
    api.plans = plans.into_iter().map(|read| read.plan).collect();
    api.make_up_ids();
    let problems = api.validate();
    if problems.is_empty() { Ok(api) } else { Err(Fields::of(&api).rename_all(problems)) }
}

/// Something that is understood, and not done.
pub(super) fn unsupported(path: impl Into<String>, what: &str) -> Problem {
    let message = format!("{what} can not be honoured by this gateway yet; leave it out.");
    Problem::new(path, "feature.unsupported", message)
}

fn check_kind(written: &Written, problems: &mut Vec<Problem>) {
    match written.kind.as_deref().map(word).as_deref() {
        Some("async" | "message") => {}
        Some(other) => {
            let message = format!("APIs of type '{other}' are not served here; write 'async'.");
            problems.push(Problem::new("type", "apiType.notAllowed", message));
        }
        None => problems.push(Problem::new("type", "field.required", "An API needs 'type', write 'async'.")),
    }
    let version = written.definition_version.as_deref().map(word);
    if !matches!(version.as_deref(), None | Some("4.0.0" | "v4")) {
        let message = "Only definitions of version 4.0.0 are read.";
        problems.push(Problem::new("definitionVersion", "definitionVersion.invalid", message));
    }
}

fn check_unsupported(written: &Written, problems: &mut Vec<Problem>) {
    let best_match = |mode: &Option<String>| mode.as_deref().is_some_and(|mode| word(mode) != "default");
    if best_match(&written.flow_mode) {
        problems.push(unsupported("flowMode", "A flow mode other than 'default'"));
    }
    if let Some(execution) = &written.flow_execution
        && (best_match(&execution.mode) || execution.match_required == Some(true))
    {
        problems.push(unsupported("flowExecution", "Flow execution other than 'default'"));
    }
    if written.resources.as_ref().is_some_and(|resources| !resources.is_empty()) {
        problems.push(unsupported("resources", "An API with resources"));
    }
    if written.failover.as_ref().is_some_and(|failover| failover["enabled"] == Value::Bool(true)) {
        problems.push(unsupported("failover", "Failover to another endpoint"));
    }
    for (field, image) in [("picture", &written.picture), ("background", &written.background)] {
        if image.as_ref().is_some_and(|image| !image.is_empty()) {
            problems.push(unsupported(field, "An image"));
        }
    }
    check_services("services", written.services.as_ref(), problems);
}

fn property(written: WrittenProperty) -> Property {
    Property {
        key: written.key.unwrap_or_default(),
        value: written.value.unwrap_or_default(),
        encrypted: written.encrypted.unwrap_or_default(),
    }
}

fn read_templates(
    written: Option<BTreeMap<String, BTreeMap<String, WrittenTemplate>>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, BTreeMap<String, ResponseTemplate>> {
    let mut read: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (key, by_type) in written.unwrap_or_default() {
        for (content_type, template) in by_type {
            let Some(status) = template.status else {
                let path = format!("responseTemplates.{key}.{content_type}.status");
                problems.push(Problem::new(path, "field.required", "A response template needs a status."));
                continue;
            };
            let (headers, body) = (template.headers.unwrap_or_default(), template.body.unwrap_or_default());
            let template = ResponseTemplate { status, headers, body };
            read.entry(key.clone()).or_default().insert(content_type, template);
        }
    }
    read
}

/// What may be switched on beside an API, a group or an endpoint, by name.
pub(super) type Services = Map<String, Value>;

/// A service is on unless it says otherwise.
pub(super) fn check_services(path: &str, services: Option<&Services>, problems: &mut Vec<Problem>) {
    for (name, service) in services.into_iter().flatten() {
        if !service.is_null() && service.get("enabled") != Some(&Value::Bool(false)) {
            problems.push(unsupported(format!("{path}.{name}"), "This service"));
        }
    }
}

fn read_catalogue(written: &mut Written, reading: Reading, problems: &mut Vec<Problem>) -> ApiCatalogue {
    let visibility = match written.visibility.as_deref().map(word).as_deref() {
        // The contract ignores what a create says.
        _ if reading == Reading::Create => Visibility::Private,
        Some("private") => Visibility::Private,
        Some("public") => Visibility::Public,
        None if matches!(reading, Reading::File | Reading::Later) => Visibility::Private,
        _ => {
            let message = "Say who may see the API: PUBLIC or PRIVATE.";
            problems.push(Problem::new("visibility", "field.required", message));
            Visibility::Private
        }
    };
    let lifecycle_state = match written.lifecycle_state.as_deref().map(word).as_deref() {
        _ if reading == Reading::Create => LifecycleState::Created,
        None | Some("created") => LifecycleState::Created,
        Some("published") => LifecycleState::Published,
        Some("unpublished") => LifecycleState::Unpublished,
        Some("deprecated") => LifecycleState::Deprecated,
        Some("archived") => LifecycleState::Archived,
        Some(other) => {
            let message = format!("'{other}' is no state in the life of an API.");
            problems.push(Problem::new("lifecycleState", "lifecycleState.invalid", message));
            LifecycleState::Created
        }
    };
    ApiCatalogue {
        visibility,
        lifecycle_state,
        disable_membership_notifications: written.disable_membership_notifications.unwrap_or_default(),
        tags: written.tags.take().unwrap_or_default(),
        groups: written.groups.take().unwrap_or_default(),
        labels: written.labels.take().unwrap_or_default(),
        categories: written.categories.take().unwrap_or_default(),
        cross_id: written.cross_id.take(),
        analytics: written.analytics.take().filter(|analytics| !analytics.is_null()),
        ..ApiCatalogue::default()
    }
}
