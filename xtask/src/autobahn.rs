//! `cargo xtask autobahn`: all cases of the Autobahn suite against the WebSocket receiver.
//!
//! The short groups are part of the tests. Here are the long ones too, in slices under a time limit each, with a
//! table that a person compares.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use crate::{
    gateway::{ANYWHERE, Start},
    run, tools,
};

/// Every group of cases; the large ones by their parts.
const GROUPS: [&str; 28] = [
    "1", "2", "3", "4", "5", "6", "7", "9.1", "9.2", "9.3", "9.4", "9.5", "9.6", "9.7", "9.8", "10", "12.1",
    "12.2", "12.3", "12.4", "12.5", "13.1", "13.2", "13.3", "13.4", "13.5", "13.6", "13.7",
];
/// What one of these groups may take.
const LIMIT_SECONDS: &str = "600";

/// Runs these groups, or all; fails when a case fails.
pub(crate) fn run(groups: &[&str]) -> Result<ExitCode, String> {
    let kosoku = tools::kosoku()?;
    eprintln!("xtask: building the gateway");
    run::output(run::cargo().args(["build", "--release", "--package", "sluice"]))?;
    let directory = run::target().join("autobahn");
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}.", directory.display()))?;
    }
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}.", directory.display()))?;

    let settings = run::root().join("xtask/autobahn");
    let file = |name| settings.join(name).display().to_string();
    let arguments =
        ["run", "--config", &file("sluice.yaml"), "--api", &file("api.yaml")].map(str::to_owned).to_vec();
    let binary = run::target().join("release/sluice");
    let gateway =
        Start { binary: &binary, directory: &directory, arguments, listen: ANYWHERE.to_owned() }.start()?;
    let url = format!("ws://{}/echo", gateway.address);

    let mut failed = 0;
    for group in if groups.is_empty() { &GROUPS[..] } else { groups } {
        let started = Instant::now();
        let result = cases(&kosoku, group, &directory.join(format!("cases-{group}")), &url);
        let (verdict, detail) = match result {
            Ok(passed) => ("ok", passed),
            Err(reason) => {
                failed += 1;
                ("FAILED", reason)
            }
        };
        println!("{group:<6}{verdict:<8}{:>6.1} s  {detail}", started.elapsed().as_secs_f64());
    }
    println!("Reports are in {}.", directory.display());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cases of one group.
fn cases(kosoku: &Path, group: &str, reports: &Path, url: &str) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_SECONDS).arg(kosoku).args(["-p", "2", "-i", &format!("{group}.*"), "-o"]);
    let text = run::output(command.arg(reports).arg(url))?;
    // A group that matches no case passes as well.
    let passed = text.lines().find(|line| line.ends_with(" cases passed") && !line.starts_with("0 "));
    passed.map(str::to_owned).ok_or_else(|| format!("no case ran:\n{}", run::tail(&text)))
}
