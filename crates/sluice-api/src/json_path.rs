//! Paths to one value of a JSON document: the singular queries of JSONPath (RFC 9535 section 2.3.5.1), which lead to
//! at most one node, whatever the document. They are read once and cost as many steps as they are long.
//!
//! Paths of expressions, which may lead to many nodes, are in the crate `sluice-expression`.

use jsonpath_rust::parser::{
    model::{Segment, Selector},
    parse_json_path,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest path, in bytes.
const MAX_BYTES: usize = 1024;

/// A path to at most one value, such as `$.repository.full_name` or `$['items'][0].id`. At most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(i64),
}

impl JsonPath {
    /// The path that a text says; an error is a sentence.
    ///
    /// # Errors
    /// For a text that is no JSONPath, or one that could lead to several values.
    pub fn parse(text: String) -> Result<Self, String> {
        // The parser goes back over parentheses that turn out to be none; a path to one value needs none.
        if text.len() > MAX_BYTES || text.contains('(') {
            return Err(format!("A path to one value has at most {MAX_BYTES} bytes and no parentheses."));
        }
        let query = parse_json_path(&text).map_err(|_| {
            format!("'{text}' is no JSONPath as RFC 9535 has it; it begins with $, as $.order.id.")
        })?;
        let steps = query.segments.into_iter().map(step).collect::<Option<_>>();
        let steps = steps.ok_or_else(|| {
            format!("'{text}' may lead to several values; a path to one has names and indices only.")
        })?;
        Ok(Self { text, steps })
    }

    /// The value to which it leads, if it is there.
    pub fn find<'j>(&self, document: &'j Value) -> Option<&'j Value> {
        self.steps.iter().try_fold(document, |node, step| match step {
            Step::Name(name) => node.as_object()?.get(name),
            Step::Index(index) => {
                let items = node.as_array()?;
                let from_end = || items.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
                items.get(usize::try_from(*index).ok().or_else(from_end)?)
            }
        })
    }
}

fn step(segment: Segment) -> Option<Step> {
    let selector = match segment {
        Segment::Selector(selector) => selector,
        Segment::Selectors(mut selectors) if selectors.len() == 1 => selectors.pop()?,
        Segment::Selectors(_) | Segment::Descendant(_) => return None,
    };
    match selector {
        Selector::Name(name) => Some(Step::Name(name)),
        Selector::Index(index) => Some(Step::Index(index)),
        Selector::Wildcard | Selector::Slice(..) | Selector::Filter(_) => None,
    }
}

impl TryFrom<String> for JsonPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl From<JsonPath> for String {
    fn from(path: JsonPath) -> Self {
        path.text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_one_value_or_to_none() {
        let document = json!({ "a": { "b c": [1, 2, { "d": "x" }] }, "ä": null });
        let find = |path: &str| JsonPath::parse(path.to_owned()).unwrap().find(&document).cloned();
        assert_eq!(find("$"), Some(document.clone()));
        assert_eq!(find("$.a['b c'][0]"), Some(json!(1)));
        assert_eq!(find("$.a[\"b c\"][-1].d"), Some(json!("x")));
        assert_eq!(find("$.ä"), Some(json!(null)));
        for nowhere in ["$.b", "$.a.b", "$.a['b c'][3]", "$.a['b c'][-4]", "$.a[0]", "$[0]", "$.a['b c'].d"] {
            assert_eq!(find(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_path_that_may_lead_to_several_values_is_refused() {
        for several in ["$.*", "$..a", "$[0,1]", "$['a','b']", "$[1:2]", "$[?@.a]", "$[?length(@.a) > 1]"] {
            assert!(JsonPath::parse(several.to_owned()).is_err(), "{several}");
        }
        for none in ["", "a", "$.", "$["] {
            assert!(JsonPath::parse(none.to_owned()).is_err(), "{none}");
        }
    }

    #[test]
    fn a_path_at_the_limit_is_read_and_a_longer_one_is_not() {
        let path = |bytes: usize| JsonPath::parse(format!("$.{}", "a".repeat(bytes - 2)));
        assert!(path(MAX_BYTES).is_ok() && path(MAX_BYTES + 1).is_err());
    }
}
