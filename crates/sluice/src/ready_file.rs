//! The file that tells scripts that the gateway is ready, and where it listens.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// A ready file on disk; it goes when this is dropped, so that a script never waits for a gateway that has
/// ended.
#[derive(Debug)]
pub(crate) struct ReadyFile(PathBuf);

/// What the file says: the addresses really bound.
#[derive(Serialize)]
struct Ready<'a> {
    gateway: &'a [SocketAddr],
    management: &'a [SocketAddr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    admin: &'a [SocketAddr],
}

impl ReadyFile {
    /// Removes a file that an earlier process left, which would say "ready" too early.
    pub(crate) fn clear(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file so that it is either not there or complete.
    pub(crate) fn write(
        path: &Path,
        gateway: &[SocketAddr],
        management: &[SocketAddr],
        admin: &[SocketAddr],
    ) -> io::Result<Self> {
        let text = serde_json::to_string(&Ready { gateway, management, admin })?;
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        fs::write(&draft, text + "\n")?;
        fs::rename(&draft, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Err(error) = Self::clear(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "The ready file could not be removed.");
        }
    }
}
