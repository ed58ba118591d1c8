//! Encryption of secrets at rest: XChaCha20-Poly1305 under a key of 32 random bytes in `secret.key`.
//!
//! Whoever has the database alone learns no secret; whoever has both files does, so the key's permissions
//! are checked at every start. Each secret is bound to the place it is kept at: moved to another record it
//! no longer opens.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};

use crate::StoreError;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals and opens secrets.
pub(crate) struct Vault {
    cipher: XChaCha20Poly1305,
}

impl Vault {
    /// Opens the key file. Where there is none it is made, unless `sealed` secrets already depend on it.
    pub(crate) fn open(path: &Path, sealed: i64) -> Result<Self, StoreError> {
        let key = match fs::metadata(path) {
            Ok(metadata) => read_key(path, &metadata)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && sealed == 0 => create_key(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!(
                    "is missing, but {sealed} secrets in the database are encrypted with it; restore it from \
                     a backup."
                );
                return Err(refused(path, reason));
            }
            Err(source) => return Err(io_error(path, "read", source)),
        };
        Ok(Self { cipher: XChaCha20Poly1305::new(&Key::from(key)) })
    }

    /// Encrypts; `place` says where the result will be kept. The nonce comes first.
    pub(crate) fn seal(&self, place: &str, text: &str) -> Result<Vec<u8>, String> {
        let random = |_| "The system gives no randomness.".to_owned();
        let nonce = <[u8; NONCE_BYTES]>::try_generate().map_err(random)?;
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| format!("The secret at {place} is too long to be encrypted."))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what was sealed for the same place with the same key.
    pub(crate) fn open_secret(&self, place: &str, sealed: &[u8]) -> Result<String, String> {
        let foreign = || format!("The secret at {place} does not open with this secret key.");
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(foreign)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| foreign())?;
        String::from_utf8(opened).map_err(|_| foreign())
    }
}

fn read_key(path: &Path, metadata: &fs::Metadata) -> Result<[u8; KEY_BYTES], StoreError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let reason = format!(
            "is open to other users (mode {mode:04o}); make it yours alone with: chmod 600 {}",
            path.display()
        );
        return Err(refused(path, reason));
    }
    let bytes = fs::read(path).map_err(|source| io_error(path, "read", source))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| {
        let reason = format!("has {length} bytes instead of {KEY_BYTES}; restore it from a backup.");
        refused(path, reason)
    })
}

/// Under another name first, so that a crash never leaves half a key behind.
fn create_key(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let failed = |source| io_error(path, "write", source);
    let key =
        <[u8; KEY_BYTES]>::try_generate().map_err(|error| failed(io::Error::other(error.to_string())))?;
    let unfinished = path.with_extension("key.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    if let Some(directory) = path.parent() {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(key)
}

fn refused(path: &Path, reason: String) -> StoreError {
    StoreError::Key { path: path.to_owned(), reason }
}

pub(crate) fn io_error(path: &Path, doing: &'static str, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_where_it_was_sealed_for() {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(&directory.path().join("secret.key"), 0).unwrap();
        let sealed = vault.seal("here", "hunter2").unwrap();
        assert_eq!(vault.open_secret("here", &sealed).unwrap(), "hunter2");
        assert!(vault.open_secret("there", &sealed).is_err());
        assert!(vault.open_secret("here", &sealed[..10]).is_err());
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret.key");
        let sealed = Vault::open(&path, 0).unwrap().seal("here", "hunter2").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::open(&path, 1).unwrap().open_secret("here", &sealed).unwrap(), "hunter2");
    }

    #[test]
    fn a_lost_key_is_not_replaced_while_secrets_depend_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let error = Vault::open(&directory.path().join("secret.key"), 3).err().unwrap().to_string();
        assert!(error.contains("is missing, but 3 secrets"), "{error}");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret.key");
        Vault::open(&path, 0).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(Vault::open(&path, 0).err().unwrap().to_string().contains("has 5 bytes instead of 32"));
    }
}
