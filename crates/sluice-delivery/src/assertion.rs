//! Signed assertions by which a token endpoint knows the gateway (RFC 7523, section 2.2).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};
use sluice_api::{Assertion, AssertionAlgorithm, Problem};

/// Makes assertions for one subscription.
pub(crate) struct Asserter {
    header: Header,
    key: EncodingKey,
    settings: Assertion,
}

impl Asserter {
    /// Reads the key.
    ///
    /// # Errors
    /// It is none; the path is relative to `auth.jwtProfileOauth2`.
    pub(crate) fn new(settings: &Assertion) -> Result<Self, Problem> {
        let text = settings.key_content.expose();
        let (algorithm, key) = match settings.signature_algorithm {
            AssertionAlgorithm::Rs256 => (
                Algorithm::RS256,
                EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|error| error.to_string()),
            ),
            AssertionAlgorithm::Hs256 if settings.secret_base64_encoded => {
                let key = STANDARD.decode(text).map_err(|error| error.to_string());
                (Algorithm::HS256, key.map(|key| EncodingKey::from_secret(&key)))
            }
            AssertionAlgorithm::Hs256 => (Algorithm::HS256, Ok(EncodingKey::from_secret(text.as_bytes()))),
        };
        let key = key.map_err(|error| {
            let message = format!("This cannot be used as a key for {algorithm:?}: {error}.");
            Problem::new("keyContent", "subscription.configuration.invalid", message)
        })?;
        let header = Header { kid: settings.key_id.clone(), ..Header::new(algorithm) };
        Ok(Self { header, key, settings: settings.clone() })
    }

    /// A new assertion, good from now on.
    ///
    /// # Errors
    /// The key cannot sign.
    pub(crate) fn make(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let settings = &self.settings;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = settings.jwt_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let audience = settings.audience.as_ref().unwrap_or(&settings.endpoint);
        let mut claims: Map<String, Value> = settings
            .custom_claims
            .iter()
            .map(|claim| (claim.name.clone(), claim.value.clone().into()))
            .collect();
        for (name, value) in [
            ("iss", Value::from(settings.issuer.clone())),
            ("sub", settings.subject.clone().into()),
            ("aud", audience.clone().into()),
            ("iat", now.into()),
            ("exp", (now + settings.lifetime_seconds()).into()),
            ("jti", id.into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}
