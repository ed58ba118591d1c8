//! JSON Schemas of settings, in the form that makers of forms read: draft 7, in one piece, a list of words for
//! an enum, no `null`. They are made from the structs that read the settings, and so can not drift from them.

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

/// The schema of some settings.
pub(crate) fn of_settings<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|it| it.inline_subschemas = true).with_transform(InForms);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A schema that was made elsewhere, in the same form.
pub(crate) fn in_forms(schema: Value) -> Value {
    let Ok(mut schema) = Schema::try_from(schema) else { return Value::Bool(true) };
    InForms.transform(&mut schema);
    schema.to_value()
}

/// Takes away what makers of forms do not read.
#[derive(Debug, Clone)]
struct InForms;

impl Transform for InForms {
    fn transform(&mut self, schema: &mut Schema) {
        without_null(schema);
        as_words(schema);
        // How wide a number is in Rust says nothing to others; its bounds are there beside it.
        if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.contains("int")) {
            schema.remove("format");
        }
        transform_subschemas(self, schema);
    }
}

/// A setting that may be left out is not one that may be null.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| choice["type"] != "null");
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
}

/// An enum whose words are described one by one, as a list of words with one description.
fn as_words(schema: &mut Schema) {
    let Some(Value::Array(choices)) = schema.get("oneOf") else { return };
    // Words that need no description of their own stand together in front of the others.
    let words = |choice: &Value| match (&choice["const"], &choice["enum"]) {
        (Value::String(word), _) => Some(vec![word.clone()]),
        (_, Value::Array(words)) => Some(words.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => None,
    };
    let Some(groups) = choices.iter().map(words).collect::<Option<Vec<_>>>() else { return };
    let mut description = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (words, choice) in groups.iter().zip(choices) {
        if let Some(meaning) = choice["description"].as_str() {
            description.push_str(&format!("\n- `{}`: {meaning}", words.join("`, `")));
        }
    }
    let words: Vec<_> = groups.concat();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(words));
    schema.insert("description".to_owned(), json!(description));
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Some settings.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Settings {
        /// How many.
        #[serde(default)]
        how_many: u32,
        /// Which way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// What is not shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<sluice_api::Secret>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Way {
        /// Upwards.
        Up,
        /// Downwards.
        Down,
    }

    #[test]
    fn a_schema_stands_by_itself() {
        let schema = of_settings::<Settings>();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(
            schema["properties"],
            json!({
                "howMany": { "type": "integer", "minimum": 0, "default": 0, "description": "How many." },
                "way": {
                    "type": "string", "enum": ["up", "down"],
                    "description": "Which way.\n- `up`: Upwards.\n- `down`: Downwards.",
                },
                "secret": {
                    "type": "string", "format": "password", "writeOnly": true,
                    "description": "What is not shown.",
                },
            })
        );
    }
}
