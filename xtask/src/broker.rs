//! `cargo xtask broker kafka`: the broker of the tests, for work by hand.

use std::process::ExitCode;

use crate::kafka::Kafka;

/// Runs Kafka until Ctrl-C. Comes back only when Kafka ends by itself, which is an error.
pub(crate) fn run(port: Option<u16>) -> Result<ExitCode, String> {
    let mut kafka = Kafka::start(port)?;
    for (name, value) in kafka.variables() {
        println!("export {name}={value}");
    }
    eprintln!("xtask: Kafka runs until Ctrl-C.");
    Err(kafka.wait_for_end())
}

pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("--port takes a number from 0 to 65535, not '{text}'."))
}
