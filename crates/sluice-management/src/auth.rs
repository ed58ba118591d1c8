//! Lets the administrator in: HTTP Basic, one user, a password given as it is or as an argon2 hash.
//!
//! A hash is slow and takes memory on purpose. What it admitted once is therefore remembered, as a keyed
//! digest that lives as long as the process, and at most one hash is computed at a time.

use std::{fmt, sync::Arc};

use argon2::{
    Argon2, Params,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use blake2::{
    Blake2sMac256,
    digest::{KeyInit, Mac},
};
use sluice_api::{Problem, Secret};
use tokio::sync::{RwLock, Semaphore, TryAcquireError};
use uuid::Uuid;

/// The administrator's name.
pub const USER: &str = "admin";

/// The password when none is set; good only where nobody else can connect.
pub const DEFAULT_PASSWORD: &str = "admin";

/// Requests that may wait for a hash; more are told to come back.
const MAX_WAITING: usize = 32;

/// More than any sensible hash needs; a larger figure would be a typing error that takes the machine down.
const MAX_MEMORY_KIB: u32 = 256 * 1024;

/// The administrator's password as it is configured.
#[derive(Clone)]
pub enum Password {
    /// The password itself.
    Plain(Secret),
    /// An argon2 hash in PHC notation, `$argon2id$v=19$…`.
    Hash(Box<PasswordHash>),
}

impl Password {
    /// Reads a configured password; text that begins with `$argon2` is a hash.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let invalid = |message: String| Problem::new("", "password.invalid", message);
        if text.is_empty() {
            return Err(invalid("The password must not be empty.".to_owned()));
        }
        if !text.starts_with("$argon2") {
            return Ok(Self::Plain(Secret::new(text)));
        }
        let hash = PasswordHash::new(text).map_err(|error| {
            invalid(format!("The password looks like an argon2 hash but can not be read: {error}."))
        })?;
        let params = Params::try_from(&hash)
            .map_err(|error| invalid(format!("The argon2 hash has unusable parameters: {error}.")))?;
        if params.m_cost() > MAX_MEMORY_KIB || hash.hash.is_none() {
            return Err(invalid(format!(
                "The argon2 hash must be complete and ask for at most {MAX_MEMORY_KIB} KiB (m=…)."
            )));
        }
        if matches_hash(&hash, "") {
            return Err(invalid("The argon2 hash is that of an empty password.".to_owned()));
        }
        Ok(Self::Hash(Box::new(hash)))
    }

    /// The argon2 hash of a password, with the parameters that the algorithm's authors recommend, as
    /// [`parse`](Self::parse) reads it.
    pub fn hash(password: &str) -> Result<String, Problem> {
        if password.is_empty() {
            let message = "The password must not be empty; it is read from the first line of standard input.";
            return Err(Problem::new("", "password.invalid", message));
        }
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|error| {
            Problem::new("", "password.invalid", format!("The password can not be hashed: {error}."))
        })
    }

    /// Whether it is [`DEFAULT_PASSWORD`]. Takes a moment where only the hash is known.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Plain(password) => password.expose() == DEFAULT_PASSWORD,
            Self::Hash(hash) => matches_hash(hash, DEFAULT_PASSWORD),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(sluice_api::MASK)
    }
}

/// Who may use the management API. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    /// Of no use outside this process.
    key: [u8; 32],
    hash: Option<PasswordHash>,
    /// The digest of the credentials that are right, as soon as that is known.
    known: RwLock<Option<[u8; 32]>>,
    waiting: Semaphore,
    hashing: Semaphore,
}

/// What became of a request's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// They are right.
    Granted,
    /// They are missing or wrong.
    Refused,
    /// Too many others are being checked.
    Busy,
}

impl Auth {
    /// Admits [`USER`] with this password.
    pub fn new(password: Password) -> Self {
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let mut key = [0; 32];
        key[..16].copy_from_slice(one.as_bytes());
        key[16..].copy_from_slice(two.as_bytes());
        let (hash, known) = match password {
            Password::Plain(password) => {
                let credentials = format!("{USER}:{}", password.expose());
                (None, Some(digest(&key, &credentials).finalize().into_bytes().into()))
            }
            Password::Hash(hash) => (Some(*hash), None),
        };
        let known = RwLock::new(known);
        let (waiting, hashing) = (Semaphore::new(MAX_WAITING), Semaphore::new(1));
        Self { inner: Arc::new(Inner { key, hash, known, waiting, hashing }) }
    }

    /// Judges the value of an `Authorization` header.
    pub(crate) async fn admit(&self, authorization: Option<&str>) -> Admission {
        let Some(credentials) = authorization.and_then(basic) else { return Admission::Refused };
        if self.is_known(&credentials).await {
            return Admission::Granted;
        }
        let Some(hash) = self.inner.hash.clone() else { return Admission::Refused };
        let Some(password) = credentials.strip_prefix(USER).and_then(|rest| rest.strip_prefix(':')) else {
            return Admission::Refused;
        };
        let _place = match self.inner.waiting.try_acquire() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return Admission::Busy,
        };
        let Ok(_turn) = self.inner.hashing.acquire().await else { return Admission::Busy };
        // Of several requests that came at once, the first has found out for the others.
        if self.is_known(&credentials).await {
            return Admission::Granted;
        }
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || matches_hash(&hash, &password)).await;
        if !right.unwrap_or(false) {
            return Admission::Refused;
        }
        let digest = digest(&self.inner.key, &credentials).finalize().into_bytes().into();
        *self.inner.known.write().await = Some(digest);
        Admission::Granted
    }

    /// In constant time: the comparison tells nothing about how much was right.
    async fn is_known(&self, credentials: &str) -> bool {
        let known = *self.inner.known.read().await;
        known.is_some_and(|known| digest(&self.inner.key, credentials).verify_slice(&known).is_ok())
    }
}

fn digest(key: &[u8; 32], credentials: &str) -> Blake2sMac256 {
    Blake2sMac256::new(key.into()).chain_update(credentials)
}

fn matches_hash(hash: &PasswordHash, password: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

/// `user:password` out of a Basic header.
fn basic(authorization: &str) -> Option<String> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    let encoded = Some(encoded.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `s3cret`, with small parameters.
    fn hash() -> String {
        let params = Params::new(64, 1, 1, None).unwrap();
        Argon2::from(params).hash_password(b"s3cret").unwrap().to_string()
    }

    fn header(credentials: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    }

    async fn admits(auth: &Auth, credentials: &str) -> bool {
        auth.admit(Some(&header(credentials))).await == Admission::Granted
    }

    #[tokio::test]
    async fn a_plain_password_and_its_hash_admit_the_same() {
        for configured in ["s3cret".to_owned(), hash()] {
            let auth = Auth::new(Password::parse(&configured).unwrap());
            for _ in 0..2 {
                assert!(admits(&auth, "admin:s3cret").await);
                for wrong in ["admin:", "admin:s3cre", "admin:s3crets", "Admin:s3cret", ":s3cret", "s3cret"] {
                    assert!(!admits(&auth, wrong).await, "{wrong}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_basic_header_is_refused() {
        let auth = Auth::new(Password::parse("s3cret").unwrap());
        assert_eq!(auth.admit(None).await, Admission::Refused);
        for wrong in ["", "Basic", "Basic !", "Bearer abc", "Basic YWRtaW4="] {
            assert_eq!(auth.admit(Some(wrong)).await, Admission::Refused, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_hash_is_computed_once_for_right_credentials() {
        let auth = Auth::new(Password::parse(&hash()).unwrap());
        assert!(admits(&auth, "admin:s3cret").await);
        // With nobody left to compute hashes, only what is remembered is admitted.
        auth.inner.hashing.close();
        assert!(admits(&auth, "admin:s3cret").await);
        assert_eq!(auth.admit(Some(&header("admin:wrong"))).await, Admission::Busy);
    }

    #[test]
    fn the_default_password_is_recognised_in_either_form() {
        assert!(Password::parse("admin").unwrap().is_default());
        assert!(!Password::parse(&hash()).unwrap().is_default());
    }

    #[test]
    fn an_unusable_hash_is_refused_at_the_start() {
        for wrong in ["", "$argon2id$", "$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"] {
            assert_eq!(Password::parse(wrong).unwrap_err().code, "password.invalid", "{wrong}");
        }
    }
}
