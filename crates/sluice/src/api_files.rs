//! Event APIs that stand in files: reading them, and noticing when they change.
//!
//! Files are looked at once a second rather than watched: that works the same on every file system and with
//! the symbolic links by which container platforms swap mounted configuration.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sluice_api::{EventApi, Format, Problem, parse_document};
use sluice_management::{FileDefinition, Registry, read_definition};
use tracing::error;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The largest definition file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The files and directories given, and what was last read from them.
pub(crate) struct ApiFiles {
    given: Vec<PathBuf>,
    /// Event APIs that are part of the program, under the name they are reported by.
    built_in: Vec<(PathBuf, EventApi)>,
    seen: HashMap<PathBuf, (Stamp, FileDefinition)>,
}

/// What tells one version of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl ApiFiles {
    /// The files to keep deployed. A path that does not exist is an error: it is most likely mistyped.
    pub(crate) fn new(given: Vec<PathBuf>, built_in: Vec<(PathBuf, EventApi)>) -> Result<Self, String> {
        for path in &given {
            fs::metadata(path)
                .map_err(|error| format!("--api {}: cannot be read: {error}.", path.display()))?;
        }
        Ok(Self { given, built_in, seen: HashMap::new() })
    }

    /// Deploys what the files say now. What is wrong in a file is logged and changes nothing for the others.
    pub(crate) async fn deploy(&mut self, registry: &Registry) {
        self.read_changes();
        let built_in = self.built_in.iter().map(|(name, api)| (name.clone(), Ok(api.clone())));
        let read = self.seen.iter().map(|(path, (_, definition))| (path.clone(), definition.clone()));
        match registry.sync_files(built_in.chain(read).collect()).await {
            Ok(faults) => faults.iter().for_each(|(path, problem)| report(path, problem)),
            Err(error) => error!(%error, "The definition files could not be followed."),
        }
    }

    /// Keeps the registry in step with the files, for as long as it is polled.
    pub(crate) async fn watch(mut self, registry: Registry) {
        if self.given.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            if self.read_changes() {
                self.deploy(&registry).await;
            }
        }
    }

    /// Reads files that are new or changed and forgets those that are gone; whether there were any.
    fn read_changes(&mut self) -> bool {
        let now: HashMap<_, _> = self.given.iter().flat_map(|path| definition_files(path)).collect();
        let before = self.seen.len();
        self.seen.retain(|path, _| now.contains_key(path));
        let mut changed = self.seen.len() != before;
        for (path, stamp) in now {
            if self.seen.get(&path).is_none_or(|(seen, _)| *seen != stamp) {
                let definition = read(&path, stamp.bytes);
                self.seen.insert(path, (stamp, definition));
                changed = true;
            }
        }
        changed
    }
}

fn report(path: &Path, problem: &Problem) {
    error!(
        file = %path.display(), code = problem.code, %problem,
        "A definition file is not followed; what it said before stays in force."
    );
}

/// The file itself, or the definition files directly in a directory.
fn definition_files(path: &Path) -> Vec<(PathBuf, Stamp)> {
    let files = match fs::read_dir(path) {
        Ok(entries) => {
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_definition(path)).collect()
        }
        Err(_) => vec![path.to_owned()],
    };
    let stamped = files.into_iter().filter_map(|file| {
        let metadata = fs::metadata(&file).ok().filter(fs::Metadata::is_file)?;
        let stamp = Stamp { modified: metadata.modified().ok(), bytes: metadata.len() };
        Some((file, stamp))
    });
    stamped.collect()
}

fn is_definition(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("json" | "yaml" | "yml"))
}

fn read(path: &Path, bytes: u64) -> FileDefinition {
    let unreadable = |reason: String| vec![Problem::new("", "document.unreadable", reason)];
    if bytes > MAX_FILE_BYTES {
        return Err(unreadable(format!("The file is larger than {MAX_FILE_BYTES} bytes.")));
    }
    let text = fs::read_to_string(path)
        .map_err(|error: io::Error| unreadable(format!("The file cannot be read: {error}.")))?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    let document = parse_document(&text, if json { Format::Json } else { Format::Yaml });
    read_definition(document.map_err(|problem| vec![problem])?)
}
