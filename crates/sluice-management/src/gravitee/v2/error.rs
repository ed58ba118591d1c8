//! Error bodies of the contract: the same errors as in the 3.20 contract, in another form, with every fault at its
//! field.

use crate::refusal::Refusal;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::Problem;

/// An echoed value is for people; longer ones are left out.
const MAX_ECHO: usize = 256;

/// Parts of a body in which secrets stand: nothing of them is echoed.
const UNSPOKEN: [&str; 3] = ["onfiguration", "properties", "headers"];

/// What is told of a field that can not be understood. The sentences stand in the details.
const VALIDATION: &str = "Validation error";

/// An answer that says what went wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Error {
    /// The status of the answer.
    http_status: u16,
    /// What went wrong, and what to do.
    message: String,
    /// The stable code of the rule.
    technical_code: &'static str,
    /// What the message speaks of.
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
    /// Each fault at its field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// One fault of a body.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ErrorDetail")]
struct Detail {
    /// What is wrong, and what would be right.
    message: String,
    /// The field.
    location: String,
    /// What stands there, if it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_value: Option<Value>,
}

impl Error {
    /// The same error in this contract's form.
    pub(crate) fn of(refusal: &Refusal) -> Self {
        let fields = refusal.problems.iter().filter(|problem| !problem.path.is_empty());
        let detail = |problem: &Problem| Detail {
            message: problem.message.clone(),
            location: problem.path.clone(),
            invalid_value: refusal.document.as_ref().and_then(|document| shown(document, &problem.path)),
        };
        let details: Vec<_> = fields.map(detail).collect();
        let (first, all) = (refusal.problems.first(), &refusal.problems);
        let about_fields = !all.is_empty() && all.iter().all(|problem| is_form(problem.code));
        Self {
            http_status: refusal.status.as_u16(),
            message: if about_fields { VALIDATION.to_owned() } else { refusal.message.clone() },
            technical_code: match first {
                Some(problem) if is_bad_word(problem) => "invalidValue",
                _ => refusal.code,
            },
            parameters: refusal.parameters.clone(),
            details,
        }
    }
}

/// Whether a rule is about how a field is written, not about what it means.
fn is_form(code: &str) -> bool {
    matches!(code, "document.field" | "field.required") || is_word_code(code)
}

/// Codes of words that are none of those allowed.
fn is_word_code(code: &str) -> bool {
    matches!(
        code,
        "action.invalid"
            | "endpoints.loadBalancer.invalid"
            | "flow.selectors.invalid"
            | "flow.selectors.type.invalid"
            | "lifecycleState.invalid"
            | "listeners.entrypoints.qos.invalid"
            | "listeners.type.invalid"
            | "plan.mode.invalid"
            | "plan.status.invalid"
            | "plan.validation.invalid"
            | "subscription.consumerStatus.invalid"
            | "subscription.status.invalid"
    )
}

fn is_bad_word(problem: &Problem) -> bool {
    is_word_code(problem.code)
        || (problem.code == "document.field" && problem.message.starts_with("Unknown variant"))
}

/// The value at a path, where it is short, plain and no secret.
fn shown(document: &Value, path: &str) -> Option<Value> {
    if UNSPOKEN.iter().any(|part| path.contains(part)) {
        return None;
    }
    let pointer = format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"));
    match document.pointer(&pointer)? {
        Value::Object(_) | Value::Array(_) => None,
        Value::String(text) if text.len() > MAX_ECHO => None,
        value => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::json;

    use super::*;

    fn body(problems: Vec<Problem>, document: &Value) -> Value {
        serde_json::to_value(Error::of(&Refusal::from(problems).about(document))).unwrap()
    }

    #[test]
    fn a_fault_of_a_field_is_a_validation_error_at_its_place() {
        let told = body(
            vec![Problem::new("listeners[0].type", "document.field", "Must be text.")],
            &json!({ "listeners": [{ "type": 5 }] }),
        );
        assert_eq!(told["message"], "Validation error");
        assert_eq!(
            told["details"],
            json!([{ "message": "Must be text.", "location": "listeners[0].type", "invalidValue": 5 }])
        );
    }

    #[test]
    fn a_word_that_is_none_of_those_allowed_has_a_code_of_its_own() {
        let told = body(
            vec![Problem::new("lifecycleState", "lifecycleState.invalid", "No.")],
            &json!({ "lifecycleState": "x" }),
        );
        assert_eq!((&told["technicalCode"], &told["httpStatus"]), (&json!("invalidValue"), &json!(400)));
    }

    #[test]
    fn a_rule_keeps_its_sentence_and_its_code() {
        let told = body(vec![Problem::new("a", "endpoints.count", "Too many.")], &json!({}));
        assert_eq!(told["technicalCode"], "endpoints.count");
        assert!(told["message"].as_str().unwrap().contains("Too many."));
        assert_eq!(told["details"][0].get("invalidValue"), None);
    }

    #[test]
    fn secrets_and_long_values_are_not_echoed() {
        let document = json!({
            "endpointGroups": [{ "endpoints": [{ "configuration": { "security": { "password": 5 } } }] }],
            "name": "x".repeat(MAX_ECHO + 1),
        });
        for path in ["endpointGroups[0].endpoints[0].configuration.security.password", "name"] {
            let told = body(vec![Problem::new(path, "document.field", "No.")], &document);
            assert_eq!(told["details"][0].get("invalidValue"), None, "{path}");
        }
    }

    #[test]
    fn an_error_without_problems_has_no_details() {
        let answer = Refusal::new(StatusCode::NOT_FOUND, "api.notFound", "There is none.");
        let told = serde_json::to_value(Error::of(&answer)).unwrap();
        assert_eq!(
            told,
            json!({ "httpStatus": 404, "message": "There is none.", "technicalCode": "api.notFound" })
        );
    }
}
