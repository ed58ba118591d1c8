//! The options of a JAAS line, as Java clients write their credentials: a login module, a flag, then `name="value"`,
//! and `;` at the end.

/// The options of a line, in order; `None` where it is not written so. Values are in single or double quotes or bare;
/// in quotes `\` takes the next character as it is.
pub(super) fn options(line: &str) -> Option<Vec<(String, String)>> {
    let line = line.trim();
    let mut rest = line.strip_suffix(';').unwrap_or(line).trim_end();
    let mut options = Vec::new();
    // The module and its flag have no '='.
    while let Some(end) = rest.find(|c: char| c.is_whitespace() || c == '=') {
        let (name, after) = rest.split_at(end);
        let after = after.trim_start();
        match after.strip_prefix('=') {
            Some(value) => {
                let (value, others) = value_of(value.trim_start())?;
                options.push((name.to_owned(), value));
                rest = others.trim_start();
            }
            None => rest = after,
        }
    }
    Some(options)
}

/// The value at the beginning of a text, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            end if end == quote => return Some((value, &text[at + 1..])),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Vec<(String, String)>> {
        options(line)
    }

    fn pairs(expected: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn options_are_read_in_either_quotes_or_none() {
        let line = r#"a.b.PlainLoginModule required username="u v" password='p\'"x;' serviceName=kafka;"#;
        assert_eq!(
            read(line),
            pairs(&[("username", "u v"), ("password", "p'\"x;"), ("serviceName", "kafka")])
        );
        assert_eq!(read("a.b.Module required ;"), pairs(&[]));
        assert_eq!(read(""), pairs(&[]));
    }

    #[test]
    fn a_line_that_breaks_off_has_none() {
        assert_eq!(read("module required username=\"u password=;"), None);
        assert_eq!(read("module required username= ;"), None);
        assert_eq!(read("module required username=\"u\\"), None);
    }
}
