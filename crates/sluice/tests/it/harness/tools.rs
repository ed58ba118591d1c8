//! Programs that were not written here, which `cargo xtask test` installs and names by variables.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A Node.js script of `tests/it/clients`, with the packages it requires.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(clients().join(script)).env("NODE_PATH", tool("SLUICE_TEST_NODE_MODULES"));
    command
}

/// What a variable of `cargo xtask test` names; a test that needs it fails without it.
pub(crate) fn tool(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| {
        panic!(
            "{variable} is not set: run the tests by `cargo xtask test`, or install the tools by `cargo xtask \
             tools` and set the variables that it prints"
        )
    });
    assert!(path.exists(), "{variable} names {}, which is not there", path.display());
    path
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients")
}
