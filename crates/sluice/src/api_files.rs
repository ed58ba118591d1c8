//! Event APIs that stand in files: reading them, and noticing when they change.
//!
//! Files are looked at once a second rather than watched: that works the same on every file system and with
//! the symbolic links by which container platforms swap mounted configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sluice_api::{EventApi, Format, Problem, parse_document};
use sluice_management::{FileDefinition, ManagementOptions, Registry, read_definition};
use tracing::error;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The largest definition file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The files and directories given, and what was last read from them. Reading blocks.
pub(crate) struct ApiFiles {
    given: Vec<PathBuf>,
    /// Event APIs that are part of the program, under the name they are reported by.
    built_in: Vec<(PathBuf, EventApi)>,
    seen: BTreeMap<PathBuf, (Stamp, FileDefinition)>,
    /// What could not be looked at the last time.
    unreadable: BTreeSet<PathBuf>,
    /// What resources in them may refer to.
    options: ManagementOptions,
}

/// What tells one version of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl ApiFiles {
    /// Reads the files to keep deployed. A path that does not exist is an error: it is most likely mistyped.
    pub(crate) fn new(
        given: Vec<PathBuf>,
        built_in: Vec<(PathBuf, EventApi)>,
        options: ManagementOptions,
    ) -> Result<Self, String> {
        for path in &given {
            fs::metadata(path)
                .map_err(|error| format!("--api {}: cannot be read: {error}.", path.display()))?;
        }
        let (seen, unreadable) = (BTreeMap::new(), BTreeSet::new());
        let mut files = Self { given, built_in, seen, unreadable, options };
        files.read_changes();
        Ok(files)
    }

    /// Deploys what the files said last. What is wrong in a file is logged and changes nothing for the
    /// others.
    pub(crate) async fn deploy(&self, registry: &Registry) {
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
            let reading = tokio::task::spawn_blocking(move || {
                let changed = self.read_changes();
                (self, changed)
            });
            let changed;
            (self, changed) = match reading.await {
                Ok(read) => read,
                Err(error) => return error!(%error, "The definition files are no longer followed."),
            };
            if changed {
                self.deploy(&registry).await;
            }
        }
    }

    /// Reads files that are new or changed and forgets those that are gone; whether there were any. What
    /// can not be looked at may well be there, so what is known of it stays.
    fn read_changes(&mut self) -> bool {
        let Self { given, seen, options, .. } = self;
        let (mut present, mut unreadable) = (BTreeSet::new(), BTreeMap::new());
        let mut changed = false;
        for (path, stamp) in given.iter().flat_map(|path| definition_files(path)) {
            let read = stamp.and_then(|stamp| {
                if seen.get(&path).is_none_or(|(seen, _)| *seen != stamp) {
                    let definition = read(&path, stamp.bytes, options)?;
                    seen.insert(path.clone(), (stamp, definition));
                    changed = true;
                }
                Ok(())
            });
            match read {
                Ok(()) => {
                    present.insert(path);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !given.contains(&path) => {}
                // What was named at the start and is gone as a whole was hardly meant: a volume is not mounted.
                Err(error) => {
                    unreadable.insert(path, error);
                }
            }
        }
        let before = seen.len();
        let is_below = |path: &Path| unreadable.keys().any(|above| path.starts_with(above));
        seen.retain(|path, _| present.contains(path) || is_below(path));
        changed |= seen.len() != before;
        for (path, error) in unreadable.iter().filter(|(path, _)| !self.unreadable.contains(*path)) {
            error!(
                path = %path.display(), %error,
                "Definitions can not be looked at; what they said before stays in force. It is tried again."
            );
        }
        self.unreadable = unreadable.into_keys().collect();
        changed
    }
}

fn report(path: &Path, problem: &Problem) {
    error!(
        file = %path.display(), code = problem.code, %problem,
        "A definition file is not followed: what it said before stays in force; an API that it did not define \
         before is not served."
    );
}

/// The file itself, or the definition files directly in a directory; or why they can not be told.
fn definition_files(path: &Path) -> Vec<(PathBuf, io::Result<Stamp>)> {
    let listed = || {
        if !fs::metadata(path)?.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()
    };
    match listed() {
        Err(error) => vec![(path.to_owned(), Err(error))],
        Ok(files) => {
            let definitions = files.into_iter().filter(|file| file == path || is_definition(file));
            let stamped = definitions.filter_map(|file| {
                let stamp = stamp(&file).transpose()?;
                Some((file, stamp))
            });
            stamped.collect()
        }
    }
}

/// Which version of a file is there; nothing for what is not a file.
fn stamp(file: &Path) -> io::Result<Option<Stamp>> {
    let metadata = fs::metadata(file)?;
    let stamp = Stamp { modified: metadata.modified().ok(), bytes: metadata.len() };
    Ok(metadata.is_file().then_some(stamp))
}

fn is_definition(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("json" | "yaml" | "yml"))
}

fn read(path: &Path, bytes: u64, options: &ManagementOptions) -> io::Result<FileDefinition> {
    let unreadable = |reason: String| Ok(Err(vec![Problem::new("", "document.unreadable", reason)]));
    if bytes > MAX_FILE_BYTES {
        return unreadable(format!("The file is larger than {MAX_FILE_BYTES} bytes."));
    }
    let text = match String::from_utf8(fs::read(path)?) {
        Ok(text) => text,
        Err(error) => return unreadable(format!("The file is not in UTF-8: {error}.")),
    };
    let json = path.extension().is_some_and(|extension| extension == "json");
    let document = parse_document(&text, if json { Format::Json } else { Format::Yaml });
    Ok(document.map_err(|problem| vec![problem]).and_then(|document| read_definition(document, options)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn known(files: &ApiFiles) -> Vec<&str> {
        files.seen.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
    }

    /// Puts in place of `path` what is neither there nor gone: a link to itself.
    fn obstruct(path: &Path, aside: &Path) {
        fs::rename(path, aside).unwrap();
        symlink(path, path).unwrap();
    }

    fn restore(path: &Path, aside: &Path) {
        fs::remove_file(path).unwrap();
        fs::rename(aside, path).unwrap();
    }

    #[test]
    fn only_what_is_gone_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let (directory, aside) = (root.path().join("apis"), root.path().join("aside"));
        fs::create_dir(&directory).unwrap();
        for name in ["a.yaml", "b.json"] {
            fs::write(directory.join(name), "{}").unwrap();
        }
        let mut files =
            ApiFiles::new(vec![directory.clone()], Vec::new(), ManagementOptions::default()).unwrap();
        for obstructed in [directory.clone(), directory.join("a.yaml")] {
            obstruct(&obstructed, &aside);
            assert!(!files.read_changes());
            assert_eq!(known(&files), ["a.yaml", "b.json"]);
            restore(&obstructed, &aside);
            assert!(!files.read_changes());
        }
        fs::remove_file(directory.join("a.yaml")).unwrap();
        assert!(files.read_changes());
        assert_eq!(known(&files), ["b.json"]);
        // What was named itself is not gone, but out of reach.
        fs::remove_dir_all(&directory).unwrap();
        assert!(!files.read_changes());
        assert_eq!(known(&files), ["b.json"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_can_not_be_read_is_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.yaml");
        fs::write(&file, "{}").unwrap();
        let mut files = ApiFiles::new(vec![file.clone()], Vec::new(), ManagementOptions::default()).unwrap();
        fs::remove_file(&file).unwrap();
        // It looks like a file, but its first byte can not be read.
        symlink("/proc/self/mem", &file).unwrap();
        for _ in 0..2 {
            assert!(!files.read_changes());
            assert!(files.unreadable.contains(&file));
            assert_eq!(known(&files), ["a.yaml"]);
        }
        fs::remove_file(&file).unwrap();
        fs::write(&file, "{ }").unwrap();
        assert!(files.read_changes());
        assert!(files.unreadable.is_empty());
    }
}
