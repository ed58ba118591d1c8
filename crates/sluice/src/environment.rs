//! What expressions can read of this gateway beside messages and requests: dictionaries from the config file,
//! secrets from a directory, and the node itself.
//!
//! Read once, at the start: an expression never waits for a disk.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sluice_expression::{Environment, Node};

/// Bounds of the directory of secrets, so that naming the wrong one is an error and not a long wait.
const MAX_SECRETS: usize = 1024;
const MAX_SECRET_BYTES: u64 = 64 << 10;
const MAX_DEPTH: usize = 8;

/// Dictionaries by name, as the config file has them.
pub(crate) type Dictionaries = BTreeMap<String, BTreeMap<String, String>>;

/// Puts the environment together; an error names the file that cannot be taken.
pub(crate) fn load(dictionaries: Dictionaries, secrets: Option<&Path>) -> Result<Environment, String> {
    let mut found = BTreeMap::new();
    if let Some(directory) = secrets {
        read_directory(directory, "", 0, &mut found)
            .map_err(|(path, reason)| format!("secretsDir: {}: {reason}", path.display()))?;
    }
    let id =
        fs::read_to_string("/etc/hostname").map_or_else(|_| "sluice".to_owned(), |it| it.trim().to_owned());
    let node = Node { id, version: env!("CARGO_PKG_VERSION").to_owned(), ..Node::default() };
    Ok(Environment { dictionaries, secrets: found, node, endpoints: BTreeMap::new() })
}

type Fault = (PathBuf, String);

/// Takes every file below a directory: `/a/b` is the text of the file `a/b`, and where that is a JSON object,
/// `/a/b:key` is the text of its member `key`. Names that begin with a dot are left out: orchestrators keep
/// their bookkeeping there.
fn read_directory(
    directory: &Path,
    prefix: &str,
    depth: usize,
    found: &mut BTreeMap<String, String>,
) -> Result<(), Fault> {
    let fault = |path: &Path, reason: String| (path.to_owned(), reason);
    if depth == MAX_DEPTH {
        return Err(fault(directory, format!("directories are nested deeper than {MAX_DEPTH}.")));
    }
    let entries = fs::read_dir(directory).map_err(|error| fault(directory, format!("{error}.")))?;
    for entry in entries {
        let path = entry.map_err(|error| fault(directory, format!("{error}.")))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(fault(&path, "its name is not UTF-8.".to_owned()));
        };
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}/{name}");
        if path.is_dir() {
            read_directory(&path, &name, depth + 1, found)?;
        } else {
            read_secret(&path, name, found).map_err(|reason| fault(&path, reason))?;
        }
        if found.len() > MAX_SECRETS {
            return Err(fault(directory, format!("there are more than {MAX_SECRETS} secrets.")));
        }
    }
    Ok(())
}

fn read_secret(path: &Path, name: String, found: &mut BTreeMap<String, String>) -> Result<(), String> {
    let size = fs::metadata(path).map_err(|error| format!("{error}."))?.len();
    if size > MAX_SECRET_BYTES {
        return Err(format!("a secret has at most {MAX_SECRET_BYTES} bytes, this has {size}."));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{error}."))?;
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_str(&text) {
        for (key, value) in members {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            found.insert(format!("{name}:{key}"), value);
        }
    }
    // Editors end a file with a line feed that is no part of the secret.
    found.insert(name, text.trim_end_matches(['\r', '\n']).to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_and_members_of_json_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("vault")).unwrap();
        fs::write(directory.path().join("vault/kafka"), r#"{"user": "u", "port": 9092}"#).unwrap();
        fs::write(directory.path().join("token"), "hunter2\n").unwrap();
        fs::write(directory.path().join(".hidden"), "x").unwrap();
        let secrets = load(Dictionaries::new(), Some(directory.path())).unwrap().secrets;
        let expected = [
            ("/token", "hunter2"),
            ("/vault/kafka", r#"{"user": "u", "port": 9092}"#),
            ("/vault/kafka:port", "9092"),
            ("/vault/kafka:user", "u"),
        ];
        let secrets: Vec<_> = secrets.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(secrets, expected);
    }

    #[test]
    fn a_secret_that_cannot_be_taken_is_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("large"), vec![b'x'; 65_537]).unwrap();
        let fault = load(Dictionaries::new(), Some(directory.path())).unwrap_err();
        assert!(fault.contains("large") && fault.contains("65536"), "{fault}");
        assert!(load(Dictionaries::new(), Some(Path::new("/nowhere"))).unwrap_err().contains("/nowhere"));
    }
}
