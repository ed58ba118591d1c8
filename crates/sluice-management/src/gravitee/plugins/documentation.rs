//! A page on a plugin, in Markdown, made from the schema of its settings.

use serde_json::Value;

use super::Plugin;

/// The page.
pub(super) fn page(plugin: &Plugin) -> String {
    let mut page = format!("# {}\n\n{}\n", plugin.name, plugin.description);
    if !plugin.notes.is_empty() {
        page.push_str(&format!("\n{}\n", plugin.notes));
    }
    settings(&mut page, "Settings", &plugin.schema);
    if let Some(schema) = &plugin.subscription_schema {
        settings(&mut page, "What a subscriber says", schema);
    }
    page
}

fn settings(page: &mut String, title: &str, schema: &Value) {
    let mut rows = String::new();
    describe(&mut rows, "", schema);
    if rows.is_empty() {
        return;
    }
    page.push_str(&format!(
        "\n## {title}\n\n| Setting | Type | Default | Meaning |\n|---|---|---|---|\n{rows}"
    ));
}

fn describe(rows: &mut String, prefix: &str, schema: &Value) {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|it| it.as_str() == Some(name)))
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let default = match &field["default"] {
            _ if required(name) => "required".to_owned(),
            // Of an object, the defaults of its fields say it.
            Value::Null | Value::Object(_) => String::new(),
            default => format!("`{default}`"),
        };
        let meaning =
            field["description"].as_str().unwrap_or_default().replace('\n', "<br>").replace('|', "\\|");
        rows.push_str(&format!("| `{path}` | {} | {default} | {meaning} |\n", kind(field)));
        describe(rows, &format!("{path}."), field);
        describe(rows, &format!("{path}[]."), &field["items"]);
    }
}

fn kind(field: &Value) -> String {
    match (field["type"].as_str(), field["items"]["type"].as_str()) {
        (Some("array"), Some(items)) => format!("list of {items}"),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "any".to_owned(),
    }
}
