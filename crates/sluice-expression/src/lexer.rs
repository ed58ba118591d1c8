//! Text to tokens. Knows nothing of grammar; the parser asks for one token after the other and stops at
//! the brace that ends the expression, so that what follows it is never looked at.

use std::borrow::Cow;

use crate::error::ExpressionError;

/// One word of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'t> {
    /// A name, or an operator that is a word.
    Word(&'t str),
    /// Text in quotes, doubled quotes made single.
    Text(Cow<'t, str>),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// An operator or a bracket.
    Sign(&'static str),
    /// Nothing is left.
    End,
}

/// Longer signs stand before those they begin with.
const SIGNS: [&str; 38] = [
    "?.?[", "?.![", "?.^[", "?.$[", "?.[", "?.", "?:", "?", "==", "!=", "<=", ">=", "&&", "||", ".![", ".?[",
    ".^[", ".$[", "<", ">", "!", "=", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",", ".", ":",
    "#", "^",
];

/// Reads the token at or after byte `from`: the token, where it begins and where it ends.
pub(crate) fn token(text: &str, from: usize) -> Result<(Token<'_>, usize, usize), ExpressionError> {
    let blank = |character: char| character.is_ascii_whitespace();
    let rest = text[from..].trim_start_matches(blank);
    let start = text.len() - rest.len();
    let Some(first) = rest.chars().next() else { return Ok((Token::End, start, start)) };
    if first == '\'' || first == '"' {
        return quoted(text, start, first);
    }
    if first.is_ascii_digit() {
        return number(text, start);
    }
    if is_name(first) {
        let len = rest.find(|character: char| !is_name(character)).unwrap_or(rest.len());
        return Ok((Token::Word(&rest[..len]), start, start + len));
    }
    let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
    let sign =
        sign.ok_or_else(|| refuse(text, start, format!("The character '{first}' has no meaning here.")))?;
    Ok((Token::Sign(sign), start, start + sign.len()))
}

/// An error at byte `at`.
pub(crate) fn refuse(text: &str, at: usize, message: impl Into<String>) -> ExpressionError {
    let column = text.get(..at).unwrap_or(text).chars().count() + 1;
    ExpressionError { column, message: message.into() }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn quoted(text: &str, start: usize, quote: char) -> Result<(Token<'_>, usize, usize), ExpressionError> {
    let inner = start + 1;
    let mut at = inner;
    let mut doubled = false;
    loop {
        let Some(found) = text[at..].find(quote) else {
            return Err(refuse(
                text,
                start,
                format!("The text that begins here is not closed with {quote}."),
            ));
        };
        let end = at + found;
        if !text[end + 1..].starts_with(quote) {
            let body = &text[inner..end];
            let body = if doubled {
                let quote = quote.to_string();
                Cow::Owned(body.replace(&quote.repeat(2), &quote))
            } else {
                Cow::Borrowed(body)
            };
            return Ok((Token::Text(body), start, end + 1));
        }
        doubled = true;
        at = end + 2;
    }
}

fn number(text: &str, start: usize) -> Result<(Token<'_>, usize, usize), ExpressionError> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = start + digits(start);
    let whole_end = end;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let written = &text[start..end];
    let token = if end == whole_end {
        written.parse().map(Token::Integer).ok()
    } else {
        written.parse().ok().filter(|number: &f64| number.is_finite()).map(Token::Float)
    };
    let token = token.ok_or_else(|| refuse(text, start, format!("The number {written} is too large.")))?;
    // The suffix by which Java marks a long changes nothing here: every whole number has 64 bits.
    let end = end + usize::from(end == whole_end && matches!(bytes.get(end), Some(b'l' | b'L')));
    if text[end..].starts_with(is_name) {
        return Err(refuse(text, end, "A number is followed by a letter."));
    }
    Ok((token, start, end))
}
