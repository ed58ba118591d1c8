//! `cargo xtask test`: all tests, with everything they need set up around them.

use std::{process::ExitCode, time::Instant};

use crate::{
    broker::{Broker, Brokers},
    debian, run,
    supervised::Supervised,
    tools::Tools,
};

/// The variable by which somebody brings a Kafka of their own.
const OWN_KAFKA: &str = "SLUICE_TEST_KAFKA";

/// Runs `cargo test` with these arguments, or all tests of the workspace.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    debian::require(&[("curl", "curl")])?;
    let tools = Tools::install()?;
    let brokers = Brokers::start(&needed(arguments), None)?;
    let own = std::env::var(OWN_KAFKA).ok().filter(|address| !address.is_empty());
    if let Some(address) = &own {
        eprintln!(
            "xtask: the plain tests use {address} ({OWN_KAFKA}), the secured ones the Kafka started here"
        );
    }

    let arguments = if arguments.is_empty() { &["--workspace", "--no-fail-fast"][..] } else { arguments };
    let mut cargo = run::cargo();
    cargo.arg("test").args(arguments);
    let variables = brokers.variables().iter().filter(|(name, _)| own.is_none() || *name != OWN_KAFKA);
    cargo.envs(variables.map(|(name, value)| (name, value))).envs(tools.variables());

    eprintln!("xtask: cargo test {}", arguments.join(" "));
    let started = Instant::now();
    // Supervised like the brokers, so that no test runs on without them when this tool is killed.
    let status = Supervised::start(&cargo, None, None)?.wait()?;
    let verdict = if status.success() { "passed" } else { "FAILED" };
    eprintln!("xtask: tests {verdict} after {:.0?}", started.elapsed());

    let started = Instant::now();
    drop(brokers);
    eprintln!("xtask: stopped the brokers in {:.1?}", started.elapsed());
    Ok(run::exit_code(status))
}

/// The brokers that the tests of these arguments talk to: all, unless each package that is named needs fewer.
fn needed(arguments: &[&str]) -> Vec<Broker> {
    let packages = arguments.windows(2).filter(|pair| matches!(pair[0], "-p" | "--package"));
    let mut needed = Vec::new();
    for package in packages.map(|pair| pair[1]) {
        needed.extend_from_slice(match package {
            "sluice-broker-kafka" => &[Broker::Kafka],
            "sluice-broker-mqtt" => &[Broker::Mosquitto, Broker::Artemis],
            "sluice-broker-rabbitmq" => &[Broker::RabbitMq],
            "sluice-broker-amqp" => &[Broker::RabbitMq, Broker::Artemis],
            _ => Broker::ALL,
        });
    }
    if needed.is_empty() {
        Broker::ALL.to_vec()
    } else {
        Broker::ALL.iter().copied().filter(|broker| needed.contains(broker)).collect()
    }
}
