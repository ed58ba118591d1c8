//! Expressions that are to be true or false: the filter of a policy, the condition of a step.

use sluice_api::Problem;
use sluice_expression::Expression;

/// Parses a condition; a problem is told at `path`.
pub(crate) fn parse(path: &str, source: &str) -> Result<Expression, Problem> {
    let refuse = |message: String| Problem::new(path, "expression.invalid", message);
    let expression = Expression::parse(source)
        .map_err(|error| refuse(format!("Column {}: {}", error.column, error.message)))?;
    // Without braces it is a plain text, true for no message. Nobody means that, and a filter that is never
    // asked for protects nothing.
    if expression.is_plain() && !matches!(source.trim(), "true" | "false") {
        let message = "There is no expression in this text, so it would be true for no message. Write it in \
                       braces, as in {#message.headers['x'] == 'y'}.";
        return Err(refuse(message.to_owned()));
    }
    Ok(expression)
}
