//! docs/policies.md against the catalogue: what the page says of each policy is made from what the policy says of itself.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use super::{built, schemas::WRITE};
use crate::{Entry, Hook, catalogue};

/// What stands before it is written by people.
const MARK: &str = "<!-- From here on the page is made from the catalogue: see crates/sluice-policy/src/tests/docs.rs. -->\n";

#[test]
fn the_page_says_what_the_catalogue_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies.md");
    let page = fs::read_to_string(&file).unwrap();
    let (by_people, made) = page.split_once(MARK).unwrap();
    let wanted: String = catalogue().iter().map(section).collect();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, format!("{by_people}{MARK}{wanted}")).unwrap();
    } else {
        assert_eq!(made, wanted, "set {WRITE}=1 if this is meant");
    }
}

#[test]
fn every_example_is_understood_at_every_hook_that_it_can_stand_at() {
    for entry in catalogue() {
        let settings: Value = serde_json::from_str(entry.example).unwrap();
        let reads_message = entry.example.contains("#message");
        for hook in entry.hooks.iter().filter(|hook| hook.has_message() || !reads_message) {
            let mut example = settings.to_string().replace("'webhook'", "'pin'");
            if *hook == Hook::Respond {
                example = example.replace("\"request\":", "\"response\":");
            }
            let settings = serde_json::from_str(&example).unwrap();
            assert!(built(entry, *hook, settings).is_ok(), "{} at {hook:?}", entry.id);
        }
    }
}

fn section(entry: &Entry) -> String {
    let mut page = String::new();
    let hooks: Vec<_> = entry.hooks.iter().map(|hook| format!("`{}`", hook.as_str())).collect();
    writeln!(page, "\n## {}\n\n{}\n", entry.id, entry.description).unwrap();
    write!(page, "At {}.", hooks.join(", ")).unwrap();
    if let [alias] = entry.aliases {
        write!(page, " Also known as `{alias}`.").unwrap();
    }
    writeln!(page, " {}\n", entry.documentation).unwrap();
    writeln!(page, "| Setting | Kind | Default | Meaning |\n|---|---|---|---|").unwrap();
    rows(&mut page, "", &entry.schema());
    let example: BTreeMap<String, Value> = serde_json::from_str(entry.example).unwrap();
    writeln!(page, "\n```yaml\n- policy: {}\n  configuration:", entry.id).unwrap();
    for (name, value) in example {
        writeln!(page, "    {name}: {value}").unwrap();
    }
    writeln!(page, "```").unwrap();
    page
}

/// A row for each setting; those inside another have its name before theirs.
fn rows(page: &mut String, prefix: &str, schema: &Value) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
        let inside = setting["properties"].is_object();
        let default = match &setting["default"] {
            _ if required.contains(&&**name) => "required".to_owned(),
            Value::Null | Value::Object(_) => String::new(),
            value => format!("`{value}`"),
        };
        let described = setting["description"].as_str().unwrap_or_default().replace('\n', " ");
        let meaning = described.replace(" Required.", "");
        let meaning = meaning.split(" Default ").next().unwrap_or_default();
        writeln!(
            page,
            "| `{prefix}{name}` | {} | {default} | {} |",
            kind(setting),
            meaning.trim_end_matches('.')
        )
        .unwrap();
        if inside {
            rows(page, &format!("{prefix}{name}."), setting);
        }
        rows(page, &format!("{prefix}{name}[]."), &setting["items"]);
    }
}

fn kind(setting: &Value) -> String {
    let choices = setting["oneOf"].as_array().or_else(|| setting["anyOf"].as_array()?[0]["oneOf"].as_array());
    if let Some(choices) = choices {
        let words: Vec<_> = choices.iter().filter_map(|choice| choice["const"].as_str()).collect();
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    match setting["type"].as_str() {
        Some("string") => "text",
        Some("integer") => "number",
        Some("boolean") => "true or false",
        Some("array") => "list",
        _ => "settings",
    }
    .to_owned()
}
