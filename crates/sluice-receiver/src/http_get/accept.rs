//! In which form a client wants the messages, by its `Accept` header (RFC 9110 section 12.5.1).

use http::{HeaderMap, StatusCode, header};

use crate::Refusal;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
    Text,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The form that a range of media types is for.
    fn of_range(range: &str) -> Option<Self> {
        Some(match &*range.to_ascii_lowercase() {
            "application/json" | "application/*" | "*/*" => Self::Json,
            "application/xml" => Self::Xml,
            "text/plain" | "text/*" => Self::Text,
            _ => return None,
        })
    }
}

/// The form that the client likes best; of those that it likes as much, the one that it names first.
pub(super) fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Ok(Format::Text);
    }
    let named: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let mut best: Option<(Format, f32)> = None;
    for range in named.iter().flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let Some(format) = parts.next().and_then(Format::of_range) else { continue };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // What is not understood is as if it were not there.
        let quality = quality.and_then(|quality| quality.parse().ok()).unwrap_or(1.0_f32);
        if quality > 0.0 && best.is_none_or(|(_, liked)| quality > liked) {
            best = Some((format, quality));
        }
    }
    best.map(|(format, _)| format).ok_or_else(|| {
        let text = format!("Unsupported accept header: [{}]", named.join(", "));
        Refusal::new(StatusCode::BAD_REQUEST, "http-get.accept", text)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn chosen(accept: &[&'static str]) -> Result<Format, String> {
        let values = accept.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        format(&headers).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_form_that_is_liked_best_is_chosen() {
        for (accept, format) in [
            (&[][..], Format::Text),
            (&["*/*"], Format::Json),
            (&["application/json"], Format::Json),
            (&["Application/XML"], Format::Xml),
            (&["text/plain;q=0.5, application/xml;q=0.9, */*;q=0.1"], Format::Xml),
            (&["text/plain", "application/json"], Format::Text),
            (&["text/html, application/json; charset=utf-8; q=0.2"], Format::Json),
            (&["application/json;q=0, text/plain"], Format::Text),
        ] {
            assert_eq!(chosen(accept), Ok(format), "{accept:?}");
        }
    }

    #[test]
    fn a_form_that_there_is_not_is_refused_with_what_was_asked_for() {
        let unsupported = |named: &str| Err(format!("Unsupported accept header: [{named}]"));
        assert_eq!(chosen(&["text/html"]), unsupported("text/html"));
        assert_eq!(chosen(&["image/png", "*/*;q=0"]), unsupported("image/png, */*;q=0"));
        assert_eq!(chosen(&[""]), unsupported(""));
    }
}
