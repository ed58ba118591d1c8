//! The query of a request's address, read as forms are (WHATWG URL standard, section 5.1).

/// The parameters of a query in order, decoded.
pub fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name, b' '), decoded(value, b' '))
    })
}

/// The first parameter of this name.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    parameters(query.unwrap_or_default()).find(|(found, _)| found == name).map(|(_, value)| value)
}

/// A path without its escapes; in it a plus sign is one.
pub(crate) fn unescaped(path: &str) -> String {
    decoded(path, b'+')
}

/// A text without its escapes, and with this in place of plus signs.
fn decoded(text: &str, plus: u8) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                &behind[2..]
            }
            _ => {
                bytes.push(if byte == b'+' { plus } else { byte });
                behind
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_what_is_no_escape_is_left() {
        let found: Vec<_> = parameters("x=1&y=a%20b+c&&x=%zz&z&%C3%A4=%ff").collect();
        let expected = [("x", "1"), ("y", "a b c"), ("x", "%zz"), ("z", ""), ("ä", "\u{fffd}")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parameter(Some("x=1&x=2"), "x").as_deref(), Some("1"));
        assert_eq!(parameter(None, "x"), None);
        assert_eq!(unescaped("/a+b%20%2b"), "/a+b +");
    }
}
