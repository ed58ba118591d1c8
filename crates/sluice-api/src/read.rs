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
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or("not readable");
            // Told already, by line and column.
            let said = format!("error: line {line} column {column}: ");
            let reason = match reason.strip_prefix(&said).unwrap_or(reason) {
                // The reader names functions of its own here.
                reason if reason.starts_with("multiple YAML documents") => {
                    "here a second document begins; write one in each file or body"
                }
                reason => reason,
            };
            syntax("YAML", line, column, reason)
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
            None => Problem::new(path, "document.field", sentence(&plain(&text))),
        }
    })
}

/// What the reader says of a kind of value, in words of documents: its own are those of the program.
fn plain(text: &str) -> String {
    let Some((before, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    let kind = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object, {} where nothing is to be said",
        _ => return text.to_owned(),
    };
    format!("{before}, expected {kind}")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the faults count")]
    struct Part {
        size: Option<u32>,
        names: Option<Vec<String>>,
        on: Option<bool>,
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_in_words_of_documents() {
        for (value, path, message) in [
            (
                json!({ "a": null }),
                "a",
                "Invalid type: null, expected an object, {} where nothing is to be said.",
            ),
            (
                json!({ "a": { "size": -1 } }),
                "a.size",
                "Invalid value: integer `-1`, expected a whole number from 0.",
            ),
            (json!({ "a": { "names": "b" } }), "a.names", "Invalid type: string \"b\", expected a list."),
            (json!({ "a": { "names": [1] } }), "a.names[0]", "Invalid type: integer `1`, expected a text."),
            (
                json!({ "a": { "on": "yes" } }),
                "a.on",
                "Invalid type: string \"yes\", expected true or false.",
            ),
            (json!([]), "", "Invalid type: sequence, expected an object."),
        ] {
            let problem = from_value::<BTreeMap<String, Part>>(value).unwrap_err();
            assert_eq!((&*problem.path, &*problem.message), (path, message));
        }
    }

    #[test]
    fn a_fault_in_the_syntax_is_told_with_its_place_once() {
        let problem = parse_document("a: [", Format::Yaml).unwrap_err();
        assert_eq!(problem.message, "This is not YAML: line 1, column 4: unclosed bracket '['.");
        let problem = parse_document("a: 1\n---\nb: 2\n", Format::Yaml).unwrap_err();
        assert_eq!(
            problem.message,
            "This is not YAML: line 3, column 1: here a second document begins; write one in each file or body."
        );
    }
}
