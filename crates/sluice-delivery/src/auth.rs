//! The `Authorization` of calls: fixed, or a token that is fetched and kept until shortly before it ends.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::AUTHORIZATION};
use serde::Deserialize;
use sluice_api::{CallbackAuth, Credentials, Problem, SecretPlace};
use tokio::{sync::Mutex, time::Instant};
use url::{Url, form_urlencoded::byte_serialize};

use crate::{Failure, Guard, assertion::Asserter, client::Outbound, exchange};

/// How long a token is kept whose server does not say how long it is good.
const UNSAID: Duration = Duration::from_secs(300);
/// The longest that any token is kept.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How one subscription proves who the gateway is.
pub(crate) enum Auth {
    None,
    Fixed(HeaderValue),
    Fetched(Box<Tokens>),
}

/// A token endpoint and the token it gave last.
pub(crate) struct Tokens {
    endpoint: Url,
    client: Client,
    scopes: String,
    /// Held while a token is fetched, so that calls at the same time wait for one token.
    kept: Mutex<Option<Kept>>,
}

/// How the token endpoint knows the gateway.
enum Client {
    Secret(Credentials),
    Assertion(Box<Asserter>),
}

struct Kept {
    header: HeaderValue,
    until: Instant,
}

/// What a token endpoint answers (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// Some servers write the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Auth {
    /// Reads the credentials of a callback. A token endpoint is judged like the callback's own address.
    ///
    /// # Errors
    /// A key or an address that cannot be used; paths are relative to `auth`.
    pub(crate) fn new(auth: &CallbackAuth, guard: &Guard) -> Result<Self, Problem> {
        Ok(match auth {
            CallbackAuth::None => Self::None,
            CallbackAuth::Basic(basic) => {
                let value = basic_value(&basic.username, basic.password.expose());
                Self::Fixed(secret_value(&value).map_err(|problem| problem.within("basic"))?)
            }
            CallbackAuth::Token(token) => {
                let value = format!("Bearer {}", token.value.expose());
                Self::Fixed(secret_value(&value).map_err(|problem| problem.within("token"))?)
            }
            CallbackAuth::Oauth2(credentials) => {
                let client = Client::Secret(credentials.clone());
                Self::fetched(guard, &credentials.endpoint, client, &credentials.scopes)
                    .map_err(|problem| problem.within("oauth2"))?
            }
            CallbackAuth::JwtProfileOauth2(assertion) => {
                let asserter =
                    Asserter::new(assertion).map_err(|problem| problem.within("jwtProfileOauth2"))?;
                let client = Client::Assertion(Box::new(asserter));
                Self::fetched(guard, &assertion.endpoint, client, &assertion.scopes)
                    .map_err(|problem| problem.within("jwtProfileOauth2"))?
            }
        })
    }

    fn fetched(guard: &Guard, endpoint: &str, client: Client, scopes: &[String]) -> Result<Self, Problem> {
        guard.check_url(endpoint).map_err(|problem| problem.within("endpoint"))?;
        let endpoint = Url::parse(endpoint).map_err(|error| {
            Problem::new(
                "endpoint",
                "subscription.configuration.invalid",
                format!("This is no URL: {error}."),
            )
        })?;
        let scopes = scopes.join(" ");
        Ok(Self::Fetched(Box::new(Tokens { endpoint, client, scopes, kept: Mutex::default() })))
    }

    /// What stands under `Authorization`, if anything does.
    ///
    /// # Errors
    /// The token endpoint gave no token.
    pub(crate) async fn get(
        &self,
        outbound: &Outbound,
        timeout: Duration,
    ) -> Result<Option<HeaderValue>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::Fetched(tokens) => tokens.get(outbound, timeout).await.map(Some),
        }
    }

    /// Forgets a token that a subscriber did not take, unless another call has done so already; whether there
    /// can be a better one.
    pub(crate) async fn renew(&self, refused: Option<&HeaderValue>) -> bool {
        let Self::Fetched(tokens) = self else { return false };
        let mut kept = tokens.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| Some(&kept.header) == refused) {
            *kept = None;
        }
        true
    }
}

impl Tokens {
    async fn get(&self, outbound: &Outbound, timeout: Duration) -> Result<HeaderValue, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.until > Instant::now()) {
            return Ok(kept.header.clone());
        }
        let fresh = self.fetch(outbound, timeout).await?;
        Ok(kept.insert(fresh).header.clone())
    }

    async fn fetch(&self, outbound: &Outbound, timeout: Duration) -> Result<Kept, Failure> {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        let mut request = outbound.client.post(self.endpoint.clone()).timeout(timeout);
        match &self.client {
            Client::Secret(credentials) => {
                let (id, secret) = (&credentials.client_id, credentials.client_secret.expose());
                match credentials.authentication_method {
                    SecretPlace::ClientSecretPost => {
                        form.push(("client_id", id.clone()));
                        form.push(("client_secret", secret.to_owned()));
                    }
                    SecretPlace::ClientSecretBasic => {
                        // Both are encoded like form fields first: RFC 6749, section 2.3.1.
                        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                        request = request.header(AUTHORIZATION, basic_value(&encoded(id), &encoded(secret)));
                    }
                }
            }
            Client::Assertion(asserter) => {
                let assertion =
                    asserter.make().map_err(|error| no_token(&format!("signing failed: {error}")))?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.push(("client_assertion_type", kind.to_owned()));
                form.push(("client_assertion", assertion));
            }
        }
        if !self.scopes.is_empty() {
            form.push(("scope", self.scopes.clone()));
        }
        outbound.admit(&self.endpoint).await.map_err(|failure| {
            let message = format!("The token endpoint: {}", failure.message);
            Failure { message, ..failure }
        })?;
        let host = self.endpoint.host_str().unwrap_or_default();
        let asked = Instant::now();
        let response = request.form(&form).send().await.map_err(|error| {
            let failure = Failure::of_exchange(&error, host);
            // An address that is refused is no better the next time.
            if failure.code == "delivery.address.refused" { failure } else { no_token(&failure.message) }
        })?;
        let status = response.status();
        let body = exchange::read(response).await;
        if !status.is_success() {
            return Err(no_token(&format!("the token endpoint {host} answered {}", status.as_u16())));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| no_token(&format!("the answer of the token endpoint {host} is not understood")))?;
        granted.keep(asked)
    }
}

impl Granted {
    fn keep(self, asked: Instant) -> Result<Kept, Failure> {
        if self.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(no_token("the token endpoint gave a token that is no bearer token"));
        }
        let seconds = match self.expires_in {
            Some(Seconds::Number(seconds)) => Some(seconds),
            Some(Seconds::Text(text)) => text.parse().ok(),
            None => None,
        };
        let said = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let good = said.unwrap_or(UNSAID).min(LONGEST);
        // Renewed a little early, so that no call carries a token that ends on its way.
        let early = (good / 10).min(Duration::from_secs(30));
        let header = secret_value(&format!("Bearer {}", self.access_token))
            .map_err(|_| no_token("the token endpoint gave a token that no header can carry"))?;
        Ok(Kept { header, until: asked + good - early })
    }
}

fn no_token(reason: &str) -> Failure {
    Failure::new(
        "delivery.token",
        format!("No token to call the subscriber with: {}.", reason.trim_end_matches('.')),
    )
}

fn basic_value(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn secret_value(text: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        let message = "Must not hold control characters.";
        Problem::new("", "subscription.configuration.invalid", message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
