//! The settings of a policy: JSON of which only the policy knows the meaning, with the secrets in it taken out.
//!
//! What is a secret is told by its name alone, so that a definition can be kept and shown by parts that know no
//! policy.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{MASK, Secret};

/// A text under one of these names is a secret, whatever the policy.
pub const SECRET_NAMES: [&str; 2] = ["secret", "password"];

/// Settings as they are written; secrets show as [`MASK`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    shown: Value,
    /// By JSON pointer (RFC 6901).
    hidden: Vec<(String, Secret)>,
}

impl Settings {
    /// Takes the secrets of settings into hiding.
    pub fn new(mut settings: Value) -> Self {
        let mut hidden = Vec::new();
        hide(&mut settings, &mut String::new(), &mut hidden);
        Self { shown: settings, hidden }
    }

    /// The settings with the mask in place of each secret.
    pub const fn shown(&self) -> &Value {
        &self.shown
    }

    /// The settings with the secrets, for the policy alone.
    pub fn expose(&self) -> Value {
        let mut settings = self.shown.clone();
        for (pointer, secret) in &self.hidden {
            if let Some(place) = settings.pointer_mut(pointer) {
                *place = Value::from(secret.expose());
            }
        }
        settings
    }

    /// Every secret with its path in the settings.
    pub(crate) fn secrets_mut(&mut self) -> impl Iterator<Item = (String, &mut Secret)> {
        self.hidden.iter_mut().map(|(pointer, secret)| (path(pointer), secret))
    }
}

/// Settings do not nest deeper than the parser of the document allows.
fn hide(value: &mut Value, pointer: &mut String, hidden: &mut Vec<(String, Secret)>) {
    let end = pointer.len();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                match value {
                    Value::String(text) if SECRET_NAMES.contains(&&**name) => {
                        let text = std::mem::replace(text, MASK.to_owned());
                        hidden.push((pointer.clone(), Secret::new(text)));
                    }
                    other => hide(other, pointer, hidden),
                }
                pointer.truncate(end);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                pointer.push_str(&format!("/{index}"));
                hide(value, pointer, hidden);
                pointer.truncate(end);
            }
        }
        _ => {}
    }
}

/// A pointer in the form in which problems name fields, as `rules[0].secret`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{segment}]"));
        } else {
            let dot = if path.is_empty() { "" } else { "." };
            path.push_str(&format!("{dot}{}", segment.replace("~1", "/").replace("~0", "~")));
        }
    }
    path
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_at_any_depth_and_come_back_for_the_policy() {
        let written = json!({ "secret": "s", "rules": [{ "a/b": { "password": "p" } }], "secrets": "shown" });
        let mut settings = Settings::new(written.clone());
        let shown = json!({ "secret": MASK, "rules": [{ "a/b": { "password": MASK } }], "secrets": "shown" });
        assert_eq!(serde_json::to_value(&settings).unwrap(), shown);
        assert_eq!(settings.expose(), written);
        assert!(!format!("{settings:?}").contains("\"p\""));
        let paths: Vec<_> = settings.secrets_mut().map(|(path, _)| path).collect();
        assert_eq!(paths, ["rules[0].a/b.password", "secret"]);
    }

    #[test]
    fn a_secret_that_is_set_again_is_the_one_that_the_policy_gets() {
        let mut settings = Settings::new(json!({ "secret": MASK }));
        settings.secrets_mut().for_each(|(_, secret)| *secret = Secret::new("kept"));
        assert_eq!(settings.expose(), json!({ "secret": "kept" }));
    }
}
