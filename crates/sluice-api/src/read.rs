//! From text to values, with errors that say where.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{EventApi, Problem, problem::Carried};

/// The two formats of a document. YAML is read when the text is not said to be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

/// Reads a document; a fault in its syntax is told with line and column, both from 1.
pub fn parse_document(text: &str, format: Format) -> Result<Value, Problem> {
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
            syntax("JSON", error.line(), error.column(), reason)
        }),
        Format::Yaml => serde_saphyr::from_str(text).map_err(|error| {
            let location = error.location();
            let (line, column) = location.map_or((1, 1), |at| (at.line() as usize, at.column() as usize));
            syntax("YAML", line, column, error.to_string().lines().next().unwrap_or("not readable"))
        }),
    }
}

fn syntax(format: &str, line: usize, column: usize, reason: &str) -> Problem {
    let message = format!("This is not {format}: line {line}, column {column}: {reason}.");
    Problem::new("", "document.syntax", message)
}

/// Turns a value into its type; a field that is unknown, missing or of the wrong kind is told by path.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        let text = error.inner().to_string();
        match Carried::find(&text) {
            Some(problem) => problem.within(&path),
            None => Problem::new(path, "document.field", sentence(&text)),
        }
    })
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let mut sentence: String = first.into_iter().chain(characters).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

impl EventApi {
    /// Reads a definition and makes up the ids that were left out; then everything is checked that
    /// [`validate`](Self::validate) and [`unkept_promises`](Self::unkept_promises) check.
    pub fn from_document(document: Value) -> Result<Self, Vec<Problem>> {
        let mut api: Self = from_value(document).map_err(|problem| vec![problem])?;
        api.make_up_ids();
        let mut problems = api.validate();
        problems.extend(api.unkept_promises());
        if problems.is_empty() { Ok(api) } else { Err(problems) }
    }

    /// Makes the ids that were left out from the names, so that the same document always gets the same ids.
    pub fn make_up_ids(&mut self) {
        if self.id.0.is_empty() {
            self.id.0 = slug(&self.name);
        }
        for plan in &mut self.plans {
            if plan.id.0.is_empty() {
                plan.id.0 = format!("{}-{}", self.id, slug(&plan.name));
            }
        }
    }
}

/// A name as an id: lower case, runs of anything but letters and digits as one `-`.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|character: char| !character.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}
