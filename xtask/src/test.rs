//! `cargo xtask test`: all tests, with everything they need set up around them.

use std::{process::ExitCode, time::Instant};

use crate::{debian, kafka::Kafka, kafka_jars, run, supervised::Supervised, tools::Tools};

/// The variable by which somebody brings a Kafka of their own.
const OWN_KAFKA: &str = "SLUICE_TEST_KAFKA";

/// Runs `cargo test` with these arguments, or all tests of the workspace.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    debian::require(&[("curl", "curl")])?;
    let tools = Tools::install()?;
    let kafka = Kafka::start(None)?;
    let own = std::env::var(OWN_KAFKA).ok().filter(|address| !address.is_empty());
    if let Some(address) = &own {
        eprintln!(
            "xtask: the plain tests use {address} ({OWN_KAFKA}), the secured ones the Kafka started here"
        );
    }

    let arguments = if arguments.is_empty() { &["--workspace", "--no-fail-fast"][..] } else { arguments };
    let mut cargo = run::cargo();
    cargo.arg("test").args(arguments);
    let variables = kafka.variables().into_iter().filter(|(name, _)| own.is_none() || *name != OWN_KAFKA);
    cargo.envs(variables).envs(tools.variables());
    cargo.env("SLUICE_TEST_KAFKA_JARS", kafka_jars::directory()?);

    eprintln!("xtask: cargo test {}", arguments.join(" "));
    let started = Instant::now();
    // Supervised like Kafka, so that no test runs on without its broker when this tool is killed.
    let status = Supervised::start(&cargo, None, None)?.wait()?;
    let verdict = if status.success() { "passed" } else { "FAILED" };
    eprintln!("xtask: tests {verdict} after {:.0?}", started.elapsed());

    let started = Instant::now();
    drop(kafka);
    eprintln!("xtask: stopped Kafka in {:.1?}", started.elapsed());
    Ok(run::exit_code(status))
}
