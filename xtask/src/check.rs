//! `cargo xtask check`: formatting and lints.

use std::process::ExitCode;

use crate::run;

/// Stops at the first of the two that fails; its exit code is handed on.
pub(crate) fn run() -> Result<ExitCode, String> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    for arguments in [&["fmt", "--all", "--check"][..], &clippy] {
        eprintln!("xtask: cargo {}", arguments.join(" "));
        let status = run::cargo().args(arguments).status();
        let status = status.map_err(|error| format!("cargo did not start: {error}."))?;
        if !status.success() {
            return Ok(run::exit_code(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}
