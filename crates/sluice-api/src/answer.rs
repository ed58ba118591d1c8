//! What an API says about its answers: templates for errors, and which pages of other origins may read them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client is told in place of an error's own text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseTemplate {
    /// The status of the answer, from 400 to 599.
    pub status: u16,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body: a template of expressions, among them `#parameters`, what the error says about itself.
    #[serde(default)]
    pub body: String,
}

/// Cross-origin resource sharing, as browsers ask for it (Fetch standard, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// The origins whose pages may use the API, as `https://app.example`; `*` is every page.
    pub allow_origin: Vec<String>,
    /// The methods they may use. Default GET and POST.
    #[serde(default = "Cors::default_methods")]
    pub allow_methods: Vec<String>,
    /// The request headers they may send beside those that are always allowed.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// The response headers they may read beside those that can always be read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Whether they may send cookies and credentials; not with the origin `*`. Default false.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How many seconds a browser may remember the answer; it decides by itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}

impl Cors {
    fn default_methods() -> Vec<String> {
        vec!["GET".to_owned(), "POST".to_owned()]
    }
}
