//! `cargo xtask bench drivers`: what each driver moves beside a bare loop on its client library, with the brokers that
//! they need. The loops are the drivers' own benchmarks.

use std::path::Path;

use crate::{
    broker::{Broker, Brokers},
    run,
    supervised::Supervised,
};

/// The benchmarks, built and not yet run: brokers would wait for the compiler otherwise.
pub(super) const BUILD: [&str; 7] = benchmarks("--no-run");

const fn benchmarks(last: &'static str) -> [&'static str; 7] {
    [
        "bench",
        "--package=sluice-broker-kafka",
        "--package=sluice-broker-mqtt",
        "--package=sluice-broker-rabbitmq",
        "--package=sluice-broker-amqp",
        "--bench=speed",
        last,
    ]
}

pub(super) fn measure(_: &Path) -> Result<(), String> {
    let brokers = Brokers::start(Broker::ALL, None)?;
    let mut cargo = run::cargo();
    let variables = brokers.variables().iter().map(|(name, value)| (name, value));
    cargo.args(benchmarks("--quiet")).envs(variables);
    // Supervised like the brokers, so that it does not run on without them when this tool is killed.
    let status = Supervised::start(&cargo, None, None)?.wait()?;
    if status.success() { Ok(()) } else { Err("A benchmark failed.".to_owned()) }
}
