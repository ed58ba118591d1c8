//! How a subscriber is called, in all the shapes in which clients of either contract write it: under
//! `configuration` or `consumerConfiguration`, the callback's fields beside `entrypointId` (or `type`) or below
//! `entrypointConfiguration`.

use serde_json::{Map, Value, json};
use sluice_api::{Problem, from_value};
use sluice_store::ConsumerConfiguration;

use crate::RegistryError;

const NESTED: &str = "entrypointConfiguration";

/// What was read, and where it stood.
#[derive(Debug, Clone)]
pub(super) struct ReadConsumer {
    /// Nothing when the body says nothing of it.
    pub(super) consumer: Option<ConsumerConfiguration>,
    /// The field that all of it stands in.
    field: &'static str,
    nested: bool,
}

/// Takes it out of a body.
pub(super) fn read_consumer(body: &mut Map<String, Value>) -> Result<ReadConsumer, Vec<Problem>> {
    const FIELDS: [&str; 2] = ["consumerConfiguration", "configuration"];
    let mut given = FIELDS.into_iter().filter_map(|field| Some((field, body.remove(field)?)));
    let Some((field, configuration)) = given.find(|(_, value)| !value.is_null()) else {
        return Ok(ReadConsumer { consumer: None, field: FIELDS[1], nested: false });
    };
    read(configuration, field).map_err(|problem| vec![problem.within(field)])
}

fn read(configuration: Value, field: &'static str) -> Result<ReadConsumer, Problem> {
    // Some clients send the object as the text of one.
    let configuration = match configuration {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    };
    let Value::Object(mut fields) = configuration else {
        return Err(Problem::new("", "document.field", "Must be an object."));
    };
    let mut text = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(Problem::new(name, "document.field", "Must be text.")),
    };
    let (id, kind, channel) = (text("entrypointId")?, text("type")?, text("channel")?);
    let nested = fields.remove(NESTED).filter(|nested| !nested.is_null());
    let read = ReadConsumer { consumer: None, field, nested: nested.is_some() };
    let callback = match nested {
        Some(Value::Object(nested)) if fields.is_empty() => nested,
        Some(Value::Object(_)) => {
            let message = format!("Put all settings of the entrypoint into '{NESTED}', or none.");
            return Err(Problem::new(
                fields.keys().next().cloned().unwrap_or_default(),
                "document.field",
                message,
            ));
        }
        Some(_) => return Err(Problem::new(NESTED, "document.field", "Must be an object.")),
        None => fields,
    };
    // Without an entrypoint nobody knows what the other fields mean.
    let Some(connector) = id.or(kind) else {
        let message = "Say by which entrypoint messages are handed over, for example 'webhook'.";
        return Err(Problem::new("entrypointId", "subscription.entrypoint.missing", message));
    };
    let at = if read.nested { NESTED } else { "" };
    if callback.get("callbackUrl").is_none_or(Value::is_null) {
        let message = "Say where messages are sent: an http or https URL.";
        return Err(Problem::new("callbackUrl", "field.required", message).within(at));
    }
    let callback = from_value(Value::Object(callback)).map_err(|problem| problem.within(at))?;
    Ok(ReadConsumer {
        consumer: Some(ConsumerConfiguration { connector, channel, callback, hub: None }),
        ..read
    })
}

impl ReadConsumer {
    /// The same error, its problems at the fields that the client wrote.
    pub(super) fn rename(&self, error: RegistryError) -> RegistryError {
        error.at(|path| self.path(path))
    }

    fn path(&self, path: &str) -> String {
        let field = self.field;
        match path.split_once(['.', '[']) {
            None if path == "connector" => format!("{field}.entrypointId"),
            None if path == "channel" => format!("{field}.channel"),
            _ if path == "callback" || path.starts_with("callback.") => {
                let at = if self.nested { format!("{field}.{NESTED}") } else { field.to_owned() };
                format!("{at}{}", &path["callback".len()..])
            }
            _ => path.to_owned(),
        }
    }
}

/// It, as the older contract answers it: all fields beside each other.
pub(super) fn flat(consumer: &ConsumerConfiguration) -> Value {
    let mut fields = serde_json::to_value(&consumer.callback).unwrap_or_default();
    fields["entrypointId"] = json!(consumer.connector);
    if let Some(channel) = &consumer.channel {
        fields["channel"] = json!(channel);
    }
    fields
}
