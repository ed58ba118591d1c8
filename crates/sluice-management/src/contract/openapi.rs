//! The OpenAPI 3.1 document of a contract, made from its table.
//!
//! What a client sends and what it is answered may differ in the same type (a field with a default may be left
//! out, but is always answered), so both have their own schemas.

use std::collections::BTreeSet;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Contract, call::Call};

const SCHEMAS: &str = "#/components/schemas/";

/// What the schema of an answer is called where requests have another one of the same name.
const ANSWERED: &str = "Answered";

/// Refusals that every call may end with.
const ALWAYS: [(&str, &str); 4] = [
    ("401", "Name or password of the administrator are missing or wrong."),
    ("403", "A browser asked on behalf of a page of another origin."),
    ("500", "The store failed, or the gateway did not serve what it had agreed to."),
    ("503", "Too many passwords are being checked; try again after `Retry-After` seconds."),
];

/// Makes the document of a contract.
pub(super) fn document(contract: &Contract) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for call in &contract.calls {
        let operation = schemas.operation(call);
        let path = paths.entry(format!("/{}", call.path)).or_insert_with(|| json!({}));
        path[call.method.to_ascii_lowercase()] = operation;
    }
    let error = (contract.error)(&mut schemas.answers).to_value();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": contract.title,
            "description": contract.description,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": contract.bases.iter().map(|base| json!({ "url": base })).collect::<Vec<_>>(),
        "security": [{ "administrator": [] }],
        "tags": tags(&contract.calls),
        "paths": paths,
        "components": {
            "securitySchemes": { "administrator": { "type": "http", "scheme": "basic" } },
            "responses": {
                "Error": {
                    "description": "What went wrong, and what to do.",
                    "content": { "application/json": { "schema": error } },
                },
            },
        },
    });
    document["components"]["schemas"] = schemas.finish(&mut document).into();
    document
}

fn tags(calls: &[Call]) -> Vec<Value> {
    let names: BTreeSet<_> = calls.iter().map(tag).collect();
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// Calls are grouped by the last kind of thing in their path.
fn tag(call: &Call) -> &'static str {
    let words = call.path.split('/').filter(|segment| !segment.starts_with(['{', '_']));
    let kinds = [
        "websub-apis",
        "webbroker-apis",
        "qos",
        "apis",
        "streams",
        "plans",
        "api-keys",
        "webhook-secrets",
        "subscriptions",
        "applications",
        "entrypoints",
        "endpoints",
        "policies",
    ];
    let mut found = words.filter_map(|word| kinds.into_iter().find(|kind| *kind == word));
    let first = found.next().unwrap_or("apis");
    found.next_back().unwrap_or(first)
}

/// The schemas that the operations of a document refer to.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|it| it.definitions_path = "/components/schemas".into());
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    fn operation(&mut self, call: &Call) -> Value {
        let mut operation = json!({
            "operationId": call.id,
            "summary": call.summary,
            "description": format!("{}.", call.summary),
            "tags": [tag(call)],
            "responses": self.responses(call),
        });
        let parameters = self.parameters(call);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = &call.body {
            let schema = (body.schema)(&mut self.requests).to_value();
            let content = body.media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema })));
            let content: Map<_, _> = content.collect();
            operation["requestBody"] = json!({ "required": body.required, "content": content });
        }
        operation
    }

    fn parameters(&mut self, call: &Call) -> Vec<Value> {
        let path = call.path_parameters().map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                "description": format!("The id of the {name}."),
            })
        });
        let mut parameters: Vec<_> = path.collect();
        for query in &call.query {
            let schema = (query.schema)(&mut self.requests).to_value();
            let mut parameter = json!({
                "name": query.name, "in": "query", "schema": schema, "description": query.description,
            });
            if parameter["schema"]["type"] == "array" {
                parameter["explode"] = false.into();
            }
            parameters.push(parameter);
        }
        if call.conditional {
            parameters.push(json!({
                "name": "If-Match", "in": "header", "schema": { "type": "string" },
                "description": "The `ETag` of the version that is meant; another one gets 412.",
            }));
        }
        parameters
    }

    fn responses(&mut self, call: &Call) -> Map<String, Value> {
        let refusal =
            |description: &str| json!({ "$ref": "#/components/responses/Error", "description": description });
        let mut responses: Map<String, Value> =
            ALWAYS.iter().map(|(status, description)| ((*status).to_owned(), refusal(description))).collect();
        let has_path = call.path_parameters().next().is_some();
        let takes_any = has_path || call.body.is_some() || !call.query.is_empty();
        let restricted = call.body.as_ref().is_some_and(|body| body.strict);
        for (may, status, description) in [
            (takes_any, "400", "Something in the request is not understood, or not possible now."),
            (has_path, "404", "There is nothing of this id."),
            (call.conditional, "412", "It was changed since the version that `If-Match` names."),
            (call.body.is_some(), "413", "The body is larger than 1 MiB."),
            (restricted, "415", "The body is of none of the media types that are read."),
        ] {
            if may {
                responses.insert(status.to_owned(), refusal(description));
            }
        }
        for (status, description) in &call.refusals {
            responses.insert(status.to_string(), refusal(description));
        }
        for answer in &call.answers {
            let mut response = json!({ "description": answer.description });
            if let Some((body, media)) = answer.body {
                let schemas = if answer.as_written { &mut self.requests } else { &mut self.answers };
                let schema = body(schemas).to_value();
                response["content"] = json!({ media: { "schema": schema } });
            }
            if call.tagged {
                response["headers"] = json!({
                    "ETag": { "description": "The version, for `If-Match`.", "schema": { "type": "string" } },
                });
            }
            responses.insert(answer.status.to_string(), response);
        }
        responses
    }

    /// Every schema by name, once the answers in `document` refer to their own.
    fn finish(mut self, document: &mut Value) -> Map<String, Value> {
        let mut schemas = self.requests.take_definitions(true);
        let answers = self.answers.take_definitions(true);
        let differs = |name: &String| schemas.get(name).is_some_and(|request| *request != answers[name]);
        let renamed: BTreeSet<String> = answers.keys().filter(|name| differs(name)).cloned().collect();
        for (name, mut schema) in answers {
            rename(&mut schema, &renamed);
            let name = if renamed.contains(&name) { format!("{name}{ANSWERED}") } else { name };
            schemas.insert(name, schema);
        }
        if let Some(paths) = document["paths"].as_object_mut() {
            for operation in
                paths.values_mut().flat_map(|path| path.as_object_mut()).flat_map(|it| it.values_mut())
            {
                rename(&mut operation["responses"], &renamed);
            }
        }
        rename(&mut document["components"], &renamed);
        schemas
    }
}

/// Makes every reference to one of these names one to the answered form.
fn rename(value: &mut Value, names: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(target) if name == "$ref" => {
                        if target.strip_prefix(SCHEMAS).is_some_and(|name| names.contains(name)) {
                            target.push_str(ANSWERED);
                        }
                    }
                    field => rename(field, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}
