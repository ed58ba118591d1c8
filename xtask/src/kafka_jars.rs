//! Kafka's jars: fetched once through Maven, checked against the list in the repository at every start.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{debian, run};

const LIST: &str = include_str!("../kafka/sha256sums");
const VERSION: &str = "4.1.1";

/// The directory that holds exactly the listed jars.
pub(crate) fn directory() -> Result<PathBuf, String> {
    let directory = run::brokers().join(format!("kafka-{VERSION}"));
    if directory.is_dir()
        && let Err(reason) = check(&directory)
    {
        eprintln!("xtask: {reason}");
        fs::remove_dir_all(&directory)
            .map_err(|error| format!("{} cannot be removed: {error}.", directory.display()))?;
    }
    if !directory.is_dir() {
        fetch(&directory)?;
    }
    Ok(directory)
}

fn fetch(directory: &Path) -> Result<(), String> {
    debian::require(&[("mvn", "maven")])?;
    let started = Instant::now();
    eprintln!("xtask: fetching Kafka {VERSION} through Maven");
    // Beside its place until all is there, so that an interrupted run leaves nothing that looks finished.
    let partial = directory.with_extension(format!("partial-{}", std::process::id()));
    let listed = |reason| format!("{reason}\nIf the list is what is wrong, see xtask/kafka/pom.xml.");
    let result = download(&partial).and_then(|()| check(&partial).map_err(listed));
    let result = result.and_then(|()| {
        fs::rename(&partial, directory)
            .map_err(|error| format!("{} cannot be made: {error}.", directory.display()))
    });
    if let Err(reason) = result {
        // What cannot be removed is in nobody's way: the next run uses another name.
        let _ = fs::remove_dir_all(&partial);
        // Two runs at once: the other one was faster.
        return if directory.is_dir() { Ok(()) } else { Err(reason) };
    }
    eprintln!("xtask: fetched Kafka in {:.0?}", started.elapsed());
    Ok(())
}

fn download(partial: &Path) -> Result<(), String> {
    let mut maven = Command::new("mvn");
    maven.arg("--batch-mode").arg("--quiet").arg("--file").arg(run::root().join("xtask/kafka/pom.xml"));
    maven.arg("dependency:copy-dependencies").arg("-DincludeScope=runtime");
    maven.arg(format!("-DoutputDirectory={}", partial.display()));
    run::output(&mut maven).map(drop)
}

/// Fails on a jar that is missing, that is not listed, or that differs.
fn check(directory: &Path) -> Result<(), String> {
    let unreadable = |error| format!("{} cannot be read: {error}.", directory.display());
    let mut present = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        present.insert(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    let listed: BTreeSet<String> =
        LIST.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect();
    if let Some(missing) = listed.difference(&present).next() {
        return Err(format!("The jar {missing} of xtask/kafka/sha256sums is not among those fetched."));
    }
    if let Some(extra) = present.difference(&listed).next() {
        return Err(format!("The file {extra} is among Kafka's jars but not in xtask/kafka/sha256sums."));
    }
    let list = run::root().join("xtask/kafka/sha256sums");
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.args(["--check", "--strict", "--quiet"]).arg(list).current_dir(directory);
    run::output(&mut sha256sum)
        .map(drop)
        .map_err(|reason| format!("A jar of Kafka is not the one listed. {reason}"))
}
