//! How clients reach the gateway from outside. Proxies hide it, so that only its operator knows.

use std::{fmt, str::FromStr};

use http::Uri;
use serde::Deserialize;

/// An address as `https://events.example` or `https://example.org/events`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("'{text}' is no public address; write it as https://events.example");
        let uri: Uri = text.parse().map_err(|_| fault())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        // In angle brackets of a header, and in quotes of others.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\".contains(&byte));
        if !is_web || authority.is_none() || uri.query().is_some() || text.contains('#') || !is_plain {
            return Err(fault());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_has_a_scheme_and_a_host_and_no_more_than_a_path() {
        let read = |text: &str| text.parse::<PublicUrl>().map(|url| url.to_string());
        assert_eq!(read("https://events.example/").as_deref(), Ok("https://events.example"));
        assert_eq!(read("http://h:8080/a/b").as_deref(), Ok("http://h:8080/a/b"));
        for other in [
            "",
            "events.example",
            "ftp://h",
            "https://u:p@h",
            "https://h?a",
            "https://h#a",
            "https:///a",
            "/a",
        ] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
