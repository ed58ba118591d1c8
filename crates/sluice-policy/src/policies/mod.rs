//! Every policy, one file each, and what their settings have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::Problem;
use sluice_expression::Expression;

use crate::site::{Site, all};

pub(crate) mod api_key_auth;
pub(crate) mod assign_attributes;
pub(crate) mod assign_content;
pub(crate) mod basic_auth;
mod headers;
pub(crate) mod interrupt;
pub(crate) mod latency;
pub(crate) mod log_message;
pub(crate) mod message_filtering;
pub(crate) mod rate_limit;
pub(crate) mod rbac;
pub(crate) mod remove_headers;
pub(crate) mod set_headers;
pub(crate) mod transform_headers;
pub(crate) mod webhook_signature_generator;
pub(crate) mod websub_hmac_auth;

/// A name with a value.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    /// The name.
    name: String,
    /// The value; it may have expressions in it.
    value: String,
}

impl Named {
    /// Every name of a list with its value parsed; `check` says what is wrong with a name.
    fn parse_all(
        list: Vec<Self>,
        path: &str,
        site: &Site<'_>,
        check: impl Fn(&str, &str) -> Result<(), Problem>,
    ) -> Result<Vec<(Box<str>, Expression)>, Vec<Problem>> {
        all(list.into_iter().enumerate().map(|(index, Self { name, value })| {
            check(&format!("{path}[{index}].name"), &name)?;
            Ok((name.into(), site.text(&format!("{path}[{index}].value"), &value)?))
        }))
    }
}

/// Refuses a name without a character.
fn not_blank(path: &str, name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::new(path, "document.field", "A name is needed here."));
    }
    Ok(())
}

/// Refuses a text of more bytes than it may have.
fn not_longer(path: &str, text: &str, most: usize) -> Result<(), Problem> {
    if text.len() > most {
        let message = format!("It can have at most {most} bytes.");
        return Err(Problem::new(path, "document.field", message));
    }
    Ok(())
}

/// Refuses what can be no name of a header (RFC 9110, section 5.6.2).
fn header_name(path: &str, name: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        let message = "A header's name has letters, digits and signs such as '-', and no space.";
        return Err(Problem::new(path, "document.field", message));
    }
    Ok(())
}

/// Where a policy of an older definition runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scope {
    /// On the request.
    Request,
    /// On the response.
    Response,
    /// On the body of the request.
    RequestContent,
    /// On the body of the response.
    ResponseContent,
}
