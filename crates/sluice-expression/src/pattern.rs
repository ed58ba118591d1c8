//! Regular expressions: compiled with a bound on their size, matched in linear time.

use regex::{Regex, RegexBuilder};

use crate::bound::MAX_PATTERN_BYTES;

/// The longest pattern, in bytes.
const MAX_PATTERN_TEXT: usize = 8 << 10;

/// Compiles a pattern that has to match a whole text.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    // Compiled as it stands first: a stray parenthesis must not reach out of the group around it.
    part(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

/// Compiles a pattern that may match anywhere in a text.
pub(crate) fn part(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN_TEXT {
        return Err(format!("A pattern has at most {MAX_PATTERN_TEXT} bytes."));
    }
    compile(pattern)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("The pattern '{pattern}' cannot be used: {reason}.")
        })
}
