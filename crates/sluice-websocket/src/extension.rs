//! Agreeing with a client on compression, RFC 7692 section 7.1.

/// Compression as it was agreed on. Neither side remembers a former message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// The bits of the window that the client can take, from 9 to 15.
    pub server_window_bits: u8,
    /// Whether the client asked for that window, so that the answer has to name it.
    named: bool,
}

impl Deflate {
    /// The value of `Sec-WebSocket-Extensions` that says so to the client.
    pub fn answer(self) -> String {
        let mut answer =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if self.named {
            answer.push_str("; server_max_window_bits=");
            answer.push_str(&self.server_window_bits.to_string());
        }
        answer
    }
}

/// The first offer of compression that can be met, from the values of the `Sec-WebSocket-Extensions` headers
/// of a client. An offer that is not understood is passed over, as the standard asks for.
pub fn agree<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<Deflate> {
    offers.into_iter().flat_map(|value| value.split(',')).find_map(offer)
}

/// One offer. Values may be quoted, but none that is understood holds a comma or a semicolon.
fn offer(text: &str) -> Option<Deflate> {
    let mut parts = text.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut agreed = Deflate { server_window_bits: 15, named: false };
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => drop(window_bits(value)?),
            ("server_max_window_bits", Some(value)) => {
                agreed.named = true;
                // A window of 8 bits is one that the compressor does not have.
                agreed.server_window_bits = window_bits(value).filter(|bits| *bits > 8)?;
            }
            _ => return None,
        }
    }
    Some(agreed)
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// A number from 8 to 15 without a leading zero.
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits: &u8| (8..=15).contains(bits))?;
    (value.len() == bits.to_string().len()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(offers: &[&str]) -> Option<String> {
        agree(offers.iter().copied()).map(Deflate::answer)
    }

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn what_browsers_and_libraries_offer_is_agreed_to() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "x-other, permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "permessage-deflate;client_no_context_takeover",
        ] {
            assert_eq!(answered(&[offer]).as_deref(), Some(PLAIN), "{offer}");
        }
    }

    #[test]
    fn a_smaller_window_is_kept_to() {
        let answer = answered(&["permessage-deflate; server_max_window_bits=\"9\""]).unwrap();
        assert_eq!(answer, format!("{PLAIN}; server_max_window_bits=9"));
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_passed_over_for_the_next() {
        for offer in [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unheard",
            "permessage-deflate;",
            "x-webkit-deflate-frame",
            "",
        ] {
            assert_eq!(answered(&[offer]), None, "{offer}");
            assert_eq!(answered(&[offer, "permessage-deflate"]).as_deref(), Some(PLAIN), "{offer}");
        }
    }
}
