//! How the gateway proves to a subscriber who it is. Written as the type and, beside it, an object of the
//! same name: `{"type": "basic", "basic": {…}}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problem, Secret, problem::Carried};

/// How the gateway proves who it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub enum CallbackAuth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Basic` (RFC 7617).
    Basic(BasicCredentials),
    /// `Authorization: Bearer` with a token that stays the same.
    Token(FixedToken),
    /// `Authorization: Bearer` with a token that is fetched with an id and a secret (RFC 6749, section 4.4).
    Oauth2(Credentials),
    /// The same, fetched with a signed assertion in place of the secret (RFC 7523, section 2.2).
    JwtProfileOauth2(Box<Assertion>),
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicCredentials {
    /// The name, without a colon.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedToken {
    /// What stands behind `Bearer`.
    pub value: Secret,
}

/// Where a token is fetched with an id and a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The token endpoint, an http or https URL.
    pub endpoint: String,
    /// The id by which it knows the gateway.
    pub client_id: String,
    /// The secret that belongs to the id.
    pub client_secret: Secret,
    /// What the token is to allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// How id and secret are sent. Default `client_secret_post`.
    #[serde(default)]
    pub authentication_method: SecretPlace,
}

/// How id and secret are sent to a token endpoint, by their names in RFC 7591.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretPlace {
    /// In the form.
    #[default]
    ClientSecretPost,
    /// In the header `Authorization`.
    ClientSecretBasic,
}

/// Where a token is fetched with a signed assertion, and what the assertion says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assertion {
    /// The token endpoint, an http or https URL.
    pub endpoint: String,
    /// The claim `iss`: who made the assertion, which is the client id at most servers.
    pub issuer: String,
    /// The claim `sub`: the client id.
    pub subject: String,
    /// The claim `aud`. Default the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How long an assertion is good, in the unit of `expirationTimeUnit`; up to a day. Default 30.
    #[serde(default = "Assertion::default_expiration")]
    pub expiration_time: u32,
    /// The unit of `expirationTime`. Default `SECONDS`.
    #[serde(default)]
    pub expiration_time_unit: TimeUnit,
    /// How the assertion is signed. Default `RSA_RS256`.
    #[serde(default)]
    pub signature_algorithm: AssertionAlgorithm,
    /// How the key is written. Default `INLINE`.
    #[serde(default)]
    pub key_source: AssertionKey,
    /// The header `kid`, by which the server finds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key itself: a private key as PEM text for RS256, the shared secret for HS256.
    pub key_content: Secret,
    /// Whether the shared secret is written in base64. Default false.
    #[serde(default)]
    pub secret_base64_encoded: bool,
    /// The claim `jti`; a new one for each assertion when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_id: Option<String>,
    /// Further claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_claims: Vec<AssertionClaim>,
    /// What the token is to allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A claim beside those that every assertion has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionClaim {
    /// Its name.
    pub name: String,
    /// Its value, a text.
    pub value: String,
}

/// How an assertion is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AssertionAlgorithm {
    /// RSA with SHA-256.
    #[default]
    #[serde(rename = "RSA_RS256")]
    Rs256,
    /// HMAC with SHA-256.
    #[serde(rename = "HMAC_HS256")]
    Hs256,
}

/// How the key of assertions is written. Stores are not read; see the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum AssertionKey {
    /// In `keyContent`.
    #[default]
    Inline,
    /// In `keyContent`, as PEM text.
    Pem,
    /// A Java key store.
    Jks,
    /// PKCS#12.
    Pkcs12,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days.
    Days,
}

impl Assertion {
    /// How long an assertion is good, in seconds.
    pub fn lifetime_seconds(&self) -> u64 {
        let unit = match self.expiration_time_unit {
            TimeUnit::Seconds => 1,
            TimeUnit::Minutes => 60,
            TimeUnit::Hours => 3600,
            TimeUnit::Days => 86_400,
        };
        u64::from(self.expiration_time) * unit
    }

    const fn default_expiration() -> u32 {
        30
    }
}

impl CallbackAuth {
    /// Whether nothing is proven.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn secrets_mut(&mut self) -> Vec<(&'static str, &mut Secret)> {
        match self {
            Self::None => Vec::new(),
            Self::Basic(basic) => vec![("basic.password", &mut basic.password)],
            Self::Token(token) => vec![("token.value", &mut token.value)],
            Self::Oauth2(credentials) => vec![("oauth2.clientSecret", &mut credentials.client_secret)],
            Self::JwtProfileOauth2(assertion) => {
                vec![("jwtProfileOauth2.keyContent", &mut assertion.key_content)]
            }
        }
    }
}

/// Credentials as they stand in a document.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    /// Which of the objects beside it is used.
    #[serde(rename = "type")]
    kind: Kind,
    /// For `basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    basic: Option<BasicCredentials>,
    /// For `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<FixedToken>,
    /// For `oauth2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oauth2: Option<Credentials>,
    /// For `jwtProfileOauth2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwt_profile_oauth2: Option<Box<Assertion>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Kind {
    #[default]
    None,
    Basic,
    Token,
    Oauth2,
    JwtProfileOauth2,
}

impl TryFrom<Written> for CallbackAuth {
    type Error = Carried;

    fn try_from(written: Written) -> Result<Self, Carried> {
        let Written { kind, basic, token, oauth2, jwt_profile_oauth2 } = written;
        let there = [
            (Kind::Basic, "basic", basic.is_some()),
            (Kind::Token, "token", token.is_some()),
            (Kind::Oauth2, "oauth2", oauth2.is_some()),
            (Kind::JwtProfileOauth2, "jwtProfileOauth2", jwt_profile_oauth2.is_some()),
        ];
        let refuse = |name: &str, message: String| Carried(Problem::new(name, "document.field", message));
        for (of, name, _) in there.into_iter().filter(|(_, _, is_there)| *is_there) {
            if of != kind {
                return Err(refuse(name, format!("This is used only where type is '{name}'.")));
            }
        }
        let auth = match kind {
            Kind::None => Some(Self::None),
            Kind::Basic => basic.map(Self::Basic),
            Kind::Token => token.map(Self::Token),
            Kind::Oauth2 => oauth2.map(Self::Oauth2),
            Kind::JwtProfileOauth2 => jwt_profile_oauth2.map(Self::JwtProfileOauth2),
        };
        auth.ok_or_else(|| {
            let name = there.iter().find(|(of, _, _)| *of == kind).map_or("", |(_, name, _)| name);
            refuse(name, format!("Must be there where type is '{name}'."))
        })
    }
}

impl From<CallbackAuth> for Written {
    fn from(auth: CallbackAuth) -> Self {
        let none = Self::default();
        match auth {
            CallbackAuth::None => none,
            CallbackAuth::Basic(basic) => Self { kind: Kind::Basic, basic: Some(basic), ..none },
            CallbackAuth::Token(token) => Self { kind: Kind::Token, token: Some(token), ..none },
            CallbackAuth::Oauth2(credentials) => {
                Self { kind: Kind::Oauth2, oauth2: Some(credentials), ..none }
            }
            CallbackAuth::JwtProfileOauth2(assertion) => {
                Self { kind: Kind::JwtProfileOauth2, jwt_profile_oauth2: Some(assertion), ..none }
            }
        }
    }
}
