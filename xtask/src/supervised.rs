//! A program that ends when this tool ends, however that happens: normally, by a panic, by Ctrl-C, by SIGKILL.
//!
//! A handler for signals could not promise that. Instead a small shell script stands between: its standard
//! input is a pipe from here, and the kernel closes it whenever this process is gone.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::run;

/// A program under supervision; dropping this ends it and waits until it is gone.
pub(crate) struct Supervised {
    supervisor: Child,
}

impl Supervised {
    /// Starts `command` with its arguments, variables and directory. `output` is where its standard output
    /// and error go, those of this tool where there is none. `remove` is removed after the end.
    pub(crate) fn start(
        command: &Command,
        output: Option<std::fs::File>,
        remove: Option<&Path>,
    ) -> Result<Self, String> {
        let mut shell = Command::new("sh");
        shell.arg(run::root().join("xtask/src/supervise.sh"));
        shell.arg(remove.map_or(OsStr::new(""), Path::as_os_str));
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            shell.current_dir(directory);
        }
        if let Some(output) = output {
            let copy =
                output.try_clone().map_err(|error| format!("A log file cannot be shared: {error}."))?;
            shell.stdout(output).stderr(copy);
        }
        // A group of its own, so that Ctrl-C reaches this tool alone and the end comes by one way only.
        let supervisor = shell.stdin(Stdio::piped()).process_group(0).spawn();
        let supervisor = supervisor.map_err(|error| format!("'sh' did not start: {error}."))?;
        Ok(Self { supervisor })
    }

    /// Waits for the program's own end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, String> {
        // `Child::wait` would close the pipe first, and that is the order to end.
        let pipe = self.supervisor.stdin.take();
        let status =
            self.supervisor.wait().map_err(|error| format!("Waiting for a program failed: {error}."));
        drop(pipe);
        status
    }

    /// Whether the program has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.supervisor.try_wait(), Ok(None))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        if let Err(error) = self.supervisor.wait() {
            eprintln!("warning: the end of a started program could not be awaited: {error}");
        }
    }
}
