//! Asking an OAuth 2 server for a token with client credentials (RFC 6749 section 4.4), bounded in time and size.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;
use sluice_api::{BrokerTls, BrokerTrustStore, ClientCredentials, Secret, TrustStore};
use sluice_broker::{DriverError, ErrorKind, tls};
use url::form_urlencoded::byte_serialize;

/// How long an answer may take, and a connection of that.
const TIMES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The longest words of the endpoint that are passed on, in characters.
const MAX_WORDS: usize = 200;
/// A token that ends sooner could not be used.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest that a token is kept, whatever is said of it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What an endpoint has given.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) token: Secret,
    /// Whom it is for.
    pub(crate) principal: String,
    /// How long it is good for.
    pub(crate) lifetime: Duration,
}

/// A token endpoint, and who asks it.
pub(crate) struct Endpoint {
    client: Client,
    credentials: ClientCredentials,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.credentials.token_endpoint_url)
    }
}

impl Endpoint {
    pub(crate) fn new(credentials: ClientCredentials) -> Result<Self, DriverError> {
        let unable = |detail: String| {
            let text = format!("These settings of Kafka cannot work: security.sasl.oauth: {detail}");
            DriverError::new(ErrorKind::Configuration, text)
        };
        let trust_store = credentials.trust_store.clone();
        let trust_store = trust_store.map(|TrustStore { kind, location, certificates, password }| {
            BrokerTrustStore { kind, path: location, content: certificates, password }
        });
        let trust = BrokerTls { trust_store, ..BrokerTls::default() };
        let config = tls::client_config(&trust).map_err(|error| unable(error.message))?;
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            // The secret of the client goes where the settings say and nowhere else.
            .redirect(redirect::Policy::none())
            .timeout(TIMES.0)
            .connect_timeout(TIMES.1)
            .build()
            .map_err(|error| unable(error.to_string()))?;
        Ok(Self { client, credentials })
    }

    /// A new token.
    ///
    /// # Errors
    ///
    /// Of kind `Refused` where the endpoint does not give one, `Unreachable` where it does not answer.
    pub(crate) async fn ask(&self) -> Result<Granted, DriverError> {
        let away = |error: reqwest::Error| {
            let cause = innermost(&error);
            self.error(ErrorKind::Unreachable, &format!("does not answer: {cause}"))
        };
        let ClientCredentials { token_endpoint_url, client_id, client_secret, scope, .. } = &self.credentials;
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let asking = self
            .client
            .post(token_endpoint_url)
            .basic_auth(encoded(client_id), Some(encoded(client_secret.expose())))
            .header("accept", "application/json")
            .form(&form);
        let mut answer = asking.send().await.map_err(away)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.error(ErrorKind::Other, "answers with more than a token"));
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            return Err(self.refusal(status, &answer));
        }
        self.granted(&answer)
    }

    fn granted(&self, answer: &Value) -> Result<Granted, DriverError> {
        let text = answer["access_token"].as_str().filter(|text| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        });
        let Some(token) = text else {
            return Err(self.error(ErrorKind::Other, "answers without an access_token"));
        };
        let said = seconds(&answer["expires_in"]);
        let Some(lifetime) = said.or_else(|| lifetime_within(token)) else {
            return Err(self.error(ErrorKind::Other, "does not say how long its token is good for"));
        };
        if lifetime < SHORTEST {
            return Err(self.error(ErrorKind::Other, "gives a token that ends at once"));
        }
        let principal = self.credentials.client_id.clone();
        Ok(Granted { token: Secret::new(token), principal, lifetime: lifetime.min(LONGEST) })
    }

    fn refusal(&self, status: StatusCode, answer: &Value) -> DriverError {
        let words = ["error", "error_description"].iter().filter_map(|name| answer[name].as_str());
        let words: Vec<_> = words.map(|words| words.chars().take(MAX_WORDS).collect::<String>()).collect();
        let words = words.join(": ").escape_debug().to_string();
        let colon = if words.is_empty() { "" } else { ": " };
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            let client = &self.credentials.client_id;
            let text = format!("refuses a token to the client '{client}' ({status}){colon}{words}");
            return self.error(ErrorKind::Refused, &text);
        }
        self.error(ErrorKind::Unreachable, &format!("has no token to give ({status}){colon}{words}"))
    }

    fn error(&self, kind: ErrorKind, what: &str) -> DriverError {
        DriverError::new(kind, format!("The token endpoint {self} {what}"))
    }
}

/// The first cause of an error, which says most.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // What is not caused by anything else names the URL again.
    if error.is_timeout() { format!("nothing within {} s", TIMES.0.as_secs()) } else { cause.to_string() }
}

/// A number of seconds, which some servers write as text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// How long a token is still good for by its own words, where it is a JWT.
fn lifetime_within(token: &str) -> Option<Duration> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let ends = UNIX_EPOCH + seconds(&claims["exp"])?;
    Some(ends.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint() -> Endpoint {
        let credentials = ClientCredentials {
            token_endpoint_url: "https://idp.example/token".to_owned(),
            client_id: "gateway".to_owned(),
            client_secret: Secret::new("s3cret"),
            scope: None,
            trust_store: None,
        };
        Endpoint::new(credentials).expect("the system's certificates can be read")
    }

    #[test]
    fn the_life_of_a_token_is_what_the_answer_or_the_token_says() {
        let lifetime = |answer: Value| endpoint().granted(&answer).map(|granted| granted.lifetime.as_secs());
        assert_eq!(lifetime(json!({ "access_token": "t", "expires_in": 300 })).ok(), Some(300));
        assert_eq!(lifetime(json!({ "access_token": "t", "expires_in": "60" })).ok(), Some(60));
        // {"exp":4102444800}, the year 2100
        let ends = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.";
        assert_eq!(lifetime(json!({ "access_token": ends })).ok(), Some(LONGEST.as_secs()));
        for faulty in [
            json!({ "access_token": "t" }),
            json!({ "access_token": "t", "expires_in": 1 }),
            json!({ "access_token": "t", "expires_in": -1 }),
            json!({ "access_token": "", "expires_in": 300 }),
            json!({ "access_token": "a\u{1}b", "expires_in": 300 }),
            json!({ "expires_in": 300 }),
            json!("t"),
        ] {
            let error = lifetime(faulty.clone()).expect_err("it is no token to work with");
            assert!(error.message.contains("https://idp.example/token"), "{faulty}: {error}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_endpoint_and_without_the_secret() {
        let words = json!({ "error": "invalid_client", "error_description": "no\u{7}such".repeat(100) });
        let error = endpoint().refusal(StatusCode::UNAUTHORIZED, &words);
        assert_eq!(error.kind, ErrorKind::Refused);
        for part in ["invalid_client", "'gateway'", "401", "idp.example"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert!(!error.message.contains('\u{7}') && error.message.len() < 600, "{error}");
        assert!(!error.message.contains("s3cret"), "{error}");
        let error = endpoint().refusal(StatusCode::BAD_GATEWAY, &Value::Null);
        assert_eq!(error.kind, ErrorKind::Unreachable);
    }
}
