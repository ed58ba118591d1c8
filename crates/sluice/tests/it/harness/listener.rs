//! A `sluice webhook-listener` under test, or in the service of one.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::leash::Leash;

/// A listener that prints JSON. Killed when dropped.
pub(crate) struct Listener {
    process: Leash,
    url: String,
}

impl Listener {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let process = Leash::start(Self::command().arg("--json").args(arguments));
        let url = process.json()["listening"].as_str().unwrap().to_owned();
        Self { process, url }
    }

    /// The command, with a free port.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["webhook-listener", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        command
    }

    /// Its address, with a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The next request that it prints.
    pub(crate) fn next(&self) -> Value {
        self.process.json()
    }

    /// Ends it as Ctrl-C does; what it still prints, the last line being its summary.
    pub(crate) fn end(self) -> Vec<Value> {
        self.process.signal("-INT");
        self.process.rest().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
