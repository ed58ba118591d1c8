//! A process that the suite starts, and that never outlives it: the kernel kills it when the thread that started
//! it is gone, also where that was killed itself, and also where the process stands still.

use std::{
    ffi::OsStr,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    fs::OpenOptions,
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::journal::Journal;

/// What a log line of a Rust process says that has failed in a way nobody foresaw.
const ALARMS: [&str; 3] = ["panicked at", "in a way that it never should", "memory allocation of"];

/// A running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    id: u32,
}

/// A command that begins with what ties the process to this one.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts what [`command`] made. What it prints is appended to the file; lines that raise an alarm are told
    /// as faults.
    pub(crate) async fn start(
        name: &'static str,
        mut command: Command,
        log: &Path,
        journal: &Arc<Journal>,
    ) -> Result<Self, String> {
        let file = OpenOptions::new().create(true).append(true).open(log).await;
        let file = file.map_err(|error| format!("{}: {error}.", log.display()))?;
        // Not the file itself: where the disk is full for the process its log still tells of it.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{name} did not start: {error}."))?;
        let id = child.id().ok_or_else(|| format!("{name} ended at once."))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let second = file.try_clone().await.map_err(|error| format!("{}: {error}.", log.display()))?;
        if let (Some(out), Some(err)) = (out, err) {
            tokio::spawn(copy(name, out, second, Arc::clone(journal)));
            tokio::spawn(copy(name, err, file, Arc::clone(journal)));
        }
        Ok(Self { name, child, id })
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal, as `STOP`.
    pub(crate) async fn signal(&self, signal: &str) -> Result<(), String> {
        run(Command::new("kill").arg(format!("-{signal}")).arg(self.id.to_string())).await
    }

    /// Bounds the size of every file that it writes from now on; `None` lifts the bound.
    pub(crate) async fn limit_files(&self, bytes: Option<u64>) -> Result<(), String> {
        let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={soft}:unlimited");
        run(Command::new("prlimit").args(["--pid", &self.id.to_string()]).arg(limit)).await
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| format!("{} could not be killed: {error}.", self.name))
    }

    /// Asks it to end. `None` where it did not within the time, and was killed.
    pub(crate) async fn terminate(mut self, patience: Duration) -> Result<Option<ExitStatus>, String> {
        self.signal("TERM").await?;
        match timeout(patience, self.child.wait()).await {
            Ok(ended) => {
                ended.map(Some).map_err(|error| format!("{} cannot be waited for: {error}.", self.name))
            }
            Err(_) => self.kill().await.map(|()| None),
        }
    }
}

/// Runs a program to its end.
pub(crate) async fn run(command: &mut Command) -> Result<(), String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("'{program}' did not start: {error}."))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("'{program}' failed: {}", String::from_utf8_lossy(&said).trim()))
}

async fn copy(
    name: &'static str,
    output: impl AsyncRead + Unpin,
    mut file: tokio::fs::File,
    journal: Arc<Journal>,
) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        if ALARMS.iter().any(|alarm| text.contains(alarm)) {
            journal.fault(&format!("{name} says: {}", text.trim()));
        }
        line.push(b'\n');
        // A log that cannot be written any more is no reason to let the process wait for its reader.
        let _written = file.write_all(&line).await;
    }
    let _flushed = file.flush().await;
}
