//! Clients and suites that were not written here: a browser, Postman's runner, WebSocket and webhook libraries,
//! the Autobahn cases. Fetched once, in the versions that lock files of the repository name.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use crate::{debian, run};

/// The file that says of which list a directory was made; written last.
const STAMP: &str = "made-of";

/// Where they are.
pub(crate) struct Tools {
    node_modules: PathBuf,
    kosoku: PathBuf,
    chromium: PathBuf,
}

/// `cargo xtask tools`: installs them and prints what tests must know.
pub(crate) fn run() -> Result<ExitCode, String> {
    for (name, value) in Tools::install()?.variables() {
        println!("export {name}={value}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Tools {
    /// Fetches what is missing.
    pub(crate) fn install() -> Result<Self, String> {
        let node_modules = node_modules()?;
        let kosoku = kosoku()?;
        debian::require(&[("chromium", "chromium")])?;
        let chromium = run::find("chromium").ok_or("There is no 'chromium' on the path.")?;
        Ok(Self { node_modules, kosoku, chromium })
    }

    /// What tests must know to find them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SLUICE_TEST_NODE_MODULES", self.node_modules.display().to_string()),
            ("SLUICE_TEST_KOSOKU", self.kosoku.display().to_string()),
            ("SLUICE_TEST_CHROMIUM", self.chromium.display().to_string()),
        ]
    }
}

/// The packages of xtask/npm.
fn node_modules() -> Result<PathBuf, String> {
    let source = run::root().join("xtask/npm");
    let directory = run::target().join("tools/npm");
    make_once(&directory, &source.join("package-lock.json"), || {
        debian::require(&[("node", "nodejs"), ("npm", "npm")])?;
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(source.join(file), directory.join(file))
                .map_err(|error| format!("xtask/npm/{file} cannot be copied: {error}."))?;
        }
        let mut npm = Command::new("npm");
        // None of the packages needs its scripts; what does not run does no harm.
        npm.args(["ci", "--ignore-scripts", "--no-progress"]).current_dir(&directory);
        run::output(&mut npm).map(drop)
    })?;
    Ok(directory.join("node_modules"))
}

/// The WebSocket suite of xtask/python.
pub(crate) fn kosoku() -> Result<PathBuf, String> {
    let list = run::root().join("xtask/python/requirements.txt");
    let directory = run::target().join("tools/python");
    make_once(&directory, &list, || {
        debian::require(&[("python3", "python3")])?;
        // Debian has the part that makes environments in a package of its own, without a program.
        if run::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_err() {
            debian::bring(&["python3-venv"])?;
        }
        run::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
        let mut pip = Command::new(directory.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(&list);
        run::output(&mut pip).map(drop)
    })?;
    Ok(directory.join("bin/kosoku"))
}

/// Makes a directory of a list unless it was made of the same list before.
fn make_once(directory: &Path, list: &Path, make: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let unreadable = |error| format!("{} cannot be read: {error}.", list.display());
    let wanted = fs::read_to_string(list).map_err(unreadable)?;
    let failed = |error| format!("{} cannot be made: {error}.", directory.display());
    let parent = directory.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(failed)?;
    // Of two runs at once, the second waits and finds it made. The lock goes with the file handle.
    let lock = File::create(parent.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let stamp = directory.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == wanted) {
        return Ok(());
    }
    let started = Instant::now();
    eprintln!("xtask: making {} of {}", directory.display(), list.display());
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(failed)?;
    }
    fs::create_dir(directory).map_err(failed)?;
    make()?;
    fs::write(stamp, wanted).map_err(failed)?;
    eprintln!("xtask: made {} in {:.0?}", directory.display(), started.elapsed());
    Ok(())
}
