//! `cargo xtask chaos`: the chaos suite with everything it needs. What it does stands in crates/sluice-chaos.

use std::{
    fs,
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{jars, run, server, supervised::Supervised};

/// Runs the suite with these arguments; `--debug` is for this tool, the others are the suite's.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    jars::require_java()?;
    let is_debug = arguments.contains(&"--debug");
    let mut build = run::cargo();
    build.args(["build", "--package", "sluice", "--package", "sluice-chaos"]);
    if !is_debug {
        build.arg("--release");
    }
    eprintln!("xtask: building the gateway and the suite");
    run::output(&mut build)?;
    let programs = run::target().join(if is_debug { "debug" } else { "release" });

    let seed = seed(arguments)?;
    let logs = run::target().join("chaos").join(&seed);
    if logs.exists() {
        fs::remove_dir_all(&logs).map_err(|error| format!("{}: {error}.", logs.display()))?;
    }
    let data = server::make_directory("chaos")?;
    let mut suite = Command::new(programs.join("sluice-chaos"));
    suite.args(arguments.iter().filter(|argument| **argument != "--debug"));
    if !arguments.contains(&"--seed") {
        suite.args(["--seed", &seed]);
    }
    suite.arg("--gateway").arg(programs.join("sluice")).arg("--directory").arg(&data).arg("--logs").arg(logs);
    suite.arg("--kafka-jars").arg(jars::KAFKA.directory()?);
    Ok(run::exit_code(Supervised::start(&suite, None, Some(&data))?.wait()?))
}

/// The one given, else one from the clock.
fn seed(arguments: &[&str]) -> Result<String, String> {
    let given = arguments.iter().skip_while(|argument| **argument != "--seed").nth(1);
    match given {
        Some(seed) if seed.bytes().all(|byte| byte.is_ascii_digit()) => Ok((*seed).to_owned()),
        Some(other) => Err(format!("--seed takes a number, not '{other}'.")),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            Ok(now.map_or(0, |now| now.as_secs()).to_string())
        }
    }
}
