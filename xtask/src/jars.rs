//! The jars of a broker that runs on Java: fetched once through Maven, checked against the list in the repository
//! at every start.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{debian, run};

const OLDEST_JAVA: u32 = 17;

/// The jars of one broker: its directory under `xtask` has a pom.xml and a list, sha256sums.
pub(crate) struct Jars {
    name: &'static str,
    version: &'static str,
    source: &'static str,
    list: &'static str,
}

pub(crate) const KAFKA: Jars =
    Jars { name: "Kafka", version: "4.1.1", source: "kafka", list: include_str!("../kafka/sha256sums") };

pub(crate) const ARTEMIS: Jars = Jars {
    name: "Artemis",
    version: "2.55.0",
    source: "artemis",
    list: include_str!("../artemis/sha256sums"),
};

impl Jars {
    /// The directory that holds exactly the listed jars.
    pub(crate) fn directory(&self) -> Result<PathBuf, String> {
        let directory = run::brokers().join(format!("{}-{}", self.source, self.version));
        if directory.is_dir()
            && let Err(reason) = self.check(&directory)
        {
            eprintln!("xtask: {reason}");
            fs::remove_dir_all(&directory)
                .map_err(|error| format!("{} cannot be removed: {error}.", directory.display()))?;
        }
        if !directory.is_dir() {
            self.fetch(&directory)?;
        }
        Ok(directory)
    }

    fn fetch(&self, directory: &Path) -> Result<(), String> {
        debian::require(&[("mvn", "maven")])?;
        let started = Instant::now();
        eprintln!("xtask: fetching {} {} through Maven", self.name, self.version);
        // Beside its place until all is there, so that an interrupted run leaves nothing that looks finished.
        let partial = directory.with_extension(format!("partial-{}", std::process::id()));
        let listed =
            |reason| format!("{reason}\nIf the list is what is wrong, see xtask/{}/pom.xml.", self.source);
        let result = self.download(&partial).and_then(|()| self.check(&partial).map_err(listed));
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
        eprintln!("xtask: fetched {} in {:.0?}", self.name, started.elapsed());
        Ok(())
    }

    fn download(&self, partial: &Path) -> Result<(), String> {
        let mut maven = Command::new("mvn");
        let pom = run::root().join("xtask").join(self.source).join("pom.xml");
        maven.arg("--batch-mode").arg("--quiet").arg("--file").arg(pom);
        maven.arg("dependency:copy-dependencies").arg("-DincludeScope=runtime");
        maven.arg(format!("-DoutputDirectory={}", partial.display()));
        run::output(&mut maven).map(drop)
    }

    /// Fails on a jar that is missing, that is not listed, or that differs.
    fn check(&self, directory: &Path) -> Result<(), String> {
        let source = self.source;
        let unreadable = |error| format!("{} cannot be read: {error}.", directory.display());
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            present.insert(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        let listed: BTreeSet<String> =
            self.list.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect();
        if let Some(missing) = listed.difference(&present).next() {
            return Err(format!(
                "The jar {missing} of xtask/{source}/sha256sums is not among those fetched."
            ));
        }
        if let Some(extra) = present.difference(&listed).next() {
            return Err(format!(
                "The file {extra} is among the jars of {} but not in xtask/{source}/sha256sums.",
                self.name
            ));
        }
        let list = run::root().join("xtask").join(source).join("sha256sums");
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.args(["--check", "--strict", "--quiet"]).arg(list).current_dir(directory);
        run::output(&mut sha256sum)
            .map(drop)
            .map_err(|reason| format!("A jar of {} is not the one listed. {reason}", self.name))
    }
}

/// Makes sure that there is a Java that these brokers run on.
pub(crate) fn require_java() -> Result<(), String> {
    debian::require(&[("java", "default-jre-headless")])?;
    let text = run::output(Command::new("java").arg("-version"))?;
    // `openjdk version "17.0.15" 2025-04-15`
    let version =
        text.split('"').nth(1).and_then(|version| version.split(['.', '-']).next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= OLDEST_JAVA => Ok(()),
        _ => Err(format!(
            "Kafka and Artemis need Java {OLDEST_JAVA} or newer; `java -version` says:\n{}",
            run::tail(&text)
        )),
    }
}

/// A Java with these jars, for a program that lives for a minute: it starts twice as fast with the simple compiler
/// and collector.
pub(crate) fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg("-classpath").arg(jars.join("*"));
    java
}
